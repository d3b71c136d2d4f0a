"""The journal: paid work is written down before it is submitted.

An attempt is written down as an intent, then sent, then written down as submitted;
what became of it is found out by asking the provider, never by sending again.
Nothing is sent under a lease that was taken over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from motools.cache.attempt import (
    INTENT,
    LOST,
    REFUSED,
    RETIRED,
    SUBMITTED,
    SUCCEEDED,
    UNCLEAR,
    Attempt,
)
from motools.cache.attempts import Attempts, next_number
from motools.cache.context import Report
from motools.cache.lease import Lease
from motools.errors import (
    BackendError,
    BackendUnavailableError,
    CacheUnavailableError,
    SubmissionRefusedError,
    SubmissionUnsettledError,
)
from motools.jobs import SentJob, Stamp


@dataclass(frozen=True)
class Job:
    """Submitted work.

    Attributes:
        key: what it is for.
        attempt: which submission of it.
        id: the provider's handle.
        adopted: True when it was found rather than sent by this call.
    """

    key: str
    attempt: int
    id: str
    adopted: bool


class Sender(Protocol):
    """One provider, as far as submitting once needs it.

    Attributes:
        provider: what it is called in records.
        can_find: whether :meth:`find` works; without it an unclear submission
            always needs a person.
        visibility_seconds: how long after a submission :meth:`find` may still miss it.
    """

    provider: str
    visibility_seconds: float

    @property
    def can_find(self) -> bool:
        """See above; it may turn out not to."""

    def find(self, key: str) -> Sequence[SentJob]:
        """Every job stamped with this key. Raises when it cannot be known."""

    def prepare(self) -> None:
        """What must be there before a job is sent, and may be done again for nothing: uploads."""

    def send(self, stamp: Stamp) -> str:
        """Submit the work once, without any retry, and return the job's id.

        Raises:
            SubmissionRefusedError: the provider said that it did not take it. Whatever else
                is raised leaves open whether it did.
        """

    def cancel(self, job_id: str) -> None:
        """Cancel a job that is one too many.

        Raises:
            BackendUnavailableError: it cannot be known whether it was.
            BackendError: the provider does not cancel it.
        """


class Journal:
    """Submits each key's work once.

    Args:
        attempts: where it is written down. An intent from their domain whose key we
            hold was written by a process that can no longer send.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def submit(
        self, lease: Lease, sender: Sender, report: Report, *, spent: Collection[str] = ()
    ) -> Job:
        """Submit once, or take up what was submitted before.

        Args:
            lease: the right to run the key.
            sender: the provider.
            report: is told of duplicates, and whether they were cancelled.
            spent: jobs whose result is not wanted again, because it was committed and is to be
                replaced.

        Raises:
            SubmissionRefusedError: the provider did not take it.
            SubmissionUnsettledError: see above; the message names the way out.
            LeaseLostError: somebody else took the key over; nothing was submitted.
        """
        key = lease.key
        known = [self._without_sender(each, lease) for each in self._attempts.recover(key)]
        asked_at = self._attempts.now()
        spent = {*spent, *_in_state(known, RETIRED)}
        for each in reversed(known):
            taken_up = each.job_id is not None and each.state in (SUBMITTED, SUCCEEDED)
            if taken_up and each.job_id not in spent:
                job = Job(key, each.attempt, str(each.job_id), adopted=True)
                return self.confirm(job, sender, report, spent=spent)
        if found := _usable(self._found(key, sender), spent):
            job = self._adopted(key, found[0], known, sender)
            return self.confirm(job, sender, report, spent=spent)
        for each in known:
            if each.is_unsettled:
                self._settle(each, sender, asked_at)
        job = self._send(lease, next_number(known), sender)
        # Asked again, because another coordinator may have sent at the same moment.
        return self.confirm(job, sender, report, spent=spent)

    def confirm(
        self, job: Job, sender: Sender, report: Report, *, spent: Collection[str] = ()
    ) -> Job:
        """Keep the earliest job of a key and cancel others; returns the one that stays.

        Providers' lists lag, so ask again once ``visibility_seconds`` have passed
        since the submission.

        Args:
            job: which is thought to be the only one.
            sender: the provider.
            report: is told of duplicates.
            spent: as :meth:`submit` takes it.
        """
        ended = _in_state(self._attempts.of_key(job.key), SUCCEEDED, RETIRED)
        found = self._found(job.key, sender)
        usable = _usable(found, {*spent, *ended} - {job.id})
        if job.id not in [sent.id for sent in found] or not usable:
            return job  # not listed yet, so which is the earliest cannot be told; or of no use
        first, *others = usable
        for other in others:
            # Whoever sent it could see that the first had succeeded, and wanted another one.
            if first.succeeded and other.id != job.id:
                outcome = "is left alone, for it may refresh the first in another cache"
            else:
                outcome = _cancelled(sender, other.id)
            said = f"{sender.provider} has {first.id} and {other.id} for one key: the second"
            report(f"{said} {outcome}", {"duplicate": other.id})
        if first.id == job.id:
            return job
        note = f"instead of {job.id}"
        self._attempts.note(
            job.key, job.attempt, SUBMITTED, sender.provider, job_id=first.id, note=note
        )
        return Job(job.key, job.attempt, first.id, adopted=True)

    def end(self, job: Job, state: str, sender: Sender, note: str = "") -> None:
        """Record how a job ended: ``succeeded``, ``failed`` or ``cancelled``."""
        self._attempts.note(job.key, job.attempt, state, sender.provider, job_id=job.id, note=note)

    def _without_sender(self, attempt: Attempt, lease: Lease) -> Attempt:
        """From now on an intent is unclear, if its sender provably cannot send any more.

        We hold the key, and with it the kernel lock that a sender of our own
        domain would hold.
        """
        if attempt.state != INTENT or attempt.domain != self._attempts.domain:
            return attempt
        return self._attempts.change(attempt, lease, state=UNCLEAR, note="its sender is gone")

    def _settle(self, attempt: Attempt, sender: Sender, asked_at: float) -> None:
        """Make an attempt ``lost`` that the provider, asked at this time, did not have."""
        known_for = asked_at - attempt.updated_at
        problem, after = None, None
        if not sender.can_find:
            problem = f"{sender.provider} cannot be asked for it"
        elif attempt.state == INTENT:
            problem = f"its sender, {attempt.sender}, may still send it"
        elif known_for < sender.visibility_seconds:
            after = sender.visibility_seconds - known_for
            problem = f"{sender.provider} may not list it yet; run it again in {after:.0f} s"
        if problem is not None:
            short = attempt.key[:12]
            raise SubmissionUnsettledError(
                f"attempt {attempt.attempt} for {short} was about to be submitted to "
                f"{sender.provider} and it is unknown whether it arrived: {problem}. Nothing was "
                f"submitted now. If you find the job at the provider, `motools jobs adopt {short} "
                f"JOB_ID`; if there is none, `motools jobs forget {short}`",
                after,
            )
        self._attempts.change(attempt, state=LOST, note="never arrived")

    def _send(self, lease: Lease, number: int, sender: Sender) -> Job:
        key, attempts, provider = lease.key, self._attempts, sender.provider
        sender.prepare()  # before the intent: dying in an upload leaves nothing unclear
        attempts.note(key, number, INTENT, provider, lease=lease)
        try:
            job_id = sender.send(Stamp(key, number))
        except SubmissionRefusedError as refusal:
            attempts.note(key, number, REFUSED, provider, note=str(refusal))
            raise
        except BaseException:
            # It may have arrived. From now on the provider's visibility bound runs.
            attempts.note(key, number, UNCLEAR, provider, note="no answer")
            raise
        try:
            attempts.note(key, number, SUBMITTED, provider, job_id=job_id)
        except CacheUnavailableError as problem:
            raise CacheUnavailableError(
                f"{provider} has taken {job_id} for {key[:12]}, and that cannot be written down: "
                f"{problem}. If it is not found by itself: `motools jobs adopt {key[:12]} {job_id}`"
            ) from problem
        return Job(key, number, job_id, adopted=False)

    def _adopted(self, key: str, found: SentJob, known: list[Attempt], sender: Sender) -> Job:
        numbers = {each.attempt for each in known if each.job_id in (None, found.id)}
        number = found.attempt if found.attempt in numbers else next_number(known)
        self._attempts.note(key, number, SUBMITTED, sender.provider, job_id=found.id, note="found")
        return Job(key, number, found.id, adopted=True)

    def _found(self, key: str, sender: Sender) -> Sequence[SentJob]:
        """The jobs of a key that its provider lists, also those that have come to nothing."""
        return sender.find(key) if sender.can_find else ()


def _cancelled(sender: Sender, job_id: str) -> str:
    """Cancel a job that is one too many, if its provider does; what became of it, in words.

    Raises:
        BackendUnavailableError: it cannot be known.
    """
    try:
        sender.cancel(job_id)
    except BackendUnavailableError:
        raise
    except BackendError as problem:  # the job that stays is none the worse for it
        return f"is not wanted, and goes on at your cost, for it could not be cancelled: {problem}"
    return "is not wanted, and was cancelled unless it had ended"


def _in_state(attempts: Iterable[Attempt], *states: str) -> set[str]:
    return {each.job_id for each in attempts if each.state in states and each.job_id}


def _usable(found: Iterable[SentJob], spent: Collection[str]) -> list[SentJob]:
    """Live and succeeded jobs, the earliest first."""
    return sorted(
        (job for job in found if job.usable and job.id not in spent),
        key=lambda job: (job.created_at, job.id),
    )
