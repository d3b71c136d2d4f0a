"""The part of an evaluation's key that its task decides, inside a worker process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools import source
from motools.digest import Value, canonical_json, hash_bytes
from motools.errors import EvaluationError
from motools.evals.pinning import Pins

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample

_MEDIA: Final = ("image", "audio", "video", "document")
_TRANSPORT: Final = frozenset(
    {
        "adaptive_connections",
        "attempt_timeout",
        "batch",
        "cache",
        "max_connections",
        "max_retries",
        "stream_idle_timeout",
        "timeout",
    }
)
"""Generation settings about how a request travels, not about what is asked."""

_ELSEWHERE: Final = frozenset(
    {
        "config",
        "dataset",
        "epochs",
        "epochs_reducer",
        "fail_on_error",
        "metrics",
        "model",
        "model_roles",
        "sample_source",
        "sandbox",
        "scorer",
        "setup",
        "solver",
        "version",
    }
)
"""Attributes of a task that have a field of their own in its material."""

_COSMETIC: Final = frozenset(
    {
        "checkpoint",
        "continue_on_fail",
        "description",
        "headline_metric",
        "metadata",
        "on_checkpoint",
        "on_resume",
        "score_on_error",
        "tags",
        "viewer",
    }
)
"""Attributes of a task that cannot change the scores of a complete evaluation."""

_COSMETIC_OF_SAMPLE: Final = frozenset({"checkpoint", "description"})

_MOST_BYTES: Final = 4 * 2**20
"""Of samples that are kept for people; of more, which of them changed is told, not how."""


@dataclass(frozen=True)
class Described:
    """A task, for a key and for people.

    Attributes:
        material: what it is, as canonical values.
        texts: digest in the material -> what it was made of: source, samples.
    """

    material: dict[str, Value]
    texts: dict[str, Value]


def describe(task: Task, request: Mapping[str, Any]) -> Described:
    """What a task is, before the user's settings are laid over it.

    Args:
        task: a task that has not run.
        request: ``limit``, ``sample_ids``, ``version`` and ``equivalent``, as in
            :func:`motools.evals.identity.identify`.

    Raises:
        SourceError: a part of the task cannot be pinned; the message names it.
        EvaluationError: the task cannot be evaluated by motools, or the
            selection of samples is empty.
    """
    import inspect_ai

    _check(task)
    equivalent = request["equivalent"]
    inspect_version = source.representative("inspect_ai", inspect_ai.__version__, equivalent)
    directory = Path(getattr(task, "__task_run_dir__", "."))
    pins = Pins(request["version"], inspect_version, directory, equivalent)
    forms = [sample_form(sample, pins) for sample in selected(task, request)]
    samples = [hash_bytes(canonical_json(form, f"sample {form['id']!r}")).hex for form in forms]
    digest = hash_bytes(canonical_json(samples)).hex
    material: dict[str, Value] = {
        "task": {"name": task.name, "version": task.version},
        "samples": {"count": len(samples), "digest": digest},
        "solver": _listed(pins.value(task.solver, "solver")),
        "setup": pins.value(task.setup, "setup"),
        "scorers": pins.value(task.scorer, "scorer"),
        "epochs": task.epochs or 1,
        "reducers": pins.value(task.epochs_reducer, "reducer"),
        "generation": _generation(task, pins),
        "fail_on_error": True if task.fail_on_error is None else task.fail_on_error,
        "sandbox": pins.sandbox(task.sandbox, "sandbox"),
        "roles": pins.value(task.model_roles, "model_roles"),
        "options": _options(task, pins),
        "statement": request["version"],
        "inspect_ai": inspect_version,
    }
    material["models"] = sorted(pins.models)
    return Described(
        {name: value for name, value in material.items() if value not in (None, [], {})},
        {**pins.texts, digest: {"samples": _shown(forms, samples)}},
    )


def _shown(forms: list[dict[str, Value]], digests: list[str]) -> list[Value]:
    """The samples for people: whole, or where they are many by their digests."""
    if sum(len(canonical_json(form)) for form in forms) <= _MOST_BYTES:
        return list(forms)
    pairs = zip(forms, digests, strict=True)
    return [{"id": form["id"], "digest": digest} for form, digest in pairs]


def selected(task: Task, request: Mapping[str, Any]) -> Any:
    """The samples that will run, numbered as Inspect numbers them.

    Raises:
        EvaluationError: a sample that was asked for does not exist.
    """
    from inspect_ai._eval.task.util import slice_dataset
    from inspect_ai._util.error import PrerequisiteError

    for number, sample in enumerate(task.dataset, start=1):
        if sample.id is None:
            sample.id = number
    wanted = request["sample_ids"]
    for one in wanted or ():
        try:
            slice_dataset(task.dataset, None, [one])
        except PrerequisiteError:
            some = ", ".join(repr(sample.id) for sample in task.dataset[:8])
            raise EvaluationError(
                f"EvalConfig.sample_ids: task {task.name} has no sample {one!r}; "
                f"it has {len(task.dataset)}, such as {some}"
            ) from None
    return slice_dataset(task.dataset, request["limit"], wanted)


def sample_form(sample: Sample, pins: Pins) -> dict[str, Value]:
    """A sample's canonical form: files and images by content."""
    path = f"sample {sample.id!r}"
    form: dict[str, Value] = {}
    for name in type(sample).model_fields:
        value = getattr(sample, name)
        if value is None or name in _COSMETIC_OF_SAMPLE:
            continue
        where = f"{path}.{name}"
        if name == "input" and not isinstance(value, str):
            form[name] = [_message(message, pins, where) for message in value]
        elif name == "files":
            form[name] = {key: _file(one, pins, f"{where}.{key}") for key, one in value.items()}
        elif name == "setup":
            form[name] = _file(value, pins, where)
        elif name == "sandbox":
            form[name] = pins.sandbox(value, where)
        else:
            form[name] = pins.value(value, where)
    return form


