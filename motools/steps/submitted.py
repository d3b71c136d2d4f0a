"""Training at a provider: submitted once, waited for, and taken up again after a crash."""

from __future__ import annotations

import functools
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import RemoteRef
from motools.cache.attempt import SUCCEEDED
from motools.digest import SHORT
from motools.errors import (
    BackendError,
    BackendUnavailableError,
    SubmissionRefusedError,
    SubmissionUnsettledError,
    TrainingError,
)
from motools.jobs import SentJob, Stamp
from motools.steps import listing
from motools.steps.progress import Progress
from motools.steps.wait import Again, Done, Poller, pause, until
from motools.training.provider import ENDED, JobEvent, JobResult, JobStatus, Order, Provider

if TYPE_CHECKING:
    from motools.cache import RunContext
    from motools.cache.journal import Job

_SHARE: Final = 0.04
"""Of the time that a job took so far: the longest pause, so that short jobs end soon."""

_LEAST: Final = 0.25
_MOST: Final = 60.0

_TRIES: Final = 5
"""How often a submission is tried whose answer is lost each time."""

LISTED_WITHIN: Final = 900.0
"""Seconds in which the model of a job that has succeeded is to be there."""

_ASK_FOR_MODEL: Final = 15.0

_PATIENCE: Final = 3600.0
"""Seconds in which a provider may be out of reach while a job is waited for."""


def train_elsewhere(context: RunContext, provider: Provider, order: Order, where: str) -> JobResult:
    """Have a provider train, and wait until it has.

    A job that was submitted before for this key is taken up. When this process dies
    or is interrupted, the job goes on, and the next try takes it up.

    Args:
        context: of the run.
        provider: who trains.
        order: what.
        where: what people call the provider.

    Raises:
        TrainingError: the job failed or was cancelled; the next try submits another.
        BackendError: it succeeded, and its model is not there; the next try asks again.
        SubmissionRefusedError: the provider did not take the job.
        SubmissionUnsettledError: it cannot be told whether an earlier submission arrived.
        BackendUnavailableError: the provider was out of reach for long.
    """
    sender = _Sender(provider, order)
    progress = Progress(context, f"fine-tuning {order.asked.base_model} at {where}")
    job = _submitted(context, sender)
    progress(f"{job.id} {'taken up' if job.adopted else 'submitted'}", job=job.id)
    watch = _Watch(context, provider, sender, job)
    outcome = _waited(progress, watch)
    if isinstance(outcome, JobResult):
        context.cache.journal.end(watch.job, SUCCEEDED, sender)
        return outcome
    state, why = outcome
    context.cache.journal.end(watch.job, state, sender, note=why)
    raise TrainingError(f"{watch.job.id} at {where} {state}: {why}")


class _Sender:
    """A provider as the journal knows it, with what is to be sent."""

    def __init__(self, provider: Provider, order: Order) -> None:
        can = provider.capabilities()
        self.account = provider.account()
        self.provider = self.account.provider
        self.visibility_seconds = can.visibility_seconds
        self.listed: set[str] = set()
        self._finds = can.finds
        self._backend = provider
        self._order = order
        self._prepared: Any = None

    @property
    def can_find(self) -> bool:
        return self._finds and not listing.is_doubted(self.account)

    def prepare(self) -> None:
        self._prepared = self._backend.prepare(self._order)

    def find(self, key: str) -> Sequence[SentJob]:
        found = self._backend.find(key)
        self.listed.update(job.id for job in found)
        return found

    def send(self, stamp: Stamp) -> str:
        return self._backend.submit(self._prepared, stamp)

    def cancel(self, job_id: str) -> None:
        self._backend.cancel(job_id)


def _submitted(context: RunContext, sender: _Sender) -> Job:
    """Submit, again and again where that is only a matter of time."""
    unclear = 0
    while True:
        try:
            return context.submit(sender)
        except (SubmissionRefusedError, SubmissionUnsettledError) as problem:
            if problem.after is None:
                raise
            why, after = str(problem), problem.after
        except BackendUnavailableError as problem:
            unclear += 1
            if not sender.can_find or unclear == _TRIES:
                raise
            why, after = str(problem), problem.after or sender.visibility_seconds
        context.report(f"{why}; asking again in {after:.0f} s")
        with context.waiting():
            pause(after)


