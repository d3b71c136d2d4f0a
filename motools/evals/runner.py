"""Running one evaluation in a worker process."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from motools.digest import Value, canonical_json, hash_bytes
from motools.errors import EvaluationError
from motools.evals.config import PROVIDER_RECIPE, EvalConfig
from motools.evals.identity import IMPORTS, TaskIdentity, local_name, task_request
from motools.worker import Emit, Event, run_worker

LOG: Final = "log.eval"
"""The name of Inspect's log in the job's directory."""

_WORKER: Final = "motools.evals.worker"
_IMPORTS: Final = (
    *IMPORTS,
    "motools.evals.worker",
    "motools.evals.provider",
    "inspect_ai.hooks",
    # What Inspect imports when an evaluation begins takes as long again.
    "inspect_ai._util.notebook",
    "inspect_ai.agent._acp.server",
    "inspect_ai.model._openai_responses",
)

_CALLED: Final = ("name", "digest")
"""What of a local model's description is not what it is loaded from."""


def _ignore(event: Event) -> None:
    """Take no notice of progress."""


@dataclass(frozen=True)
class EvaluationJob:
    """One evaluation that is to be run.

    Attributes:
        config: as it was given to :func:`motools.evals.identity.identify`.
        identity: what that returned; the worker requires the same.
        model: ``{"base": {...}, "adapter": directory or None, "name": ...}`` for a
            local model, or more (see :func:`motools.training.local.models.load`), with
            its ``digest`` where models of other directories are the same, or
            ``{"provider": "openai-api/service/model", "args": {...}}`` for one that
            Inspect reaches by itself. Addresses and keys come from the environment.
        directory: takes Inspect's log, as ``log.eval``.
        scratch: takes what is not part of the result.
        base_dir: where a task file's relative path starts.
        equivalent: as it was given to ``identify``.
        on_event: receives ``{"event": "progress", "done": 3, "total": 10}``.
        lock_fds: descriptors of locks that the worker holds along.
        environment: variables of the worker, for a model that Inspect reaches; they may hold
            the key of an account.
        local_roles: role to the local model that plays it, with its ``digest``.
        replicate: which of several independent repeats: each draws answers of its own from
            local models.
    """

    config: EvalConfig
    identity: TaskIdentity
    model: Mapping[str, Any]
    directory: Path
    scratch: Path
    base_dir: str | os.PathLike[str] = "."
    equivalent: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    on_event: Emit = _ignore
    lock_fds: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    local_roles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    replicate: int = 0


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        scores: ``scorer/metric`` to its value; None where it is not a number.
        stderr: ``scorer/metric`` to the standard error of that value.
        samples: number of samples that ran, epochs counted.
        log: Inspect's log.
        usage: model to ``input_tokens`` and ``output_tokens``.
        seconds: wall time of the evaluation, without starting and loading.
    """

    scores: Mapping[str, float | None]
    stderr: Mapping[str, float | None]
    samples: int
    log: Path
    usage: Mapping[str, Mapping[str, int]] = field(compare=False)
    seconds: float = field(compare=False)

    @property
    def value(self) -> dict[str, Value]:
        """What is kept as the entry's value: the same each time, where the model is."""
        return {"scores": self.scores, "stderr": self.stderr, "samples": self.samples}


def run(job: EvaluationJob) -> EvaluationResult:
    """Run an evaluation to its end, from where an attempt in the same scratch came to.

    Raises:
        EvaluationError: the task changed since it was identified, a sample
            failed, or samples are missing. A part of an evaluation is no result.
    """
    job.scratch.mkdir(parents=True, exist_ok=True)
    with _connected(job) as (models, sockets):
        request = {
            "task": task_request(job.config, job.base_dir, job.equivalent),
            "material": job.identity.material,
            "identity": _identity(job, models),
            "replicate": job.replicate,
            "config": dataclasses.asdict(job.config),
            "local_roles": {role: spec["digest"] for role, spec in job.local_roles.items()},
            "models": models,
            "directory": str(job.directory.absolute()),
            "scratch": str(job.scratch.absolute()),
        }
        found = run_worker(
            _WORKER,
            request,
            log=job.scratch / "worker.log",
            on_event=job.on_event,
            lock_fds=job.lock_fds,
            sockets=sockets,
            env=job.environment,
            imports=_IMPORTS,
            error=EvaluationError,
        )
    return EvaluationResult(log=job.directory / LOG, **found)


def _identity(job: EvaluationJob, models: Mapping[str, Any]) -> str:
    """Stands for all that decides the result: what a part of an evaluation has to be of."""
    evaluated = models["evaluated"]
    which = models["local"].get(evaluated, {}).get("digest", models["args"])
    parts = [job.identity.digest, evaluated, which, PROVIDER_RECIPE, job.replicate]
    return hash_bytes(canonical_json(parts)).hex


@contextmanager
def _connected(job: EvaluationJob) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
    """How the worker reaches the models, and the sockets that it needs for that."""
    local = {local_name(spec["digest"]): dict(spec) for spec in job.local_roles.values()}
    evaluated = job.model.get("provider")
    if evaluated is None:
        parts = {name: part for name, part in job.model.items() if name not in _CALLED}
        digest = job.model.get("digest") or hash_bytes(canonical_json(parts)).hex
        evaluated = f"motools/{job.model.get('name', 'local')}"
        local[evaluated] = {**parts, "digest": digest}
    models = {"evaluated": evaluated, "args": job.model.get("args", {}), "local": local}
    if not local:
        yield models, ()
        return
    from motools.training.local import host

    with host.connection(*local.values()) as end:
        yield {**models, "connection": end.fileno()}, (end.fileno(),)
