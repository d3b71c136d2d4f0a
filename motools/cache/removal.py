"""Removal: the only way anything is deleted.

A plan says what would go; executing it moves entries, and with ``files`` the
blobs that nothing else uses, into the trash. They can be undeleted until the
grace period has passed, then they go for good.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from motools.cache.commit import make_live, mark_behind
from motools.cache.database import Transaction
from motools.cache.entry import Entry
from motools.cache.layout import JOBS, blob_name, trashed
from motools.cache.lease import JobLock
from motools.errors import KeyNotFoundError, RemovalError

if TYPE_CHECKING:
    from motools.cache.cache import Cache

_BATCH: Final = 200
_DAY: Final = 86_400.0

_NO_RUN_NEEDS_IT: Final = (
    "trashed_at < COALESCE((SELECT MIN(acquired_at) FROM leases "
    "WHERE holder IS NOT NULL AND expires_at >= {clock}), trashed_at + 1)"
)
"""A run that began before a blob went into the trash may have stored it, and be about to commit."""


@dataclass(frozen=True)
class RemovalPlan:
    """What a removal would do.

    Attributes:
        entries: what goes into the trash, newest generation of each key.
        blobs: digest to size of the blobs that go along.
        kept_blobs: how many stay, because other entries use them or files were not asked for.
    """

    entries: tuple[Entry, ...]
    blobs: dict[str, int]
    kept_blobs: int

    @property
    def bytes_freed(self) -> int:
        """Bytes in the blobs that go."""
        return sum(self.blobs.values())

    @property
    def seconds_to_remake(self) -> float:
        """What making the entries took."""
        return sum(entry.duration for entry in self.entries)

    @property
    def cost_to_remake(self) -> float:
        """What making the entries cost, as far as it is known."""
        return sum(entry.cost or 0.0 for entry in self.entries)


@dataclass(frozen=True)
class Removed:
    """What a removal did.

    Attributes:
        entries: keys that went into the trash.
        blobs: how many blobs went along.
        bytes_freed: bytes in them.
    """

    entries: int
    blobs: int
    bytes_freed: int


def plan(cache: Cache, entries: Iterable[Entry], *, files: bool = False) -> RemovalPlan:
    """What removing entries would do. Nothing is changed.

    Args:
        cache: where they are.
        entries: what to remove, with all generations.
        files: whether blobs that nothing else uses go too.
    """
    chosen = {entry.key: entry for entry in entries}
    used = _blobs_of(cache, list(chosen))
    shared = _used_elsewhere(cache, set(used), set(chosen)) if files else set(used)
    going = {digest: size for digest, size in used.items() if digest not in shared}
    return RemovalPlan(tuple(chosen.values()), going, len(used) - len(going))


def execute(cache: Cache, plan: RemovalPlan) -> Removed:
    """Carry a plan out.

    What has come to be needed since it was made stays.
    """
    now = time.time()
    with cache.database.write() as transaction:
        count = sum(_trash_entry(transaction, entry, now) for entry in plan.entries)
        going = _trash_blobs(transaction, plan.blobs, now)
    cache.documents.flush()
    _move_to_trash(cache, going)
    purge(cache)
    return Removed(count, len(going), sum(plan.blobs[digest] for digest in going))


def undelete(cache: Cache, keys: Sequence[str]) -> int:
    """Take entries out of the trash, with their blobs.

    Raises:
        KeyNotFoundError: a key is not in the trash.
        MissingBlobError: a blob is gone for good; all stay in the trash.
    """
    with cache.database.write() as transaction:
        for key in keys:
            restored = transaction.run(
                "UPDATE entries SET state = 'live', trashed_at = NULL "
                "WHERE key = :key AND state = 'trash'",
                key=key,
            ).rowcount
            if not restored:
                raise KeyNotFoundError(f"{key[:12]} is not in the trash")
            make_live(transaction, cache.store, _sizes(transaction, key))
            mark_behind(transaction, key)
    cache.documents.flush()
    return len(keys)


def purge(cache: Cache, *, before: float | None = None) -> int:
    """Delete for good what has been in the trash for longer than the grace period.

    Args:
        cache: whose trash.
        before: seconds since 1970, instead of the grace period in the settings.

    Returns:
        Bytes deleted.
    """
    if before is None:
        before = time.time() - cache.settings.trash_days * _DAY
    with cache.database.write() as transaction:
        old: Any = transaction.run(
            "SELECT key, generation FROM entries WHERE state = 'trash' AND trashed_at < :before",
            before=before,
        ).all()
        for key, generation in old:
            for table in ("entries", "entry_blobs"):
                transaction.run(
                    f"DELETE FROM {table} WHERE key = :key AND generation = :generation",
                    key=key,
                    generation=generation,
                )
            mark_behind(transaction, key)
        freed = 0
        trash: Any = transaction.run(
            "SELECT digest, size FROM blobs WHERE state = 'trash' AND trashed_at < :before "
            f"AND digest NOT IN (SELECT digest FROM entry_blobs) "
            f"AND {_NO_RUN_NEEDS_IT.format(clock=cache.database.clock)}",
            before=before,
        ).all()
        for digest, size in trash:
            if _move_bytes(cache, transaction, digest):
                continue  # stored again just now, perhaps by a run that is about to commit
            cache.store.remove(trashed(blob_name(digest)))
            transaction.run("DELETE FROM blobs WHERE digest = :digest", digest=digest)
            freed += size
    cache.documents.flush()
    return freed


def sweep(cache: Cache) -> None:
    """Remove the job directories of processes that were killed right after their commit."""
    for directory in (cache.root / JOBS).iterdir():
        if _has_committed(cache, directory.name):
            lock = JobLock.try_take(directory)
            if lock is not None:
                lock.release(remove=_has_committed(cache, directory.name))


def _has_committed(cache: Cache, key: str) -> bool:
    """Whether the last runner of a key made its entry, rather than fail or die before."""
    rows = cache.database.read("SELECT holder, domain FROM leases WHERE key = ?", (key,))
    return rows == [(None, None)]


def refuse_if_running(cache: Cache, plan: RemovalPlan) -> None:
    """Refuse to remove what is being made again right now.

    Raises:
        RemovalError: it names the key and who runs it.
    """
    for entry in plan.entries:
        holder = cache.leases.holder(entry.key)
        if holder is not None and not holder.silent:
            raise RemovalError(
                f"{entry.key[:12]} is being run by {holder.name}: wait for it, or end it first. "
                "Nothing was removed"
            )


def _blobs_of(cache: Cache, keys: list[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for start in range(0, len(keys), _BATCH):
        part = keys[start : start + _BATCH]
        marks = ",".join("?" * len(part))
        sizes.update(
            cache.database.read(
                "SELECT DISTINCT b.digest, b.size FROM entry_blobs l JOIN blobs b "
                f"ON b.digest = l.digest WHERE l.key IN ({marks})",
                part,
            )
        )
    return sizes


def _used_elsewhere(cache: Cache, digests: set[str], keys: set[str]) -> set[str]:
    ordered = sorted(digests)
    shared: set[str] = set()
    for start in range(0, len(ordered), _BATCH):
        part = ordered[start : start + _BATCH]
        marks = ",".join("?" * len(part))
        rows = cache.database.read(
            "SELECT l.digest, l.key FROM entry_blobs l JOIN entries e ON e.key = l.key "
            f"AND e.generation = l.generation WHERE e.state <> 'trash' AND l.digest IN ({marks})",
            part,
        )
        shared.update(digest for digest, key in rows if key not in keys)
    return shared


def _trash_entry(transaction: Transaction, entry: Entry, now: float) -> int:
    """Up to the generation that the plan named: a newer one is somebody's new result."""
    changed = transaction.run(
        "UPDATE entries SET state = 'trash', trashed_at = :now "
        "WHERE key = :key AND generation <= :generation AND state <> 'trash'",
        key=entry.key,
        generation=entry.generation,
        now=now,
    ).rowcount
    if changed:
        mark_behind(transaction, entry.key)
    return 1 if changed else 0