@dataclass
class _Watch:
    """Asks after a job, and makes sure once more that it is the only one of its key.

    A question is asked in a thread of the poller, so what is to be reported is
    handed to the thread that waits.
    """

    context: RunContext
    provider: Provider
    sender: _Sender
    job: Job
    news: queue.SimpleQueue[JobEvent] = field(default_factory=queue.SimpleQueue)
    began: float = field(default_factory=time.monotonic)
    confirmed: bool = False
    said: str = ""
    event: str | None = None
    lost_at: float | None = None
    missed_at: float | None = None

    def __call__(self) -> Again | Done[JobResult | tuple[str, str]]:
        try:
            answer = self._ask()
        except BackendUnavailableError as problem:
            return self._unreached(problem)
        self.lost_at = None
        return answer

    def _ask(self) -> Again | Done[JobResult | tuple[str, str]]:
        # What a provider shows may lag, and the first look was right after the submission.
        visible = self._visible_in() <= 0
        try:
            status = self.provider.poll(self.job.id, self.event)
        except BackendUnavailableError:
            raise
        except BackendError as problem:
            if visible or self.job.adopted:
                raise self._not_there(problem) from problem
            return Again()
        self._tell(status)
        ended = status.phase in ENDED
        if (ended or visible) and (again := self._confirm(visible=visible)) is not None:
            return again
        if not ended:
            return Again(status.after or self._pause())
        if status.phase != "succeeded":
            return Done((status.phase, status.error or status.said))
        result = self.provider.result(self.job.id)
        life = self.provider.alive(result.model)
        if not life.there:
            return self._without_model(result.model)
        return Done(replace(result, model=replace(result.model, expires_at=life.expires_at)))

    def _confirm(self, *, visible: bool) -> Again | None:
        """Hold the job against what the provider lists, once; None: go on with it."""
        if self.confirmed or not self.sender.can_find:
            return None
        first = self.context.confirm(self.job, self.sender)
        # One that was taken up may have been submitted without a stamp.
        unlisted = not self.job.adopted and self.job.id not in self.sender.listed
        if unlisted and not visible:
            return Again(self._visible_in())
        self.confirmed = True
        if unlisted:
            self._doubt()
        if first.id == self.job.id:
            return None
        self.job, self.event, self.said = first, None, ""
        return Again(0.0)

    def _visible_in(self) -> float:
        """Seconds until the provider is to list the job."""
        return self.sender.visibility_seconds - (time.monotonic() - self.began)

    def _doubt(self) -> None:
        """From now on, that this provider lists no job is no proof that there is none."""
        sender = self.sender
        said = listing.doubt(sender.account, self.job.id, sender.visibility_seconds)
        self.news.put(JobEvent("", said))

    def _without_model(self, model: RemoteRef) -> Again:
        """Wait for a model: one that was just made may not be listed yet.

        Raises:
            BackendError: it should be there by now. Another is never paid for unasked.
        """
        if self.missed_at is None:
            self.missed_at = time.monotonic()
            self.news.put(JobEvent("", f"{self.job.id}: {model.id} is not listed yet"))
        if time.monotonic() - self.missed_at < LISTED_WITHIN:
            return Again(min(_ASK_FOR_MODEL, LISTED_WITHIN))
        raise BackendError(
            f"{self.job.id} has succeeded, but {self.sender.provider} does not list its model "
            f"{model.id}: run it again later. If the model is gone for good, `motools jobs forget "
            f"{self.job.key[:SHORT]}`, and the next run pays for another"
        )

    def _not_there(self, problem: BackendError) -> BackendError:
        return BackendError(
            f"{problem}. If the job is gone for good, `motools jobs forget "
            f"{self.job.key[:SHORT]}`, and the next run pays for another"
        )

    def _pause(self) -> float:
        return min(_MOST, max(_LEAST, _SHARE * (time.monotonic() - self.began)))

    def _tell(self, status: JobStatus) -> None:
        if status.said != self.said:
            self.said = status.said
            self.news.put(JobEvent("", f"{self.job.id} is {status.said}"))
        for event in status.events:
            self.event = event.id
            self.news.put(event)

    def _unreached(self, problem: BackendUnavailableError) -> Again:
        now = time.monotonic()
        if self.lost_at is None:
            self.lost_at = now
            self.news.put(JobEvent("", f"{problem}; {self.job.id} goes on, asking again"))
        elif now - self.lost_at > _PATIENCE:
            raise BackendUnavailableError(
                f"{problem}, for {_PATIENCE / 60:.0f} minutes; {self.job.id} goes on at "
                f"{self.sender.provider}: run it again to take it up"
            )
        return Again(problem.after)


@functools.cache
def _poller(_provider: str) -> Poller:
    """Asks after all jobs of this process at one provider: who hangs holds up no other."""
    return Poller(first=0.25, longest=60.0)


def _waited(progress: Progress, watch: _Watch) -> JobResult | tuple[str, str]:
    """What became of a job; progress is reported meanwhile."""
    future = _poller(watch.sender.provider).watch(watch)

    def ended() -> bool:
        over = future.done()  # before the news, so that none of it is left
        while not watch.news.empty():
            event = watch.news.get()
            progress(event.message, **event.fields)
        return over

    try:
        until(ended)
    except BaseException:
        future.cancel()
        raise
    return future.result()


def require(provider: Provider, backend: str, *, validation: bool, seed: int) -> None:
    """Refuse what a provider cannot do.

    Raises:
        BackendError: it names the field.
    """
    can = provider.capabilities()
    if validation and not can.validates:
        raise BackendError(f"validation: backend {backend!r} takes no validation dataset")
    if seed and not can.seeds:
        raise BackendError(f"FineTuneConfig.seed: backend {backend!r} takes no seed; leave it at 0")
