"""Paid jobs, as people ask about them: what they are for, how they are, and their end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from motools.cache.action import material
from motools.cache.attempt import (
    CANCELLED,
    FAILED,
    FORGOTTEN,
    RETIRED,
    SUBMITTED,
    SUCCEEDED,
    Attempt,
)
from motools.cache.claim import ACTION
from motools.cache.holding import holding
from motools.cache.layout import JOBS
from motools.digest import SHORT
from motools.errors import BackendError, BackendUnavailableError, MotoolsError
from motools.steps.providers import provider_for
from motools.training.provider import ENDED, JobStatus, Proves, Provider

if TYPE_CHECKING:
    from motools.cache import Cache, Entry

_AT_ONCE: Final = 8
_ENDINGS: Final[Mapping[str, str]] = {"cancelled": CANCELLED, "failed": FAILED}


@dataclass(frozen=True)
class Work:
    """What a key stands for, as far as it is known.

    Attributes:
        key: the key.
        canonical: what it was made of; None: nothing was kept of it.
        labels: what it can be found by.
        entry: what it came to; None: nothing yet.
    """

    key: str
    canonical: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    entry: Entry | None = None

    @property
    def material(self) -> dict[str, Any]:
        """The key material; empty: not known."""
        return {} if self.canonical is None else material(self.canonical)

    @property
    def backend(self) -> str | None:
        """What the settings called the backend."""
        return self.labels.get("backend")


def works(cache: Cache, keys: Iterable[str]) -> dict[str, Work]:
    """What keys stand for: by their entries, or by what was kept of their actions."""
    found = {key: Work(key) for key in keys}
    for entry in cache.index.newest(list(found)):
        found[entry.key] = Work(entry.key, entry.canonical, entry.labels, entry)
    for key, work in found.items():
        if work.canonical is None and (text := cache.texts.read(key)) is not None:
            found[key] = Work(key, text.get("action"), text.get("labels", {}))
    return found


def running_here(cache: Cache, key: str) -> Work:
    """What a key stands for that is being run, perhaps on another machine."""
    try:
        canonical = (cache.root / JOBS / key / ACTION).read_text()
    except FileNotFoundError:
        return works(cache, [key])[key]
    return Work(key, canonical)


def provider_at(cache: Cache, work: Work) -> tuple[str, Provider]:
    """The provider that has the jobs of a key, with its name in the settings.

    Raises:
        BackendUnavailableError: none of the settings is known to be it.
    """
    if not work.material:
        raise BackendUnavailableError(
            f"nothing is kept of what {work.key[:SHORT]} was made of, so its provider is not known"
        )
    identity = work.material["backend"]
    return provider_for(f"the job of {work.key[:SHORT]}", identity, cache.settings, work.backend)


def statuses(
    cache: Cache, attempts: Sequence[Attempt], known: Mapping[str, Work]
) -> dict[Attempt, JobStatus | MotoolsError]:
    """What providers say of jobs, or why that is not known.

    Args:
        cache: where they are recorded.
        attempts: those without a job are left out.
        known: what their keys stand for.
    """
    asked = [attempt for attempt in attempts if attempt.job_id is not None]
    providers: dict[object, Provider | MotoolsError] = {}
    for attempt in asked:
        if (account := _account(known[attempt.key])) not in providers:
            try:
                providers[account] = provider_at(cache, known[attempt.key])[1]
            except MotoolsError as problem:
                providers[account] = problem

    def ask(attempt: Attempt) -> JobStatus | MotoolsError:
        provider = providers[_account(known[attempt.key])]
        if isinstance(provider, MotoolsError):
            return provider
        try:
            return provider.poll(str(attempt.job_id))
        except MotoolsError as problem:
            return problem

    if not asked:
        return {}
    with ThreadPoolExecutor(min(_AT_ONCE, len(asked))) as pool:
        return dict(zip(asked, pool.map(ask, asked), strict=True))


def cancel(cache: Cache, attempt: Attempt, work: Work) -> JobStatus:
    """Cancel a job at its provider, and record that it has ended; returns how it is then.

    One that has succeeded before it could be cancelled is left to be taken up.

    Raises:
        BackendError: it is not known as which job it arrived.
        BackendUnavailableError: it cannot be known whether it was cancelled.
    """
    if attempt.job_id is None:
        raise BackendError(
            f"attempt {attempt.attempt} for {attempt.key[:SHORT]} has no job: if it arrived, "
            f"`motools jobs adopt {attempt.key[:SHORT]} JOB_ID` first"
        )
    _, provider = provider_at(cache, work)
    provider.cancel(attempt.job_id)
    status = provider.poll(attempt.job_id)
    if (state := _ENDINGS.get(status.phase)) is not None:
        cache.attempts.close(attempt.key, attempt.attempt, state, status.error or "by hand")
    return status


def forget(
    cache: Cache, attempt: Attempt, work: Work, reason: str, *, unproved: bool = False
) -> None:
    """Say that a submission never arrived, or that its job or its model is gone.

    The provider is asked once more, if it can be.

    Args:
        cache: where it is recorded.
        attempt: which.
        work: what it is for.
        reason: for those who look later.
        unproved: that there is no such job is enough, though it is not proved that it was
            looked for in the right account.

    Raises:
        BackendError: there is something to take up still.
        BackendUnavailableError: it cannot be known.
        LeaseTimeoutError: somebody is at it.
    """
    key, short = attempt.key, attempt.key[:SHORT]
    with holding(cache, key):
        known = {each.attempt: each for each in cache.attempts.recover(key)}
        now = known.get(attempt.attempt, attempt)
        if now.is_unsettled:
            others = {each.job_id for each in known.values()}
            for job_id in arrived(cache, work):
                if job_id not in others:
                    raise BackendError(
                        f"{now.provider} has {job_id} for {short}: run it again, and it is taken "
                        f"up, or `motools jobs cancel {job_id}`. Nothing was changed"
                    )
            cache.attempts.forget(key, now.attempt, reason)
        elif now.state in (SUBMITTED, SUCCEEDED) and (
            gone := _gone(cache, now, work, unproved=unproved)
        ):
            cache.attempts.close(key, now.attempt, gone, reason)
        else:
            raise BackendError(
                f"attempt {now.attempt} for {short} is {now.state}: there is nothing to forget. "
                "Nothing was changed"
            )


def _gone(cache: Cache, attempt: Attempt, work: Work, *, unproved: bool) -> str | None:
    """How to record that a job, or the model that it made, is no longer there; None: it is."""
    name, provider = provider_at(cache, work)
    job_id = str(attempt.job_id)
    try:
        status = provider.poll(job_id)
    except BackendUnavailableError:
        raise
    except BackendError as problem:
        if unproved or not isinstance(provider, Proves) or provider.lacks(job_id):
            return FORGOTTEN
        raise BackendUnavailableError(
            f"{problem}; but {name} does not prove that this is the account of {job_id}: whether "
            "it is gone is not known, and nothing was changed. If you know it, `motools jobs "
            f"forget {attempt.key[:SHORT]} --unproved`"
        ) from problem
    if status.phase != "succeeded":
        return None
    try:
        model = provider.result(job_id).model
    except BackendUnavailableError:
        raise
    except BackendError:  # it has succeeded without one
        return FORGOTTEN
    return None if provider.alive(model).there else RETIRED


def arrived(cache: Cache, work: Work) -> list[str]:
    """The jobs that a provider has for a key, as far as it can be asked."""
    try:
        _, provider = provider_at(cache, work)
        if not provider.capabilities().finds:
            return []
        return [job.id for job in provider.find(work.key) if job.usable]
    except BackendUnavailableError:
        return []  # who says that it never arrived has been warned of that


def word(said: JobStatus | MotoolsError) -> str:
    """What a provider says of a job, with how far it is; or why that is not known."""
    if isinstance(said, MotoolsError):
        return f"unknown: {said}"
    return ", ".join(filter(None, (said.said, _progress(said), said.error)))


def _progress(status: JobStatus) -> str:
    for event in reversed(status.events):
        step, steps = event.fields.get("step"), event.fields.get("steps")
        if step is not None and status.phase not in ENDED:
            return f"step {step}" if steps is None else f"step {step} of {steps}"
    return ""


def _account(work: Work) -> object:
    return work.backend, str(work.material.get("backend", work.key))
