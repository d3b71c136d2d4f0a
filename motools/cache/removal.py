"""Removal: the only way anything is deleted.

A plan says what would go. Executing it either clears entries, with ``files`` along
with the blobs that nothing else uses, or releases them: files go, records stay.
What went is in the trash until the grace period has passed, and can be undeleted;
then it goes for good with the next plan that names it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from motools.cache import leftovers, trash
from motools.cache.attempt import Attempt
from motools.cache.commit import mark_behind
from motools.cache.database import Transaction
from motools.cache.entry import Entry
from motools.cache.leftovers import Leftover
from motools.cache.marks import RELEASED, set_mark
from motools.cache.running import is_needed, needed_by_runs, reader
from motools.cache.trash import BATCH, NOTHING, Expired, Purged, purge
from motools.errors import CacheUnavailableError, RemovalError

if TYPE_CHECKING:
    from motools.cache.cache import Cache

__all__ = [
    "RemovalPlan",
    "Removed",
    "execute",
    "plan",
    "purge",
    "refuse_if_running",
]

_MAY_BE_RELEASED: Final = (
    "state = 'live' "
    "AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.key = entries.key AND m.name = 'pin')"
)


_PART: Final = 64
"""Entries that are released together at most."""


@dataclass(frozen=True)
class RemovalPlan:
    """What a removal would do.

    Attributes:
        entries: what is cleared or released, newest generation of each key.
        blobs: digest to size of the blobs that go into the trash.
        kept_blobs: how many stay, because other entries use them or files were not asked for.
        release: whether records stay, and only files go. What is pinned meanwhile
            is then passed over.
        leftovers: what nobody needs any more, to be deleted for good.
        gone: key to why what an entry stands for is gone already; nothing keeps that.
        attempts: paid work that came to nothing, to be struck off the journal.
        expired: what goes for good of the trash; None: nothing does.
        for_good: whether blobs go for good at once, as there is no grace period.
    """

    entries: tuple[Entry, ...]
    blobs: dict[str, int]
    kept_blobs: int
    release: bool = False
    leftovers: tuple[Leftover, ...] = field(default=())
    gone: Mapping[str, str] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    expired: Expired | None = None
    for_good: bool = False

    @property
    def bytes_freed(self) -> int:
        """Bytes in the blobs that go, in leftovers and in attempts."""
        rest = sum(e.size for e in self.leftovers) + sum(e.size for e in self.attempts)
        return sum(self.blobs.values()) + rest

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
        bytes_freed: bytes in them, and in all else that was deleted.
        attempts: how many were struck off the journal.
        waiting: bytes of its blobs that are in the trash.
        purged: what had been there for long enough, and went for good.
    """

    entries: int
    blobs: int
    bytes_freed: int
    attempts: int = 0
    waiting: int = 0
    purged: Purged = NOTHING


def plan(
    cache: Cache,
    entries: Iterable[Entry],
    *,
    files: bool = False,
    release: bool = False,
    gone: Mapping[str, str] | None = None,
) -> RemovalPlan:
    """What removing entries would do. Nothing is changed.

    Args:
        cache: where they are.
        entries: what to remove, with all generations.
        files: whether blobs that nothing else uses go too.
        release: keep the records, and have only their files go.
        gone: key to why, for entries to release whose result lived elsewhere and is gone.
    """
    chosen = {entry.key: entry for entry in entries}
    used = _blobs_of(cache, list(chosen))
    shared = _used_elsewhere(cache, set(used), set(chosen)) if files or release else set(used)
    going = {digest: size for digest, size in used.items() if digest not in shared}
    kept = len(used) - len(going)
    return RemovalPlan(tuple(chosen.values()), going, kept, release, gone=gone or {})


def execute(cache: Cache, plan: RemovalPlan) -> Removed:
    """Carry a plan out.

    What has come to be needed since it was made stays, be it by an entry or by a run.
    """
    # These need no room, and on a full disk make some for what follows.
    freed = leftovers.remove(cache, plan.leftovers)
    count = deleted = 0
    gone: set[str] = set()
    for entries, blobs in _parts(cache, plan):
        now = time.time()
        with cache.database.write() as transaction:  # no run begins meanwhile
            needed = needed_by_runs(cache)
            taken = [entry for entry in entries if not _stays(cache, plan, entry, needed)]
            count += sum(_take(transaction, plan, entry, now) for entry in taken)
            stay = needed | gone
            free = {digest: size for digest, size in blobs.items() if digest not in stay}
            going = trash.put_blobs(transaction, free, now)
        with contextlib.suppress(CacheUnavailableError):
            # If there is no room for them, the outbox has them written below, when there is some.
            cache.documents.flush()
        gone.update(going)
        if plan.for_good:
            deleted += trash.delete(cache, going, before=math.nextafter(now, math.inf))
            trash.forget_released(cache, taken)
        else:
            trash.move_in(cache, going)
    old = plan.expired
    purged = NOTHING if old is None else purge(cache, before=old.before)
    struck = cache.attempts.remove(plan.attempts)
    cache.documents.flush()
    size = sum(plan.blobs[digest] for digest in gone)
    freed += size + sum(each.size for each in struck)
    return Removed(count, len(gone), freed, len(struck), size - deleted, purged)


