"""A fine-tuning job: what was ordered, how far it is, and what happened.

::

    validating_files ──▶ queued ──▶ running ──▶ succeeded
            │              │ ▲        │  │
            │              ▼ │        │  └────▶ failed
            │             paused ◀────┘
            └──────▶ failed, and from everywhere that is not an end ──▶ cancelled
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from motools.server.pages import new_id, now

VALIDATING: Final = "validating_files"
QUEUED: Final = "queued"
RUNNING: Final = "running"
PAUSED: Final = "paused"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

OPEN: Final = (VALIDATING, QUEUED, RUNNING, PAUSED)
"""Of a job that has not ended."""
WAITING: Final = (VALIDATING, QUEUED, RUNNING)
"""Of a job that has a place in the queue."""

COLUMNS: Final = (
    "id, account, base_model, training_file, suffix, metadata, config, hyperparameters, replicate, "
    "expected_key, status, key, error, fine_tuned_model, result_file, trained_tokens, hit, "
    "created_at, finished_at"
)
JSON: Final = ("metadata", "config", "hyperparameters", "error")


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        id: its name.
        account: whose it is.
        base_model: as the server calls it.
        training_file: id of the file.
        suffix: of the model's name.
        metadata: the owner's own.
        config: fields of :class:`motools.FineTuneConfig` without the base model.
        hyperparameters: what the answer reports of them.
        replicate: which of several independent repeats.
        expected_key: the key that the client planned, if it said one.
        status: how far it is.
        key: of the training, once its file was read.
        error: ``code``, ``message`` and ``param`` of a failure.
        fine_tuned_model: name of the model.
        result_file: id of the file with the losses.
        trained_tokens: how many were learned from.
        hit: whether the model was in the cache.
        created_at: in seconds since 1970.
        finished_at: in seconds since 1970.
    """

    id: str
    account: str
    base_model: str
    training_file: str
    suffix: str | None
    metadata: Mapping[str, str]
    config: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    replicate: int
    expected_key: str | None = None
    status: str = VALIDATING
    key: str | None = None
    error: Mapping[str, Any] | None = None
    fine_tuned_model: str | None = None
    result_file: str | None = None
    trained_tokens: int | None = None
    hit: bool | None = None
    created_at: int = field(default_factory=now)
    finished_at: int | None = None

    @classmethod
    def of(cls, row: Sequence[Any]) -> Job:
        """The job in a row of the table."""
        values = dict(zip(COLUMNS.split(", "), row, strict=True))
        for name in JSON:
            values[name] = None if values[name] is None else json.loads(values[name])
        values["hit"] = None if values["hit"] is None else bool(values["hit"])
        return cls(**values)


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    Attributes:
        message: for people.
        level: ``info``, ``warn`` or ``error``.
        type: ``message``, or ``metrics`` of a step.
        data: JSON of the metrics.
        id: its name.
        created_at: in seconds since 1970.
    """

    message: str
    level: str = "info"
    type: str = "message"
    data: Mapping[str, Any] | None = None
    id: str = field(default_factory=lambda: new_id("ftevent"))
    created_at: int = field(default_factory=now)
