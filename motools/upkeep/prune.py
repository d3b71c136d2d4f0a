"""Prune: files go that are over the budget or that nobody needs; records stay."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from motools.cache import leftovers, logs, removal, trash
from motools.cache.cache import Cache
from motools.cache.holdings import Holdings, arriving, holdings
from motools.cache.marks import PIN
from motools.cache.removal import RemovalPlan, Removed
from motools.cache.running import is_needed, needed_by_runs
from motools.errors import CacheUnavailableError
from motools.upkeep.listing import Going, listing
from motools.upkeep.policy import Policy
from motools.upkeep.releasing import to_release
from motools.upkeep.staying import Reasons

_ROOM: Final = 1 << 20
"""Bytes below which a disk is full."""


@dataclass(frozen=True)
class Pruning:
    """What a prune would do.

    Attributes:
        removal: the plan: entries to release, blobs for the trash, leftovers to delete.
        unused: digest to size of those of its blobs that no live entry needed before.
        held: bytes that live entries hold before.
        stays: key to why, for each entry that was named and stays.
    """

    removal: RemovalPlan
    unused: dict[str, int]
    held: int
    stays: Mapping[str, str] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Bytes that live entries hold afterwards."""
        released = sum(self.removal.blobs.values()) - sum(self.unused.values())
        return self.held - released

    @property
    def empty(self) -> bool:
        """Whether nothing would go."""
        plan = self.removal
        old = plan.expired
        return not (
            plan.entries
            or plan.blobs
            or plan.leftovers
            or (old is not None and (old.entries or old.blobs))
        )


@dataclass(frozen=True)
class Pruned:
    """What a prune did, or would do.

    Attributes:
        entries: how many let go of their files.
        blobs: how many went into the trash.
        bytes: in them, and in leftovers that were deleted.
        listing: each thing that was planned to go, with its size and cost.
        dry_run: whether that is what it would do, and nothing went.
    """

    entries: int
    blobs: int
    bytes: int
    listing: tuple[Going, ...] = ()
    dry_run: bool = False

    def __str__(self) -> str:
        did = "would be released" if self.dry_run else "released"
        return f"{self.entries} entries {did}, {self.blobs} blobs of {self.bytes:,} bytes"


def plan(
    cache: Cache,
    policy: Policy,
    *,
    among: Collection[str] | None = None,
    now: float | None = None,
) -> Pruning:
    """What a prune would do. Nothing is changed.

    Pinned entries, those that runs under way need and, unless the policy names
    them, those that cost money are left alone.

    Args:
        cache: which.
        policy: what may be there.
        among: keys of the only entries that may be released, and nothing else goes; None: any,
            and what nobody needs.
        now: seconds since 1970; None: as the clock says.
    """
    needed = needed_by_runs(cache)
    held = holdings(cache)  # which counts what was used until now
    now = time.time() if now is None else now
    read = [*_needed(held, needed), *_read(cache, needed)]
    reasons = Reasons(held, policy, cache.marks.keys(PIN), {entry.key for entry in read}, now)
    protected = {*reasons.pinned, *reasons.read}
    if among is not None:
        protected |= {entry.key for entry in held.entries if entry.key not in among}
    keys = to_release(held, policy, protected=protected, now=now)
    planned = dataclasses.replace(
        removal.plan(cache, cache.index.newest(keys), release=True),
        for_good=cache.settings.trash_days == 0,
    )
    total = sum(held.sizes.values())
    if among is not None:
        return Pruning(planned, {}, total, reasons.staying(among, set(keys)))
    needed = needed.union(*(entry.blobs for entry in read))
    coming = arriving(cache, cache.marks.keys(PIN), now - policy.spare)
    unused = leftovers.unused_blobs(cache, needed.union(held.sizes, coming))
    planned = dataclasses.replace(
        planned,
        blobs={**planned.blobs, **unused},
        leftovers=leftovers.find(cache, needed),
        expired=trash.expired(cache, trash.deadline(cache)),
    )
    return Pruning(planned, unused, total)


def execute(cache: Cache, pruning: Pruning) -> Removed:
    """Carry a prune out; what has come to be needed, pinned or run since stays.

    Raises:
        CacheUnavailableError: it could not be done, or not all of it; what was done is complete.
    """
    try:
        removed = removal.execute(cache, pruning.removal)
    except CacheUnavailableError as problem:
        if pruning.removal.for_good or shutil.disk_usage(cache.root).free > _ROOM:
            raise
        raise CacheUnavailableError(
            f"{problem}. What is pruned takes its room for {cache.settings.trash_days:g} days "
            "more, in the trash: set MOTOOLS_TRASH_DAYS=0 for the command, and it goes for good"
        ) from problem
    logs.remove_gone(cache, pruning.removal.entries)
    return removed


def prune_cache(
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    max_size: str | None = None,
    max_age: str | None = None,
    paid: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Release files that are over the budget, and delete what nobody needs. Records stay.

    What is pinned, in use, or was made or used within the last hour is left alone.

    Args:
        cache_dir: the cache's directory; by default the one in the settings, or ``.motools``.
        max_size: what all files may take, as in ``50GB``; without it and ``max_age``, the
            settings' ``budget`` counts.
        max_age: how long files are kept after they were made or last used, as in ``90d``.
        paid: also the files of what cost money.
        dry_run: only say what would go.

    Raises:
        CacheNotFoundError: there is none; it is a :class:`FileNotFoundError`.
        SettingsError: a size or an age is wrong.
    """
    cache = Cache.open(cache_dir, create=False)
    budget = cache.settings.budget
    pruning = plan(cache, Policy.given(budget, max_size=max_size, max_age=max_age, paid=paid))
    going = tuple(listing(pruning))
    if not dry_run:
        removed = execute(cache, pruning)
        return Pruned(removed.entries, removed.blobs, removed.bytes_freed, going)
    planned = pruning.removal
    freed = planned.bytes_freed
    return Pruned(len(planned.entries), len(planned.blobs), freed, going, dry_run=True)


def _needed(held: Holdings, needed: frozenset[str]) -> Iterator[_Read]:
    """The entries that are run again, or of which a run reads a blob."""
    for entry in held.entries if needed else ():
        if entry.key in needed or not needed.isdisjoint(entry.blobs):
            yield _Read(entry.key, entry.blobs)


def _read(cache: Cache, needed: frozenset[str]) -> Iterator[_Read]:
    """The models that runs read, which they name by one digest; those that were cleared, too."""
    for state in ("live", "trash") if needed else ():
        for entry in cache.index.select(kind="model", state=state, generations=True):
            if is_needed(entry, needed):
                yield _Read(entry.key, entry.blob_digests)


class _Read(NamedTuple):
    """An entry that a run needs, and the digests of its blobs."""

    key: str
    blobs: Collection[str]