def _parts(cache: Cache, plan: RemovalPlan) -> Iterator[tuple[Sequence[Entry], Mapping[str, int]]]:
    """Entries and blobs that become trash together.

    What is cleared goes as a whole. Releasing has parts that grow: each is complete in
    itself, so that on a full disk what has gone makes room for the next.
    """
    if not plan.release:
        yield plan.entries, plan.blobs
        return
    owned = _blobs_of(cache, [entry.key for entry in plan.entries])
    yield (), {digest: size for digest, size in plan.blobs.items() if digest not in owned}
    start, most = 0, 1
    while part := plan.entries[start : start + most]:
        start, most = start + most, min(2 * most, _PART)
        of_part = _blobs_of(cache, [entry.key for entry in part])
        yield part, {digest: size for digest, size in plan.blobs.items() if digest in of_part}
    yield (), plan.blobs  # what entries of several parts share


def refuse_if_running(cache: Cache, plan: RemovalPlan) -> None:
    """Refuse to remove what is being made again right now, or files that a run reads.

    Raises:
        RemovalError: it names the key and who runs it, or what reads it.
    """
    for entry in plan.entries:
        holder = cache.leases.holder(entry.key)
        if holder is not None and not holder.silent:
            raise RemovalError(
                f"{entry.key[:12]} is being run by {holder.name}: wait for it, or end it first. "
                "Nothing was removed"
            )
    if plan.blobs and (found := reader(cache, plan.entries)) is not None:
        entry, run = found
        raise RemovalError(
            f"{entry.key[:12]} is read by {run[:12]}, which is being run: wait for it, or end it "
            "first. Nothing was removed"
        )


def _stays(cache: Cache, plan: RemovalPlan, entry: Entry, needed: frozenset[str]) -> bool:
    """Whether a run needs the files of an entry, and the plan would take them."""
    if not needed or entry.key in plan.gone or not (plan.release or plan.blobs):
        return False
    if plan.release and entry.key in needed:
        return True
    return any(is_needed(each, needed) for each in cache.index.generations(entry.key))


def _blobs_of(cache: Cache, keys: list[str]) -> dict[str, int]:
    """Digest to size of the blobs of some keys that are not in the trash already."""
    sizes: dict[str, int] = {}
    for start in range(0, len(keys), BATCH):
        part = keys[start : start + BATCH]
        marks = ",".join("?" * len(part))
        sizes.update(
            cache.database.read(
                "SELECT DISTINCT b.digest, b.size FROM entry_blobs l JOIN blobs b "
                f"ON b.digest = l.digest WHERE l.key IN ({marks}) AND b.state = 'live'",
                part,
            )
        )
    return sizes


def _used_elsewhere(cache: Cache, digests: set[str], keys: set[str]) -> set[str]:
    ordered = sorted(digests)
    shared: set[str] = set()
    for start in range(0, len(ordered), BATCH):
        part = ordered[start : start + BATCH]
        marks = ",".join("?" * len(part))
        rows = cache.database.read(
            "SELECT l.digest, l.key FROM entry_blobs l JOIN entries e ON e.key = l.key "
            f"AND e.generation = l.generation WHERE e.state = 'live' AND l.digest IN ({marks})",
            part,
        )
        shared.update(digest for digest, key in rows if key not in keys)
    return shared


def _take(transaction: Transaction, plan: RemovalPlan, entry: Entry, now: float) -> int:
    if not plan.release:
        return _change(transaction, entry, "trash", "state <> 'trash'", now)
    if (why := plan.gone.get(entry.key)) is None:
        return _change(transaction, entry, "released", _MAY_BE_RELEASED, now)
    changed = _change(transaction, entry, "released", "state NOT IN ('released', 'trash')", None)
    if changed:
        set_mark(transaction, entry.key, RELEASED, why)
    return changed


def _change(
    transaction: Transaction, entry: Entry, state: str, condition: str, now: float | None
) -> int:
    """Up to the generation that the plan named: a newer one is somebody's new result.

    Without a time, nothing can be undeleted.
    """
    changed = transaction.run(
        "UPDATE entries SET state = :state, trashed_at = :now "
        f"WHERE key = :key AND generation <= :generation AND {condition}",
        state=state,
        key=entry.key,
        generation=entry.generation,
        now=now,
    ).rowcount
    if changed:
        mark_behind(transaction, entry.key)
    return 1 if changed else 0
