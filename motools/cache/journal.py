"""The journal: paid work is written down before it is submitted.

Each attempt goes ``intent`` → ``submitted`` → ``succeeded``, ``failed`` or
``cancelled``. An intent without a job id means that a submission may or may not
have arrived; it becomes ``lost`` only when that can be proved, and ``forgotten``
only when a person says so. Whoever calls holds the key's lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from motools.cache.context import Report
from motools.cache.database import CLOCK, Database
from motools.cache.documents import JOB_COLUMNS, Documents
from motools.cache.lease import holder_name
from motools.errors import SubmissionUnsettledError

INTENT: Final = "intent"
SUBMITTED: Final = "submitted"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
LOST: Final = "lost"
FORGOTTEN: Final = "forgotten"

OPEN: Final = (INTENT, SUBMITTED)
ENDED: Final = (SUCCEEDED, FAILED, CANCELLED, LOST, FORGOTTEN)


@dataclass(frozen=True)
class Stamp:
    """What every submission carries, so that it can be found again.

    Attributes:
        key: the action's key.
        attempt: from 1.
    """

    key: str
    attempt: int


@dataclass(frozen=True)
class SentJob:
    """A job as its provider lists it.

    Attributes:
        id: the provider's handle.
        attempt: from its stamp.
        created_at: seconds since 1970, by the provider's clock.
        usable: live or succeeded: neither failed nor cancelled.
    """

    id: str
    attempt: int
    created_at: float
    usable: bool


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

    def send(self, stamp: Stamp) -> str:
        """Submit the work once, without any retry, and return the job's id."""

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

    def submit(self, key: str, sender: Sender, report: Report, *, refresh: bool = False) -> Job:
        """Submit once, or take up what was submitted before.

        Args:
            key: what the work is for.
            sender: the provider.
            report: is told of duplicates that were cancelled.
            refresh: whether jobs that have succeeded before do not count.

        Raises:
            SubmissionUnsettledError: see above; the message names the way out.
        """
        rows = self.attempts(key)
        open_rows = [row for row in rows if row["state"] in OPEN]
        for row in open_rows:
            if row["job_id"] is not None:
                return Job(key, row["attempt"], row["job_id"], adopted=True)
        spent = frozenset(row["job_id"] for row in rows if refresh and row["state"] == SUCCEEDED)
        if found := self._earliest(key, sender, report, spent):
            return self._adopted(key, found, rows, sender)
        for row in open_rows:
            self._settle_intent(row, sender)
        attempt = _next_attempt(rows)
        self._note(key, attempt, INTENT, sender)
        job_id = sender.send(Stamp(key, attempt))
        self._note(key, attempt, SUBMITTED, sender, job_id=job_id)
        # Asked again, because another coordinator may have sent at the same moment.
        first = self._earliest(key, sender, report, spent)
        if first is None or first.id == job_id:
            return Job(key, attempt, job_id, adopted=False)
        self._note(key, attempt, SUBMITTED, sender, job_id=first.id, note=f"instead of {job_id}")
        return Job(key, attempt, first.id, adopted=True)

    def end(self, job: Job, state: str, sender: Sender, note: str = "") -> None:
        """Record how a job ended: ``succeeded``, ``failed`` or ``cancelled``."""
        self._note(job.key, job.attempt, state, sender, job_id=job.id, note=note)

    def forget(self, key: str, attempt: int, reason: str) -> None:
        """A person says that an unclear submission never arrived, or no longer matters."""
        self._change(key, attempt, FORGOTTEN, reason)

    def adopt(self, key: str, attempt: int, job_id: str) -> None:
        """A person says which job an unclear submission became."""
        self._change(key, attempt, SUBMITTED, "adopted by hand", job_id)

    def attempts(self, key: str) -> list[dict[str, Any]]:
        """Every attempt of a key, in order."""
        names = JOB_COLUMNS.split(", ")
        rows = self._database.read(
            f"SELECT {JOB_COLUMNS} FROM jobs WHERE key = ? ORDER BY attempt", (key,)
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _settle_intent(self, row: dict[str, Any], sender: Sender) -> None:
        """Make an intent without a job ``lost``, if that can be proved."""
        age = self._now() - row["intended_at"]
        problem = None
        if not sender.can_find:
            problem = f"{sender.provider} cannot be asked for it"
        elif row["domain"] != self._domain:
            problem = f"its sender, {row['sender']}, may still send it"
        elif age < sender.visibility_seconds:
            wait = sender.visibility_seconds - age
            problem = f"{sender.provider} may not list it yet; run it again in {wait:.0f} s"
        if problem is not None:
            short = row["key"][:12]
            raise SubmissionUnsettledError(
                f"attempt {row['attempt']} for {short} was about to be submitted to "
                f"{sender.provider} and it is unknown whether it arrived: {problem}. Nothing was "
                f"submitted now. If you find the job at the provider, `motools jobs adopt {short} "
                f"JOB_ID`; if there is none, `motools jobs forget {short}`"
            )
        self._note(row["key"], row["attempt"], LOST, sender, note="never arrived")

    def _adopted(
        self, key: str, found: SentJob, rows: list[dict[str, Any]], sender: Sender
    ) -> Job:
        known = {row["attempt"] for row in rows}
        attempt = found.attempt if found.attempt in known else _next_attempt(rows)
        self._note(key, attempt, SUBMITTED, sender, job_id=found.id, note="found")
        return Job(key, attempt, found.id, adopted=True)

    def _earliest(
        self, key: str, sender: Sender, report: Report, spent: frozenset[str]
    ) -> SentJob | None:
        """The earliest live or succeeded job of a key; any others are cancelled."""
        if not sender.can_find:
            return None
        usable = sorted(
            (job for job in sender.find(key) if job.usable and job.id not in spent),
            key=lambda job: (job.created_at, job.id),
        )
        for extra in usable[1:]:
            sender.cancel(extra.id)
            report(
                f"cancelled {extra.id}: {sender.provider} has {usable[0].id} for the same key",
                {"duplicate": extra.id},
            )
        return usable[0] if usable else None

    def _note(
        self,
        key: str,
        attempt: int,
        state: str,
        sender: Sender,
        job_id: str | None = None,
        note: str = "",
    ) -> None:
        now = self._now()
        row = {
            "key": key,
            "attempt": attempt,
            "state": state,
            "job_id": job_id,
            "provider": sender.provider,
            "sender": holder_name(),
            "domain": self._domain,
            "intended_at": now,
            "updated_at": now,
            "note": note,
        }
        earlier = [r for r in self.attempts(key) if r["attempt"] == attempt]
        self._write({**row, "intended_at": earlier[0]["intended_at"]} if earlier else row)

    def _change(
        self, key: str, attempt: int, state: str, note: str, job_id: str | None = None
    ) -> None:
        row = next(r for r in self.attempts(key) if r["attempt"] == attempt)
        job_id = job_id or row["job_id"]
        self._write({**row, "state": state, "note": note, "job_id": job_id, "updated_at": self._now()})

    def _now(self) -> float:
        return float(self._database.read(f"SELECT {CLOCK}")[0][0])

    def _write(self, row: dict[str, Any]) -> None:
        """The document first, then the row: what is paid for must outlive the database."""
        others = [r for r in self.attempts(row["key"]) if r["attempt"] != row["attempt"]]
        names = JOB_COLUMNS.split(", ")
        ordered = sorted([*others, row], key=lambda r: r["attempt"])
        self._documents.write_journal(row["key"], ([r[n] for n in names] for r in ordered))
        with self._database.write() as transaction:
            transaction.run(_RECORD, **row)


def _next_attempt(rows: list[dict[str, Any]]) -> int:
    return max((row["attempt"] for row in rows), default=0) + 1


_RECORD: Final = (
    f"INSERT INTO jobs ({JOB_COLUMNS}) VALUES (:key, :attempt, :state, :job_id, :provider, "
    ":sender, :domain, :intended_at, :updated_at, :note) ON CONFLICT (key, attempt) DO UPDATE SET "
    "state = excluded.state, job_id = excluded.job_id, updated_at = excluded.updated_at, "
    "note = excluded.note"
)