def _message(message: Any, pins: Pins, path: str) -> Value:
    # Inspect gives messages a random id.
    form: dict[str, Any] = message.model_dump(exclude_none=True, exclude={"id"})
    if isinstance(form["content"], list):
        for part in form["content"]:
            for medium in _MEDIA:
                if medium in part:
                    part[medium] = pins.content(part[medium], f"{path}.{medium}")
    return pins.value(form, path)


def _file(reference: str, pins: Pins, path: str) -> Value:
    """A sample's file: Inspect takes a path, a URL, or the content itself."""
    if reference.startswith("data:") or "://" in reference[:16] or pins.is_file(reference):
        return pins.content(reference, path)
    return {"text": reference}


def _listed(value: Value) -> Value:
    return value if isinstance(value, list) else [value]


def _generation(task: Task, pins: Pins) -> dict[str, Value]:
    settings = task.config.model_dump(exclude_none=True)
    return {
        name: value if type(value) is float else pins.value(value, f"config.{name}")
        for name, value in settings.items()
        if name not in _TRANSPORT
    }


def _options(task: Task, pins: Pins) -> dict[str, Value]:
    """Everything else that the task holds: also what a later Inspect may add to it."""
    return {
        name: pins.value(value, name)
        for name, value in sorted(vars(task).items())
        if value is not None and name not in _ELSEWHERE | _COSMETIC and not name.startswith("_")
    }


def _check(task: Task) -> None:
    if getattr(task, "sample_source", None) is not None:
        raise EvaluationError(
            f"task {task.name}: makes samples while it runs, so it cannot be known beforehand; "
            "give it a dataset"
        )
    if task.model is not None:
        raise EvaluationError(
            f"task {task.name}: names the model to evaluate ({task.model}); leave it out, since "
            "motools says which model is evaluated"
        )
