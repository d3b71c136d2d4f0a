"""The trash: where blobs wait, and how they get in and out of the store for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from motools.cache.commit import mark_behind
from motools.cache.database import Transaction
from motools.cache.entry import COLUMNS, Entry
from motools.cache.layout import blob_name, trashed

if TYPE_CHECKING:
    from motools.cache.cache import Cache

T = TypeVar("T")

BATCH: Final = 200
_FAR_BATCH: Final = 32
"""So many requests are soon done, and meanwhile nobody else can write."""

_LONG: Final = 0.05
"""Seconds under the write lock after which the others are given a turn."""

_TURN: Final = 0.15
"""Seconds: who waits for SQLite's lock asks for it ten times a second."""

_DAY: Final = 86_400.0

LIVE_ENTRY_NEEDS: Final = (
    "EXISTS (SELECT 1 FROM entry_blobs l JOIN entries e ON e.key = l.key "
    "AND e.generation = l.generation WHERE l.digest = blobs.digest AND e.state = 'live')"
)

_NO_RUN_NEEDS_IT: Final = (
    "trashed_at < COALESCE((SELECT MIN(acquired_at) FROM leases "
    "WHERE holder IS NOT NULL AND expires_at >= {clock}), trashed_at + 1)"
)
"""A run that began before a blob went into the trash may have stored it, and be about to commit."""

_NO_ENTRY_NEEDS_IT: Final = (
    "state = 'trash' AND NOT EXISTS (SELECT 1 FROM entry_blobs l "
    "JOIN entries e ON e.key = l.key AND e.generation = l.generation "
    "WHERE l.digest = blobs.digest AND (e.state = 'live' OR e.trashed_at >= {before}))"
)
"""Neither one that is live nor one that can still be undeleted."""

_EXPIRED: Final = " AND ".join(("trashed_at < {before}", _NO_ENTRY_NEEDS_IT, _NO_RUN_NEEDS_IT))
_FREE: Final = (
    _NO_ENTRY_NEEDS_IT + " AND NOT EXISTS (SELECT 1 FROM leases "
    "WHERE holder IS NOT NULL AND expires_at >= {clock})"
)
"""While nothing is run, nobody has found a blob in place, to commit it later."""


@dataclass(frozen=True)
class Expired:
    """What has been in the trash for longer than the grace period.

    Attributes:
        before: it went there before this time (seconds since 1970).
        entries: whose records go: every generation that was cleared.
        blobs: digest to size of those that nothing needs.
    """

    before: float
    entries: tuple[Entry, ...]
    blobs: Mapping[str, int]


def deadline(cache: Cache) -> float:
    """What went into the trash before this time (seconds since 1970) goes for good."""
    return time.time() - cache.settings.trash_days * _DAY


def expired(cache: Cache, before: float) -> Expired:
    """What :func:`purge` would delete."""
    cleared = cache.database.read(
        f"SELECT {COLUMNS} FROM entries WHERE state = 'trash' AND trashed_at < ? "
        "ORDER BY created_at DESC, key",
        (before,),
    )
    condition = _EXPIRED.format(before="?", clock=cache.database.clock)
    rows = cache.database.read(
        f"SELECT digest, size FROM blobs WHERE {condition}", (before, before)
    )
    in_place = cache.store.sizes([blob_name(digest) for digest, _ in rows])
    return Expired(
        before,
        tuple(Entry(row, cache.blobs) for row in cleared),
        {
            digest: size
            for (digest, size), stored_again in zip(rows, in_place, strict=True)
            if stored_again is None  # or else its time starts anew
        },
    )


class Purged(NamedTuple):
    """What went for good: how many generations of entries, and bytes."""

    entries: int
    bytes: int


NOTHING: Final = Purged(0, 0)


def purge(cache: Cache, *, before: float | None = None) -> Purged:
    """Delete for good what has been in the trash for longer than the grace period.

    Args:
        cache: whose trash.
        before: seconds since 1970, instead of the grace period in the settings.
    """
    if before is None:
        before = deadline(cache)
    over = cache.database.read(
        "SELECT key, generation FROM entries WHERE state IN ('trash', 'released') "
        "AND trashed_at < ?",
        (before,),
    )
    count = _in_turns(cache, over, lambda some, rows: _forget_old(some, rows, before))
    condition = _EXPIRED.format(before="?", clock=cache.database.clock)
    old = cache.database.read(f"SELECT digest FROM blobs WHERE {condition}", (before, before))
    freed = _in_turns(
        cache,
        [digest for (digest,) in old],
        lambda transaction, part: _delete_old(cache, transaction, part, before),
    )
    cache.documents.flush()
    return Purged(count, freed)


def delete(cache: Cache, digests: Sequence[str], before: float) -> int:
    """Delete the bytes of blobs that have just become trash, where there is no grace period.

    They are not moved first: on a full disk there may be no room for a folder. What a
    run may have stored, or can still be undeleted, is moved.

    Args:
        cache: whose.
        digests: which.
        before: entries whose files went before this time (seconds since 1970) need nothing.

    Returns:
        Bytes deleted.
    """

    def work(transaction: Transaction, part: Sequence[str]) -> int:
        free = _fitting(cache, transaction, part, _FREE, before)
        cache.store.each(lambda digest: cache.store.remove(blob_name(digest)), list(free))
        _remove(cache, transaction, list(free))
        _move_trash(cache, transaction, [digest for digest in part if digest not in free])
        return sum(free.values())

    return _in_turns(cache, digests, work)


