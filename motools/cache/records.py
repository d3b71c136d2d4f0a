"""Records: entries as people know them, by kind.

The core knows entries; what a dataset, a model or an evaluation is called and
made from is read from an entry here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol, Self, TypeAlias

from motools.cache import logs
from motools.cache.entry import Entry
from motools.digest import SHORT

GROUPS: Final = {
    "datasets": "dataset",
    "models": "model",
    "evals": "eval",
    "functions": "function",
}
"""What commands call many, to the kind of each."""


@dataclass(frozen=True)
class EntryRecord:
    """An entry of any kind.

    Attributes:
        cache_key: its key.
        kind: ``dataset``, ``model``, ``eval`` or ``function``.
        name: what people would call it.
        backend_type: who made it.
        size: bytes in its files.
        duration: seconds that making it took.
        cost: money that making it took; None: unknown.
        paid: whether making it took money, known or not.
        created_at: seconds since 1970.
    """

    cache_key: str
    kind: str
    name: str
    backend_type: str
    size: int
    duration: float
    cost: float | None
    paid: bool
    created_at: float

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The record of an entry."""
        return cls(
            cache_key=entry.key,
            kind=entry.kind,
            name=_name(entry),
            backend_type=backend_of(entry),
            size=entry.size,
            duration=entry.duration,
            cost=entry.cost,
            paid=entry.paid,
            created_at=entry.created_at,
        )


@dataclass(frozen=True)
class DatasetRecord:
    """A dataset.

    Attributes:
        cache_key: the key of its entry.
        dataset_hash: digest of its canonical lines.
        file_id: what the backend calls it.
        rows: how many; None: not recorded.
        source: the file it came from; None: rows in memory.
        size: bytes in its canonical form.
        created_at: seconds since 1970.
    """

    cache_key: str
    dataset_hash: str
    file_id: str
    rows: int | None
    source: str | None
    size: int
    created_at: float

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The record of a dataset's entry."""
        value = entry.value
        return cls(
            cache_key=entry.key,
            dataset_hash=entry.labels.get("dataset_hash", ""),
            file_id=entry.labels.get("file_id", ""),
            rows=value.get("rows") if isinstance(value, dict) else None,
            source=entry.provenance.get("source"),
            size=entry.size,
            created_at=entry.created_at,
        )


@dataclass(frozen=True)
class ModelRecord:
    """A fine-tuned model, and what it was made from.

    Attributes:
        cache_key: the key of its entry.
        model_id: what evaluations call it.
        dataset_hash: digest of the dataset it learned from.
        base_model: the name of the model it started as.
        config: the values that differ from the defaults.
        backend_type: who trained it.
        size: bytes in its files.
        duration: seconds that training took.
        cost: money that training took; None: unknown.
        created_at: seconds since 1970.
    """

    cache_key: str
    model_id: str
    dataset_hash: str
    base_model: str
    config: dict[str, Any]
    backend_type: str
    size: int
    duration: float
    cost: float | None
    created_at: float

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The record of a model's entry."""
        return cls(
            cache_key=entry.key,
            model_id=entry.labels.get("model_id", entry.key),
            dataset_hash=entry.labels.get("dataset_hash", ""),
            base_model=entry.labels.get("base_model", ""),
            # What was trained by other means than the step has no defaults to differ from.
            config=entry.provenance.get("config", entry.action["config"]),
            backend_type=backend_of(entry),
            size=entry.size,
            duration=entry.duration,
            cost=entry.cost,
            created_at=entry.created_at,
        )


@dataclass(frozen=True)
class EvalRecord:
    """An evaluation.

    Attributes:
        id: the key of its entry.
        model_id: the model it is of.
        task_id: the task's name.
        backend_type: who ran it.
        scores: ``scorer/metric`` to its value.
        log_file_path: Inspect's log; None: there is none, or it was released.
        size: bytes in its files.
        duration: seconds that it took.
        cost: money that it took; None: unknown.
        created_at: seconds since 1970.
    """

    id: str
    model_id: str
    task_id: str
    backend_type: str
    scores: dict[str, float | None]
    log_file_path: str | None
    size: int
    duration: float
    cost: float | None
    created_at: float

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The record of an evaluation's entry."""
        value, log = entry.value, logs.copy(entry)
        return cls(
            id=entry.key,
            model_id=entry.labels.get("model_id", ""),
            task_id=entry.labels.get("task_id", ""),
            backend_type=backend_of(entry),
            scores=value.get("scores", {}) if isinstance(value, dict) else {},
            log_file_path=None if log is None else str(log),
            size=entry.size,
            duration=entry.duration,
            cost=entry.cost,
            created_at=entry.created_at,
        )


@dataclass(frozen=True)
class FunctionRecord:
    """What a call of a cached function returned.

    Attributes:
        cache_key: the key of its entry.
        function: its qualified name.
        arguments: what it was called with, in canonical form.
        size: bytes in its files.
        duration: seconds that it took.
        cost: money that it took; None: unknown.
        created_at: seconds since 1970.
    """

    cache_key: str
    function: str
    arguments: Any
    size: int
    duration: float
    cost: float | None
    created_at: float

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The record of a call's entry."""
        return cls(
            cache_key=entry.key,
            function=entry.labels.get("function", ""),
            arguments=entry.action["config"].get("arguments"),
            size=entry.size,
            duration=entry.duration,
            cost=entry.cost,
            created_at=entry.created_at,
        )


class Record(Protocol):
    """What every record has; all of them are frozen dataclasses."""

    @property
    def created_at(self) -> float:
        """Seconds since 1970."""


MakeRecord: TypeAlias = Callable[[Entry], Record]

_CLASSES: Final[dict[str | None, type[Any]]] = {
    "dataset": DatasetRecord,
    "model": ModelRecord,
    "eval": EvalRecord,
    "function": FunctionRecord,
    None: EntryRecord,
}
RECORDS: Final[dict[str | None, MakeRecord]] = {kind: made.of for kind, made in _CLASSES.items()}
"""How an entry of a kind is read; None: of any kind."""


def fields_of(kind: str | None) -> list[str]:
    """What the record of an entry of a kind, or of any, has."""
    return [each.name for each in fields(_CLASSES[kind])]


def backend_of(entry: Entry) -> str:
    """Who made an entry."""
    return entry.labels.get("backend") or str(entry.action["backend"].get("name", ""))


def _name(entry: Entry) -> str:
    labels = entry.labels
    if entry.kind == "eval":
        model = labels.get("model_id", "")
        return f"{labels.get('task_id', '')} on {model[:SHORT] if len(model) == 64 else model}"
    named_by = {"dataset": "file_id", "model": "base_model", "function": "function"}
    return labels.get(named_by.get(entry.kind, ""), "")