def _trash_blobs(transaction: Transaction, digests: Iterable[str], now: float) -> list[str]:
    """Mark blobs as trash that no live entry needs by now."""
    return [
        digest
        for digest in digests
        if transaction.run(
            "UPDATE blobs SET state = 'trash', trashed_at = :now WHERE digest = :digest "
            "AND NOT EXISTS (SELECT 1 FROM entry_blobs l JOIN entries e ON e.key = l.key "
            "AND e.generation = l.generation WHERE l.digest = :digest AND e.state <> 'trash')",
            digest=digest,
            now=now,
        ).rowcount
    ]


def _move_to_trash(cache: Cache, digests: list[str]) -> None:
    """Move the bytes, under the write lock: a commit that needs one restores it before or after."""
    for start in range(0, len(digests), _BATCH):
        with cache.database.write() as transaction:
            for digest in digests[start : start + _BATCH]:
                state = transaction.run(
                    "SELECT state FROM blobs WHERE digest = :digest", digest=digest
                ).scalar()
                if state == "trash":
                    _move_bytes(cache, transaction, digest)


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


def _sizes(transaction: Transaction, key: str) -> dict[str, int]:
    rows: Any = transaction.run(
        "SELECT b.digest, b.size FROM entry_blobs l JOIN blobs b ON b.digest = l.digest "
        "WHERE l.key = :key",
        key=key,
    ).all()
    return dict(map(tuple, rows))