def put_blobs(transaction: Transaction, blobs: Mapping[str, int], now: float) -> list[str]:
    """Mark blobs as trash that no live entry needs by now; returns which.

    One that the tables do not know is made known, so that a commit can take it back.
    """
    transaction.run_many(
        "INSERT INTO blobs (digest, size, state, trashed_at) "
        "VALUES (:digest, :size, 'trash', :now) ON CONFLICT DO NOTHING",
        [{"digest": digest, "size": size, "now": now} for digest, size in blobs.items()],
    )
    return [
        digest
        for digest in blobs
        if transaction.run(
            "UPDATE blobs SET state = 'trash', trashed_at = :now WHERE digest = :digest "
            f"AND NOT {LIVE_ENTRY_NEEDS}",
            digest=digest,
            now=now,
        ).rowcount
    ]


def move_in(cache: Cache, digests: Sequence[str]) -> None:
    """Move the bytes, under the write lock: a commit that needs one restores it before or after."""

    def work(transaction: Transaction, part: Sequence[str]) -> int:
        _move_trash(cache, transaction, part)
        return 0

    _in_turns(cache, digests, work)


def _forget(transaction: Transaction, key: str, generation: int) -> None:
    """Of an entry in the trash all goes; of a released one, the way back to its files."""
    one = {"key": key, "generation": generation}
    where = "WHERE key = :key AND generation = :generation"
    transaction.run(f"DELETE FROM entries {where} AND state = 'trash'", **one)
    transaction.run(f"UPDATE entries SET trashed_at = NULL {where}", **one)
    transaction.run(f"DELETE FROM entry_blobs {where}", **one)
    mark_behind(transaction, key)


def forget_released(cache: Cache, entries: Sequence[Entry]) -> None:
    """Forget the way back to the files of those entries that are released."""
    with cache.database.write() as transaction:
        for entry in entries:
            rows: Any = transaction.run(
                "SELECT generation FROM entries WHERE key = :key AND generation <= :generation "
                "AND state = 'released'",
                key=entry.key,
                generation=entry.generation,
            ).all()
            for (number,) in rows:
                _forget(transaction, entry.key, number)


def _forget_old(transaction: Transaction, rows: Sequence[tuple[str, int]], before: float) -> int:
    """Forget what was not undeleted meanwhile; returns how many had been cleared."""
    count = 0
    for key, generation in rows:
        state = transaction.run(
            "SELECT state FROM entries WHERE key = :key AND generation = :generation "
            "AND trashed_at < :before",
            key=key,
            generation=generation,
            before=before,
        ).scalar()
        if state in ("trash", "released"):
            _forget(transaction, key, generation)
        count += state == "trash"
    return count


def _in_turns(
    cache: Cache, items: Sequence[T], work: Callable[[Transaction, Sequence[T]], int]
) -> int:
    """Work under the write lock on some items at a time, between which others get it.

    Returns:
        The sum of what the work came to.
    """
    most = _FAR_BATCH if cache.store.far else BATCH
    total = 0
    for start in range(0, len(items), most):
        began = time.monotonic()
        with cache.database.write() as transaction:
            total += work(transaction, items[start : start + most])
        if start + most < len(items) and time.monotonic() - began > _LONG:
            time.sleep(_TURN)
    return total


def _fitting(
    cache: Cache, transaction: Transaction, digests: Sequence[str], condition: str, before: float
) -> dict[str, int]:
    """Digest to size of those blobs of which a condition is true by now."""
    condition = condition.format(before=":before", clock=cache.database.clock)
    rows: Any = transaction.run(
        f"SELECT digest, size FROM blobs WHERE digest IN ({_places(digests)}) AND {condition}",
        before=before,
        **_named(digests),
    ).all()
    return {row[0]: row[1] for row in rows}


def _delete_old(
    cache: Cache, transaction: Transaction, digests: Sequence[str], before: float
) -> int:
    old = _fitting(cache, transaction, digests, _EXPIRED, before)
    # Stored again just now, perhaps by a run that is about to commit.
    again = _move_bytes(cache, transaction, list(old))
    gone = [digest for digest in old if digest not in again]
    _remove(cache, transaction, gone)
    return sum(old[digest] for digest in gone)


def _remove(cache: Cache, transaction: Transaction, digests: Sequence[str]) -> None:
    """Delete what is in the trash of some blobs, and their rows."""
    cache.store.each(lambda digest: cache.store.remove(trashed(blob_name(digest))), digests)
    transaction.run_many(
        "DELETE FROM blobs WHERE digest = :digest", [{"digest": digest} for digest in digests]
    )


def _move_trash(cache: Cache, transaction: Transaction, digests: Sequence[str]) -> None:
    """Move the bytes of those blobs that are trash still."""
    if digests:
        rows: Any = transaction.run(
            f"SELECT digest FROM blobs WHERE digest IN ({_places(digests)}) AND state = 'trash'",
            **_named(digests),
        ).all()
        _move_bytes(cache, transaction, [digest for (digest,) in rows])


def _move_bytes(cache: Cache, transaction: Transaction, digests: Sequence[str]) -> set[str]:
    """Move bytes into the trash, where their time starts now; returns which were in place."""
    names = [blob_name(digest) for digest in digests]
    there = zip(digests, cache.store.sizes(names), strict=True)
    moved: set[str] = set()

    def move(digest: str) -> None:
        if cache.store.move(blob_name(digest), trashed(blob_name(digest))):
            moved.add(digest)

    cache.store.each(move, [digest for digest, size in there if size is not None])
    now = time.time()
    transaction.run_many(
        "UPDATE blobs SET trashed_at = :now WHERE digest = :digest",
        [{"now": now, "digest": digest} for digest in sorted(moved)],
    )
    return moved


def _places(digests: Sequence[str]) -> str:
    return ", ".join(f":d{number}" for number in range(len(digests)))


def _named(digests: Sequence[str]) -> dict[str, str]:
    return {f"d{number}": digest for number, digest in enumerate(digests)}
