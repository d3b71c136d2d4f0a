"""A backend that trains in no time, so that sweeps of many cells can be run many times.

``TOY_SECONDS`` is how long a training takes all the same; ``TOY_LOG`` names a file of all that
was trained, by whichever process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
        with noted(job.name):
            time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
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


@contextmanager
def noted(name: str) -> Iterator[None]:
    """Write down when something begins, and when it ends."""
    _append(f"begin {name}")
    yield
    _append(f"end {name}")


def noted_in(log: Path) -> list[tuple[str, str]]:
    """What was written down, in order: ``begin`` or ``end``, and the name."""
    found = []
    for line in log.read_text().splitlines():
        event, _, name = line.partition(" ")
        found.append((event, name))
    return found


def _append(line: str) -> None:
    if log := os.environ.get("TOY_LOG"):
        with Path(log).open("a") as file:  # one write of one line: appends do not mix
            file.write(f"{line}\n")
