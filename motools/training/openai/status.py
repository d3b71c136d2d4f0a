"""How a job at an API is: its own words, and what they mean here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from motools.jobs import SentJob
from motools.training.provider import JobEvent, JobStatus, Phase

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

_PHASES: Final[Mapping[str, Phase]] = {
    "validating_files": "waiting",
    "queued": "waiting",
    "running": "running",
    "paused": "paused",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""A word that is not here may be new: the job is asked after until it has ended."""

KEY: Final = "motools_key"
ATTEMPT: Final = "motools_attempt"
"""The stamp, in a job's metadata."""

_USELESS: Final = ("failed", "cancelled")


def status_of(job: FineTuningJob, events: Iterable[FineTuningJobEvent]) -> JobStatus:
    """How a job is.

    Args:
        job: as the API describes it.
        events: what is new, in order.
    """
    return JobStatus(
        phase=_PHASES.get(job.status, "waiting"),
        said=job.status,
        error=_error(job),
        events=tuple(map(_event, events)),
    )


def _event(event: FineTuningJobEvent) -> JobEvent:
    data: Any = event.data
    fields: dict[str, Any] = {}
    if event.type == "metrics" and isinstance(data, Mapping):
        named = {
            "step": data.get("step"),
            "steps": data.get("total_steps"),
            "loss": data.get("train_loss"),
        }
        fields = {name: value for name, value in named.items() if isinstance(value, int | float)}
    return JobEvent(event.id, event.message, fields)


def sent_of(job: FineTuningJob) -> SentJob:
    """A job as the journal knows it."""
    attempt = str(stamp_of(job).get(ATTEMPT))
    return SentJob(
        id=job.id,
        attempt=int(attempt) if attempt.isdecimal() else 1,
        created_at=float(job.created_at),
        usable=job.status not in _USELESS,
        succeeded=job.status == "succeeded",
    )


def stamp_of(job: FineTuningJob) -> Mapping[str, Any]:
    """A job's metadata, with the stamp if there is one."""
    said: Any = job.metadata
    return said if isinstance(said, Mapping) else {}


def _error(job: FineTuningJob) -> str:
    """Why a job failed, if it says: APIs say it in an object, or as text."""
    said: Any = job.error
    found = said if isinstance(said, str) else getattr(said, "message", None)
    return str(found or "")


def epochs_of(job: FineTuningJob) -> int | None:
    """Passes over the dataset, where the API says how many."""
    kind: Any = getattr(job.method, "type", None)
    part = getattr(job.method, kind, None) if isinstance(kind, str) else None
    chosen = getattr(getattr(part, "hyperparameters", None), "n_epochs", None)
    return chosen if isinstance(chosen, int) else None


def day_of(said: str | None) -> float | None:
    """Seconds since 1970 of a date as the API writes it, at the beginning of that day (UTC)."""
    try:
        found = dt.datetime.fromisoformat(said or "")
    except (TypeError, ValueError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp()
