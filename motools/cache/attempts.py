"""The attempts at paid work that a cache knows of: written down, found, and cleaned up.

Each is in a document of its key, and in a row. The document is written first: what is
paid for must outlive the database.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from motools.cache.attempt import (
    CLEANABLE,
    FORGOTTEN,
    INTENT,
    NAMES,
    REFUSED,
    SUBMITTED,
    Attempt,
)
from motools.cache.database import Database, Transaction
from motools.cache.documents import Documents
from motools.cache.lease import Lease, holder_name, require
from motools.errors import AmbiguousKeyError, KeyNotFoundError

_HEX: Final = frozenset("0123456789abcdef")
_ALL: Final = f"SELECT {', '.join(NAMES)} FROM jobs"
_OF_KEY: Final = f"{_ALL} WHERE key = :key ORDER BY attempt"
_RECORD: Final = (
    f"INSERT INTO jobs ({', '.join(NAMES)}) VALUES (:{', :'.join(NAMES)}) "
    "ON CONFLICT (key, attempt) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in NAMES[2:])
)
_OF_SENDER: Final = ("sender", "domain", "intended_at")
_BY_HAND: Final = "adopted by hand"


class Attempts:
    """The attempts of one cache.

    Args:
        domain: the lock domain of this process, which is recorded with what it sends.
    """

    def __init__(self, database: Database, documents: Documents, domain: str) -> None:
        self._database = database
        self._documents = documents
        self.domain = domain

    def of_key(self, key: str) -> list[Attempt]:
        """Every attempt at a key, in order."""
        rows = self._database.read(_OF_KEY.replace(":key", "?"), (key,))
        return [Attempt(*row) for row in rows]

    def select(self, states: Sequence[str], before: float | None = None) -> list[Attempt]:
        """Attempts in some states, the newest first.

        Args:
            states: which.
            before: only those whose state has stood since before this time (seconds since 1970).
        """
        where, parameters = f"state IN ({','.join('?' * len(states))})", list[Any](states)
        if before is not None:
            where += " AND updated_at < ?"
            parameters.append(before)
        statement = f"{_ALL} WHERE {where} ORDER BY intended_at DESC, key"
        return [Attempt(*row) for row in self._database.read(statement, parameters)]

    def named(self, name: str) -> list[Attempt]:
        """Every attempt at the key that is meant, in order.

        Args:
            name: the key, or the beginning of it; or the id of a job.

        Raises:
            KeyNotFoundError: there is none.
            AmbiguousKeyError: several keys begin so.
        """
        rows = self._database.read("SELECT key FROM jobs WHERE job_id = ?", (name,))
        keys = {key for (key,) in rows} or self._beginning(name.lower())
        if not keys:
            raise KeyNotFoundError(
                f"no paid job is called {name!r}: `motools jobs list --all` shows what there is"
            )
        if len(keys) > 1:
            some = ", ".join(sorted(key[:16] for key in keys)[:5])
            raise AmbiguousKeyError(
                f"{len(keys)} keys are meant by {name!r} ({some}): give more of it"
            )
        return self.of_key(keys.pop())

    def recover(self, key: str) -> list[Attempt]:
        """The attempts, after taking over what only the document has: it is written first."""
        recorded = {each.attempt: each for each in self.of_key(key)}
        for written in self._written(key):
            known = recorded.get(written.attempt)
            if known is None or (known.job_id is None and written.job_id is not None):
                self.record(written)
        return self.of_key(key)

    def undocumented(self, key: str) -> list[int]:
        """Numbers of the attempts that the tables have and the key's document lacks.

        Raises:
            CorruptDocumentError: it is damaged.
        """
        with self._database.write() as transaction:  # whoever writes one has this right
            written = {each.attempt for each in self._written(key)}
            recorded = [each.attempt for each in _rows(transaction, key)]
        return [number for number in recorded if number not in written]

    def document(self, key: str) -> None:
        """Write a key's document again: what the tables have, and what only it has.

        Raises:
            CorruptDocumentError: it is damaged.
        """
        with self._database.write() as transaction:
            every = {each.attempt: each for each in self._written(key)}
            every |= {each.attempt: each for each in _rows(transaction, key)}
            ordered = [dataclasses.astuple(every[number]) for number in sorted(every)]
            self._documents.write_journal(key, ordered)

    def record(self, attempt: Attempt, lease: Lease | None = None) -> None:
        """Write an attempt down.

        Args:
            attempt: how it is now.
            lease: without which it must not be.

        Raises:
            LeaseLostError: somebody else has taken the key over; nothing was written.
        """
        with self._database.write() as transaction:
            if lease is not None:
                require(transaction, lease)
            every = {each.attempt: each for each in _rows(transaction, attempt.key)}
            before = every.get(attempt.attempt)
            if before is not None and attempt.state != INTENT:
                # Whoever finds out how it is now is not the one who sent it.
                sent = {name: getattr(before, name) for name in _OF_SENDER}
                attempt = dataclasses.replace(attempt, **sent)
            every[attempt.attempt] = attempt
            ordered = [dataclasses.astuple(every[number]) for number in sorted(every)]
            self._documents.write_journal(attempt.key, ordered)
            transaction.run(_RECORD, **dataclasses.asdict(attempt))

    def note(
        self,
        key: str,
        number: int,
        state: str,
        provider: str,
        *,
        job_id: str | None = None,
        note: str = "",
        lease: Lease | None = None,
    ) -> None:
        """Write down how an attempt of this process is now; see :meth:`record`."""
        now = self.now()
        sender = holder_name()
        self.record(
            Attempt(key, number, state, job_id, provider, sender, self.domain, now, now, note),
            lease,
        )

    def change(self, attempt: Attempt, lease: Lease | None = None, **changes: Any) -> Attempt:
        """Write down what has changed of an attempt; see :meth:`record`."""
        changed = dataclasses.replace(attempt, updated_at=self.now(), **changes)
        self.record(changed, lease)
        return changed

    def forget(self, key: str, number: int, reason: str) -> None:
        """A person says that an unclear submission never arrived, or no longer matters.

        Raises:
            KeyNotFoundError: there is no such attempt.
        """
        self.change(self._numbered(key, number), state=FORGOTTEN, note=reason)

    def adopt(self, key: str, number: int, job_id: str) -> None:
        """A person says which job an unclear submission became.

        Raises:
            KeyNotFoundError: there is no such attempt.
        """
        attempt = self._numbered(key, number)
        self.change(attempt, state=SUBMITTED, job_id=job_id, note=_BY_HAND)

    def add(self, key: str, provider: str, job_id: str) -> int:
        """A person says that a job is for a key that no attempt at it was for; its number."""
        number = next_number(self.recover(key))
        self.note(key, number, SUBMITTED, provider, job_id=job_id, note=_BY_HAND)
        return number

    def close(self, key: str, number: int, state: str, note: str) -> None:
        """A person ended a job: ``cancelled``, or ``failed`` before it could be.

        Raises:
            KeyNotFoundError: there is no such attempt.
        """
        self.change(self._numbered(key, number), state=state, note=note)

    def remove(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Take attempts out that came to nothing; returns those that went.

        One that is no longer as it was stays.
        """
        gone: list[Attempt] = []
        by_key = groupby(sorted(attempts, key=lambda each: each.key), key=lambda each: each.key)
        for key, some in by_key:
            gone += self._remove(key, set(some))
        return gone

    def now(self) -> float:
        """Seconds since 1970, by the coordinator's clock."""
        return float(self._database.read(f"SELECT {self._database.clock}")[0][0])

    def _remove(self, key: str, given: set[Attempt]) -> list[Attempt]:
        with self._database.write() as transaction:
            # The document may be ahead of the tables: what only it knows stays in it.
            every = (*_rows(transaction, key), *self._written(key))
            there = {each.attempt: each for each in every}.values()
            going = [each for each in there if each in given and each.state in CLEANABLE]
            staying = [each for each in there if each not in going]
            # The document first: it would put back what only the tables have lost.
            self._documents.write_journal(key, map(dataclasses.astuple, staying))
            transaction.run_many(
                "DELETE FROM jobs WHERE key = :key AND attempt = :attempt",
                [{"key": key, "attempt": each.attempt} for each in going],
            )
        return going

    def _written(self, key: str) -> list[Attempt]:
        return [Attempt(*values) for values in self._documents.read_journal(key)]

    def _numbered(self, key: str, number: int) -> Attempt:
        for attempt in self.recover(key):
            if attempt.attempt == number:
                return attempt
        raise KeyNotFoundError(f"{key[:12]} has no attempt {number} in the journal")

    def _beginning(self, prefix: str) -> set[str]:
        if not prefix or not _HEX.issuperset(prefix):
            return set()
        rows = self._database.read(
            "SELECT DISTINCT key FROM jobs WHERE key >= ? AND key < ?", (prefix, prefix + "g")
        )
        return {key for (key,) in rows if key.startswith(prefix)}


def next_number(attempts: Iterable[Attempt]) -> int:
    """A number that no job carries: one that was refused is used again."""
    return max((each.attempt for each in attempts if each.state != REFUSED), default=0) + 1


def _rows(transaction: Transaction, key: str) -> list[Attempt]:
    rows: Any = transaction.run(_OF_KEY, key=key).all()
    return [Attempt(*row) for row in rows]
