"""The trash: where blobs wait, and how they get in and out of the store for good."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from motools.cache.commit import mark_behind
from motools.cache.database import Transaction
from motools.cache.layout import blob_name, trashed

if TYPE_CHECKING:
    from motools.cache.cache import Cache

BATCH: Final = 200
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

_EXPIRED: Final = (
    "state = 'trash' AND trashed_at < {before} AND NOT EXISTS (SELECT 1 FROM entry_blobs l "
    "JOIN entries e ON e.key = l.key AND e.generation = l.generation "
    "WHERE l.digest = blobs.digest "
    "AND (e.state = 'live' OR e.trashed_at >= {before})) AND " + _NO_RUN_NEEDS_IT
)
"""Blobs whose time is over, and that nothing needs that can still be undeleted."""


def deadline(cache: Cache) -> float:
    """What went into the trash before this time (seconds since 1970) goes for good."""
    return time.time() - cache.settings.trash_days * _DAY


def expired(cache: Cache, before: float) -> dict[str, int]:
    """Digest to size of the blobs that :func:`purge` would delete."""
    condition = _EXPIRED.format(before="?", clock=cache.database.clock)
    rows = cache.database.read(
        f"SELECT digest, size FROM blobs WHERE {condition}", (before, before)
    )
    in_place = cache.store.sizes([blob_name(digest) for digest, _ in rows])
    return {
        digest: size
        for (digest, size), stored_again in zip(rows, in_place, strict=True)
        if stored_again is None  # or else its time starts anew
    }


def purge(cache: Cache, *, before: float | None = None) -> int:
    """Delete for good what has been in the trash for longer than the grace period.

    Args:
        cache: whose trash.
        before: seconds since 1970, instead of the grace period in the settings.

    Returns:
        Bytes deleted.
    """
    if before is None:
        before = deadline(cache)
    with cache.database.write() as transaction:
        _forget_entries(transaction, before)
        freed = 0
        condition = _EXPIRED.format(before=":before", clock=cache.database.clock)
        old: Any = transaction.run(
            f"SELECT digest, size FROM blobs WHERE {condition}", before=before
        ).all()
        for digest, size in old:
            if _move_bytes(cache, transaction, digest):
                continue  # stored again just now, perhaps by a run that is about to commit
            cache.store.remove(trashed(blob_name(digest)))
            transaction.run("DELETE FROM blobs WHERE digest = :digest", digest=digest)
            freed += size
    cache.documents.flush()
    return freed


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


def move_in(cache: Cache, digests: list[str]) -> None:
    """Move the bytes, under the write lock: a commit that needs one restores it before or after."""
    for start in range(0, len(digests), BATCH):
        with cache.database.write() as transaction:
            for digest in digests[start : start + BATCH]:
                state = transaction.run(
                    "SELECT state FROM blobs WHERE digest = :digest", digest=digest
                ).scalar()
                if state == "trash":
                    _move_bytes(cache, transaction, digest)


def _forget_entries(transaction: Transaction, before: float) -> None:
    """Of entries in the trash all goes; of released ones, the way back to their files."""
    for state, statement in (
        ("trash", "DELETE FROM entries WHERE key = :key AND generation = :generation"),
        (
            "released",
            "UPDATE entries SET trashed_at = NULL WHERE key = :key AND generation = :generation",
        ),
    ):
        rows: Any = transaction.run(
            "SELECT key, generation FROM entries WHERE state = :state AND trashed_at < :before",
            state=state,
            before=before,
        ).all()
        for key, generation in rows:
            transaction.run(statement, key=key, generation=generation)
            transaction.run(
                "DELETE FROM entry_blobs WHERE key = :key AND generation = :generation",
                key=key,
                generation=generation,
            )
            mark_behind(transaction, key)


def _move_bytes(cache: Cache, transaction: Transaction, digest: str) -> bool:
    """Move bytes into the trash, where their time starts now; False: they are not in place."""
    moved = cache.store.move(blob_name(digest), trashed(blob_name(digest)))
    if moved:
        transaction.run(
            "UPDATE blobs SET trashed_at = :now WHERE digest = :digest",
            now=time.time(),
            digest=digest,
        )
    return moved
