"""What an evaluation is, for its key, found out once and remembered.

To know a task, its code has to run; that takes an interpreter of its own and
some seconds of imports. So it is done in a worker process, which also records
everything the task depended on; while all of that is unchanged, the answer is
recalled and Inspect is not imported at all.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

from motools.digest import SHORT, Canonical, Value, canonical_json, hash_bytes
from motools.errors import EvaluationError
from motools.evals import reached
from motools.evals.config import EvalConfig
from motools.evals.dependencies import unchanged
from motools.memo import Memo
from motools.version import __version__
from motools.worker import run_worker

_NAMESPACE: Final = "evaluation/2"
"""The number changes when the same task would be given another material, or texts with it."""

IMPORTS: Final = (
    "motools.evals.identify",
    "motools.evals.loading",
    "motools.evals.material",
    "inspect_ai._eval.loader",
)
"""What is imported before a task is."""

NO_ROLES: Final[Mapping[str, str]] = {}

Equivalent: TypeAlias = Mapping[str, Sequence[Sequence[str]]]
"""Library -> classes of versions that count as one."""


@dataclass(frozen=True)
class TaskIdentity:
    """What an evaluation does, apart from the model: equal identities have equal keys.

    Attributes:
        material: all of it, as canonical values: samples, solver, scorers,
            epochs, generation settings. It belongs in the action's config as is.
        texts: digest in the material -> what it was made of, if that was found out
            just now, and not recalled.
    """

    material: Mapping[str, Any]
    texts: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The task's name, for listings."""
        return str(self.material["task"]["name"])

    @property
    def samples(self) -> int:
        """Number of samples that will run, once for each epoch."""
        return int(self.material["samples"]["count"])

    @property
    def samples_digest(self) -> str:
        """Digest of the list of the samples' digests."""
        return str(self.material["samples"]["digest"])

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal characters that stand for the material."""
        return hash_bytes(canonical_json(self.material)).hex


def identify(
    config: EvalConfig,
    memo: Memo,
    base_dir: str | os.PathLike[str] = ".",
    *,
    equivalent: Equivalent | None = None,
    local_roles: Mapping[str, str] = NO_ROLES,
) -> TaskIdentity:
    """Say what an evaluation is.

    Args:
        config: the task and the settings laid over it.
        memo: remembers the answer while nothing it depended on changes.
        base_dir: where a task file's relative path starts.
        equivalent: library -> classes of its versions that count as one, the one
            that stands for the class first.
        local_roles: role -> digest of the model of this machine that plays it.

    Raises:
        EvaluationError: the task does not exist, cannot be made or cannot be
            pinned; the message has the place in the user's code.
        CanonicalError: a task argument has no canonical form.
    """
    request = task_request(config, base_dir, equivalent or {})
    subject = hash_bytes(canonical_json({**request, "cwd": os.getcwd()}, "EvalConfig")).hex
    # Another environment may have other libraries, whatever is unchanged in this one.
    place = f"{sys.prefix} {os.environ.get('PYTHONPATH', '')}"
    signature = f"{__version__} {sys.version} {place}"
    known, texts = memo.recall(_NAMESPACE, subject, signature), {}
    if known is None or not unchanged(known["dependencies"]):
        known = _load(request)
        texts = known.pop("texts")
        if not known["dependencies"]["opaque"]:
            memo.record(_NAMESPACE, subject, signature, known)
    return TaskIdentity(Canonical(overlaid(known["material"], config, local_roles)), texts)


def task_request(
    config: EvalConfig, base_dir: str | os.PathLike[str], equivalent: Equivalent
) -> dict[str, Value]:
    """What a worker needs to know to make the task again, as JSON."""
    task = config.task
    file, at, function = task.partition("@")
    if file.endswith(".py"):
        task = f"{Path(os.path.abspath(Path(base_dir) / file))}{at}{function}"
    elif Path(base_dir, task).is_file():
        raise EvaluationError(
            f"EvalConfig.task: {task!r} is not a Python file; name one, as in 'tasks.py@greets'"
        )
    return {
        "task": task,
        "task_args": config.task_args,
        "limit": config.limit,
        "sample_ids": None if config.sample_ids is None else list(config.sample_ids),
        "version": config.version,
        "equivalent": {
            name: [list(group) for group in groups] for name, groups in equivalent.items()
        },
    }


def overlaid(
    material: Mapping[str, Any], config: EvalConfig, local_roles: Mapping[str, str] = NO_ROLES
) -> dict[str, Value]:
    """A task's material with the user's settings laid over the task's own."""
    given: dict[str, Any] = {"epochs": config.epochs, "fail_on_error": config.fail_on_error}
    models = set(material.get("models", ()))
    if config.roles:
        chosen: dict[str, Any] = {role: {"model": name} for role, name in config.roles.items()}
        for role, digest in local_roles.items():
            chosen[role] = {"model": local_name(digest), "digest": digest}
        given["roles"] = {**(material.get("roles") or {}), **chosen}
        models |= {one["model"] for one in chosen.values()}
        given["models"] = sorted(models)
    given["services"] = reached.addresses(models) or None
    return {
        **material,
        **{name: value for name, value in given.items() if value is not None},
        "generation": config.generation(material.get("generation", {})),
    }


def local_name(digest: str) -> str:
    """What Inspect calls a model of this machine that plays a role."""
    return f"motools/{digest[:SHORT]}"


def _load(request: Mapping[str, Value]) -> dict[str, Any]:
    handle, name = tempfile.mkstemp(prefix="motools-identify-", suffix=".log")
    os.close(handle)
    log = Path(name)
    answer: dict[str, Any] = run_worker(
        IMPORTS[0],
        request,
        log=log,
        on_event=lambda _: None,
        imports=IMPORTS,
        error=EvaluationError,
    )
    log.unlink()  # kept when the worker failed: the error names it
    return answer
