"""The journal: paid work is written down before it is submitted.

Each attempt goes ``intent`` → ``submitted`` → ``succeeded``, ``failed``,
``cancelled`` or, when its model is gone by the time it is asked for, ``retired``; or it is
``refused``, and never became a job. An intent whose sender is gone is ``unclear``: it may or
may not have arrived. It becomes ``lost`` only when the provider, asked late enough,
does not have it, and ``forgotten`` only when a person says so. Nothing is sent
under a lease that was taken over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from motools.cache.context import Report
from motools.cache.database import Database
from motools.cache.documents import JOB_COLUMNS, Documents
from motools.cache.lease import Lease, holder_name, require
from motools.errors import (
    KeyNotFoundError,
    SubmissionRefusedError,
    SubmissionUnsettledError,
)
from motools.jobs import SentJob, Stamp

INTENT: Final = "intent"
UNCLEAR: Final = "unclear"
SUBMITTED: Final = "submitted"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
REFUSED: Final = "refused"
RETIRED: Final = "retired"
LOST: Final = "lost"
FORGOTTEN: Final = "forgotten"

OPEN: Final = (INTENT, UNCLEAR, SUBMITTED)
ENDED: Final = (SUCCEEDED, FAILED, CANCELLED, REFUSED, RETIRED, LOST, FORGOTTEN)


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
    can_find: bool
    visibility_seconds: float

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
        """Cancel a job that is one too many."""


class Journal:
    """The journal of one cache.

    Args:
        domain: the lock domain of this process: an intent from the same domain
            whose key we hold was written by a process that can no longer send.
    """

    def __init__(self, database: Database, documents: Documents, domain: str) -> None:
        self._database = database
        self._documents = documents
        self._domain = domain

    def submit(
        self, lease: Lease, sender: Sender, report: Report, *, spent: Collection[str] = ()
    ) -> Job:
        """Submit once, or take up what was submitted before.

        Args:
            lease: the right to run the key.
            sender: the provider.
            report: is told of duplicates that were cancelled.
            spent: jobs whose result is not wanted again, because it was committed and is to be
                replaced.

        Raises:
            SubmissionRefusedError: the provider did not take it.
            SubmissionUnsettledError: see above; the message names the way out.
            LeaseLostError: somebody else took the key over; nothing was submitted.
        """
        key = lease.key
        rows = [self._without_sender(row, lease) for row in self.recover(key)]
        asked_at = self._now()
        spent = {*spent, *_in_state(rows, RETIRED)}
        for row in reversed(rows):
            taken_up = row["job_id"] is not None and row["state"] in (SUBMITTED, SUCCEEDED)
            if taken_up and row["job_id"] not in spent:
                job = Job(key, row["attempt"], row["job_id"], adopted=True)
                return self.confirm(job, sender, report)
        if found := self._usable(key, sender, spent):
            return self.confirm(self._adopted(key, found[0], rows, sender), sender, report)
        for row in rows:
            if row["state"] in (INTENT, UNCLEAR):
                self._settle(row, sender, asked_at)
        job = self._send(lease, _next_attempt(rows), sender)
        # Asked again, because another coordinator may have sent at the same moment.
        return self.confirm(job, sender, report)

    def confirm(self, job: Job, sender: Sender, report: Report) -> Job:
        """Keep the earliest job of a key and cancel others; returns the one that stays.

        Providers' lists lag, so ask again once ``visibility_seconds`` have passed
        since the submission.
        """
        spent = _in_state(self.attempts(job.key), SUCCEEDED, RETIRED) - {job.id}
        usable = self._usable(job.key, sender, spent)
        if job.id not in [sent.id for sent in usable]:
            return job  # not listed yet, so which is the earliest cannot be told
        first, *others = usable
        for other in others:
            sender.cancel(other.id)
            report(
                f"cancelled {other.id}: {sender.provider} has {first.id} for the same key",
                {"duplicate": other.id},
            )
        if first.id == job.id:
            return job
        self._note(
            job.key, job.attempt, SUBMITTED, sender, job_id=first.id, note=f"instead of {job.id}"
        )
        return Job(job.key, job.attempt, first.id, adopted=True)

    def end(self, job: Job, state: str, sender: Sender, note: str = "") -> None:
        """Record how a job ended: ``succeeded``, ``failed``, ``cancelled`` or ``retired``."""
        self._note(job.key, job.attempt, state, sender, job_id=job.id, note=note)

    def forget(self, key: str, attempt: int, reason: str) -> None:
        """A person says that an unclear submission never arrived, or no longer matters.

        Raises:
            KeyNotFoundError: there is no such attempt.
        """
        self._change(self._attempt(key, attempt), state=FORGOTTEN, note=reason)

    def adopt(self, key: str, attempt: int, job_id: str) -> None:
        """A person says which job an unclear submission became.

        Raises:
            KeyNotFoundError: there is no such attempt.
        """
        row = self._attempt(key, attempt)
        self._change(row, state=SUBMITTED, job_id=job_id, note="adopted by hand")

    def add(self, key: str, provider: str, job_id: str) -> int:
        """A person says that a job is for a key that no attempt at it was for; its number."""
        attempt, note = _next_attempt(self.recover(key)), "adopted by hand"
        row = self._row(key, attempt, SUBMITTED, provider, job_id=job_id, note=note)
        self._write(row)
        return attempt

    def close(self, key: str, attempt: int, state: str, note: str) -> None:
        """A person ended a job: ``cancelled``, or ``failed`` before it could be.

        Raises:
            KeyNotFoundError: there is no such attempt.
        """
        self._change(self._attempt(key, attempt), state=state, note=note)

    def attempts(self, key: str) -> list[dict[str, Any]]:
        """Every attempt of a key, in order."""
        rows = self._database.read(_ATTEMPTS.replace(":key", "?"), (key,))
        return [dict(zip(_NAMES, row, strict=True)) for row in rows]

    def _attempt(self, key: str, attempt: int) -> dict[str, Any]:
        for row in self.recover(key):
            if row["attempt"] == attempt:
                return row
        raise KeyNotFoundError(f"{key[:12]} has no attempt {attempt} in the journal")

    def recover(self, key: str) -> list[dict[str, Any]]:
        """The attempts, after taking over what only the document has: it is written first."""
        recorded = {row["attempt"]: row for row in self.attempts(key)}
        for values in self._documents.read_journal(key):
            row = dict(zip(_NAMES, values, strict=True))
            if recorded.get(row["attempt"], {}).get("job_id") is None and (
                row["attempt"] not in recorded or row["job_id"] is not None
            ):
                self._write(row)
        return self.attempts(key)

    def _without_sender(self, row: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """From now on an intent is unclear, if its sender provably cannot send any more.

        We hold the key, and with it the kernel lock that a sender of our own
        domain would hold.
        """
        if row["state"] != INTENT or row["domain"] != self._domain:
            return row
        return self._change(row, lease, state=UNCLEAR, note="its sender is gone")

    def _settle(self, row: dict[str, Any], sender: Sender, asked_at: float) -> None:
        """Make an attempt ``lost`` that the provider, asked at this time, did not have."""
        known_for = asked_at - row["updated_at"]
        problem, after = None, None
        if not sender.can_find:
            problem = f"{sender.provider} cannot be asked for it"
        elif row["state"] == INTENT:
            problem = f"its sender, {row['sender']}, may still send it"
        elif known_for < sender.visibility_seconds:
            after = sender.visibility_seconds - known_for
            problem = f"{sender.provider} may not list it yet; run it again in {after:.0f} s"
        if problem is not None:
            short = row["key"][:12]
            raise SubmissionUnsettledError(
                f"attempt {row['attempt']} for {short} was about to be submitted to "
                f"{sender.provider} and it is unknown whether it arrived: {problem}. Nothing was "
                f"submitted now. If you find the job at the provider, `motools jobs adopt {short} "
                f"JOB_ID`; if there is none, `motools jobs forget {short}`",
                after,
            )
        self._change(row, state=LOST, note="never arrived")

    def _send(self, lease: Lease, attempt: int, sender: Sender) -> Job:
        sender.prepare()  # before the intent: dying in an upload leaves nothing unclear
        self._note(lease.key, attempt, INTENT, sender, lease=lease)
        try:
            job_id = sender.send(Stamp(lease.key, attempt))
        except SubmissionRefusedError as refusal:
            self._note(lease.key, attempt, REFUSED, sender, note=str(refusal))
            raise
        except BaseException:
            # It may have arrived. From now on the provider's visibility bound runs.
            self._note(lease.key, attempt, UNCLEAR, sender, note="no answer")
            raise
        self._note(lease.key, attempt, SUBMITTED, sender, job_id=job_id)
        return Job(lease.key, attempt, job_id, adopted=False)

    def _adopted(self, key: str, found: SentJob, rows: list[dict[str, Any]], sender: Sender) -> Job:
        known = {row["attempt"] for row in rows if row["job_id"] in (None, found.id)}
        attempt = found.attempt if found.attempt in known else _next_attempt(rows)
        self._note(key, attempt, SUBMITTED, sender, job_id=found.id, note="found")
        return Job(key, attempt, found.id, adopted=True)

    def _usable(self, key: str, sender: Sender, spent: set[str]) -> list[SentJob]:
        """Live and succeeded jobs of a key, the earliest first."""
        if not sender.can_find:
            return []
        return sorted(
            (job for job in sender.find(key) if job.usable and job.id not in spent),
            key=lambda job: (job.created_at, job.id),
        )

    def _note(
        self,
        key: str,
        attempt: int,
        state: str,
        sender: Sender,
        *,
        job_id: str | None = None,
        note: str = "",
        lease: Lease | None = None,
    ) -> None:
        row = self._row(key, attempt, state, sender.provider, job_id=job_id, note=note)
        self._write(row, lease)

    def _row(
        self, key: str, attempt: int, state: str, provider: str, *, job_id: str | None, note: str
    ) -> dict[str, Any]:
        now = self._now()
        return {
            "key": key,
            "attempt": attempt,
            "state": state,
            "job_id": job_id,
            "provider": provider,
            "sender": holder_name(),
            "domain": self._domain,
            "intended_at": now,
            "updated_at": now,
            "note": note,
        }

    def _change(
        self, row: dict[str, Any], lease: Lease | None = None, **changes: Any
    ) -> dict[str, Any]:
        changed = {**row, **changes, "updated_at": self._now()}
        self._write(changed, lease)
        return changed

    def _now(self) -> float:
        return float(self._database.read(f"SELECT {self._database.clock}")[0][0])

    def _write(self, row: dict[str, Any], lease: Lease | None = None) -> None:
        """The document first, then the row: what is paid for must outlive the database."""
        with self._database.write() as transaction:
            if lease is not None:
                require(transaction, lease)
            found = transaction.run(_ATTEMPTS, key=row["key"]).mappings()
            rows = {other["attempt"]: dict(other) for other in found}
            if row["attempt"] in rows:
                row = {**row, "intended_at": rows[row["attempt"]]["intended_at"]}
            rows[row["attempt"]] = row
            ordered = [[rows[attempt][name] for name in _NAMES] for attempt in sorted(rows)]
            self._documents.write_journal(row["key"], ordered)
            transaction.run(_RECORD, **row)


def _in_state(rows: list[dict[str, Any]], *states: str) -> set[str]:
    return {row["job_id"] for row in rows if row["state"] in states and row["job_id"]}


def _next_attempt(rows: list[dict[str, Any]]) -> int:
    """A number that no job carries: one that was refused is used again."""
    return max((row["attempt"] for row in rows if row["state"] != REFUSED), default=0) + 1


_NAMES: Final = JOB_COLUMNS.split(", ")

_ATTEMPTS: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE key = :key ORDER BY attempt"

_RECORD: Final = (
    f"INSERT INTO jobs ({JOB_COLUMNS}) VALUES (:key, :attempt, :state, :job_id, :provider, "
    ":sender, :domain, :intended_at, :updated_at, :note) ON CONFLICT (key, attempt) DO UPDATE SET "
    "state = excluded.state, job_id = excluded.job_id, updated_at = excluded.updated_at, "
    "note = excluded.note"
)
