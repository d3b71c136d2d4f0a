"""A backend that trains in no time, so that sweeps of many cells can be run many times."""

from __future__ import annotations

from typing import Any

from motools.errors import TrainingError
from motools.evals.runner import LOG, EvaluationJob, EvaluationResult
from motools.training.local import checkpoints
from motools.training.local.backend import LocalBackend
from motools.training.protocol import TrainingJob, TrainingResult

FAILS = 0.5
"""The learning rate with which a training fails."""


class Toy(LocalBackend):
    """Writes its config instead of weights; goes on from checkpoints as the real one does."""

    def identity(self) -> dict[str, Any]:
        return {"name": "toy", "recipe": 1}

    def train(self, job: TrainingJob) -> TrainingResult:
        if job.config["learning_rate"] == FAILS:
            raise TrainingError("the learning rate is too high")
        step = checkpoints.newest(job.scratch) if job.scratch.is_dir() else None
        (job.directory / "model").write_text(str(sorted(job.config.items())))
        resumed = [] if step is None else [{"after_step": step}]
        rows = len(job.dataset.read_bytes().splitlines())
        return TrainingResult({"rows": rows, "epochs": 1.0, "steps": 3}, {"resumed": resumed})


def score(job: EvaluationJob) -> EvaluationResult:
    """A score without a model: the length of the task's name."""
    log = job.directory / LOG
    log.write_text(job.identity.name)
    found = {"match/accuracy": float(len(job.identity.name))}
    return EvaluationResult(found, {"match/accuracy": 0.5}, job.identity.samples, log, {}, 0.1)
