"""How a job at an API is: its own words, and what they mean here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

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

_USELESS: Final = ("failed", "cancelled")


def is_usable(job: FineTuningJob) -> bool:
    """Whether a job is live or has succeeded."""
    return job.status not in _USELESS


def status_of(job: FineTuningJob, events: Iterable[FineTuningJobEvent]) -> JobStatus:
    """How a job is.

    Args:
        job: as the API describes it.
        events: what is new, in order.
    """
    return JobStatus(
        phase=_PHASES.get(job.status, "waiting"),
        said=job.status,
        error=job.error.message if job.error is not None and job.error.message else "",
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
        fields = {name: value for name, value in named.items() if value is not None}
    return JobEvent(event.id, event.message, fields)
