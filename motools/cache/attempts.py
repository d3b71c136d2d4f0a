"""Attempts at paid work as the journal has them: found, listed, and cleaned up."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from motools.cache.documents import JOB_COLUMNS
from motools.cache.journal import CANCELLED, FAILED, FORGOTTEN, LOST, OPEN, REFUSED
from motools.errors import AmbiguousKeyError, KeyNotFoundError

if TYPE_CHECKING:
    from motools.cache.cache import Cache

CLEANABLE: Final = (FAILED, CANCELLED, REFUSED, LOST, FORGOTTEN)
"""States in which an attempt came to nothing, and stands in nobody's way."""

_HEX: Final = frozenset("0123456789abcdef")
_ALL: Final = f"SELECT {JOB_COLUMNS} FROM jobs"


@dataclass(frozen=True)
class Attempt:
    """One attempt to have a provider do paid work.

    Attributes:
        key: what it is for.
        attempt: from 1.
        state: see :mod:`motools.cache.journal`.
        job_id: the provider's handle; None: there is none, or it is not known.
        provider: who it is.
        sender: user, host and process that made it.
        domain: where the sender's locks can be seen.
        intended_at: seconds since 1970, by the coordinator's clock.
        updated_at: when its state was last written down.
        note: for people.
    """

    key: str
    attempt: int
    state: str
    job_id: str | None
    provider: str
    sender: str
    domain: str
    intended_at: float
    updated_at: float
    note: str

    @property
    def is_open(self) -> bool:
        """Whether it may still come to something."""
        return self.state in OPEN

    @property
    def size(self) -> int:
        """Bytes that it takes in its document."""
        return len(json.dumps(dataclasses.asdict(self), indent=1).encode())


def select(cache: Cache, states: Sequence[str], before: float | None = None) -> list[Attempt]:
    """Attempts in some states, the newest first.

    Args:
        cache: whose journal.
        states: which.
        before: only those whose state has stood since before this time (seconds since 1970).
    """
    marks = ",".join("?" * len(states))
    where, parameters = f"state IN ({marks})", [*states]
    if before is not None:
        where += " AND updated_at < ?"
        parameters.append(before)  # type: ignore[arg-type]
    rows = cache.database.read(f"{_ALL} WHERE {where} ORDER BY intended_at DESC, key", parameters)
    return [Attempt(*row) for row in rows]


def named(cache: Cache, name: str) -> list[Attempt]:
    """Every attempt at the key that is meant, in order.

    Args:
        cache: whose journal.
        name: the key, or the beginning of it; or the id of a job.

    Raises:
        KeyNotFoundError: there is none.
        AmbiguousKeyError: several keys begin so.
    """
    rows = cache.database.read(f"{_ALL} WHERE job_id = ?", (name,))
    keys = {row[0] for row in rows} or _beginning(cache, name.lower())
    if not keys:
        raise KeyNotFoundError(
            f"no paid job is called {name!r}: `motools jobs list --all` shows what there is"
        )
    if len(keys) > 1:
        some = ", ".join(sorted(key[:16] for key in keys)[:5])
        raise AmbiguousKeyError(f"{len(keys)} keys are meant by {name!r} ({some}): give more of it")
    return of_key(cache, keys.pop())


def of_key(cache: Cache, key: str) -> list[Attempt]:
    """Every attempt at a key, in order."""
    rows = cache.database.read(f"{_ALL} WHERE key = ? ORDER BY attempt", (key,))
    return [Attempt(*row) for row in rows]


def remove(cache: Cache, attempts: Iterable[Attempt]) -> list[Attempt]:
    """Take attempts out of the journal that came to nothing; returns those that went.

    One that is no longer as it was stays.
    """
    gone: list[Attempt] = []
    by_key = groupby(sorted(attempts, key=lambda each: each.key), key=lambda each: each.key)
    for key, some in by_key:
        given = set(some)
        with cache.database.write() as transaction:
            rows: Any = transaction.run(f"{_ALL} WHERE key = :key ORDER BY attempt", key=key).all()
            # The document may be ahead of the tables: what only it knows stays in it.
            every = [Attempt(*row) for row in (*rows, *cache.documents.read_journal(key))]
            there = list({each.attempt: each for each in every}.values())
            going = [each for each in there if each in given and each.state in CLEANABLE]
            staying = [each for each in there if each not in going]
            # The document first: it would put back what only the tables have lost.
            cache.documents.write_journal(key, map(dataclasses.astuple, staying))
            transaction.run_many(
                "DELETE FROM jobs WHERE key = :key AND attempt = :attempt",
                [{"key": key, "attempt": each.attempt} for each in going],
            )
        gone += going
    return gone


def _beginning(cache: Cache, prefix: str) -> set[str]:
    if not prefix or not _HEX.issuperset(prefix):
        return set()
    rows = cache.database.read(
        "SELECT DISTINCT key FROM jobs WHERE key >= ? AND key < ?", (prefix, prefix + "g")
    )
    return {key for (key,) in rows if key.startswith(prefix)}
