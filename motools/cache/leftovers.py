"""Leftovers: what processes that are gone have left in a cache, and nobody needs."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from motools.cache.layout import JOBS, OBJECTS, TMP, blob_name, key_in
from motools.cache.lease import JobLock
from motools.cache.running import locked
from motools.cache.store import unavailable

if TYPE_CHECKING:
    from motools.cache.cache import Cache

STAGING: Final = "staging"
SCRATCH: Final = "scratch"

_DAY: Final = 86_400.0
_STALE: Final = {STAGING: _DAY, SCRATCH: 30 * _DAY}
"""Seconds without a change. The scratch of a run that failed is what it would go on from."""


@dataclass(frozen=True)
class Leftover:
    """What can be deleted for good.

    Attributes:
        what: ``staging``: something that was being written below ``tmp/``;
            ``scratch``: the job directory of a run that ended without a result.
        name: its path in the cache.
        size: bytes.
    """

    what: str
    name: str
    size: int


def find(cache: Cache) -> tuple[Leftover, ...]:
    """All files and job directories that were left behind."""
    now = time.time()
    with unavailable(f"cannot list {cache.root}"):
        return (*_staging(cache.root, now), *_scratch(cache, now))


def unused_blobs(cache: Cache, needed: Collection[str]) -> dict[str, int]:
    """Digest to size of the blobs in place that nothing needs.

    One that the tables do not know may have been stored by a run that is about to
    commit, and is passed over until it is a day old.

    Args:
        cache: where they are.
        needed: the digests that live entries and runs under way need.
    """
    names = frozenset(map(blob_name, needed))
    found = {key_in(name): size for name, size in cache.store.names(OBJECTS, but=names)}
    if not found:
        return {}
    known = {digest for (digest,) in cache.database.read("SELECT digest FROM blobs")}
    old = time.time() - _DAY
    return {
        digest: size
        for digest, size in found.items()
        if digest in known or (cache.store.modified(blob_name(digest)) or old) < old
    }


def remove(cache: Cache, found: Sequence[Leftover]) -> int:
    """Delete leftovers, but for what is used again by now; returns the bytes freed."""
    now = time.time()
    return sum(each.size for each in found if _REMOVE[each.what](cache.root / each.name, now))


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


def _staging(root: Path, now: float) -> Iterator[Leftover]:
    for path in _files(root / TMP):
        changed, size = _last_change(path)
        if now - changed > _STALE[STAGING]:
            yield Leftover(STAGING, path.relative_to(root).as_posix(), size)


def _scratch(cache: Cache, now: float) -> Iterator[Leftover]:
    for directory in (cache.root / JOBS).iterdir():
        changed, size = _last_change(directory)
        if now - changed > _STALE[SCRATCH] and not locked(cache, directory.name):
            yield Leftover(SCRATCH, f"{JOBS}/{directory.name}", size)


def _remove_staging(path: Path, now: float) -> bool:
    try:
        if now - path.stat().st_mtime <= _STALE[STAGING]:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _remove_scratch(directory: Path, now: float) -> bool:
    if not directory.exists() or now - _last_change(directory)[0] <= _STALE[SCRATCH]:
        return False
    lock = JobLock.try_take(directory)
    if lock is None:
        return False
    lock.release(remove=True)
    return True


_REMOVE: Final = {STAGING: _remove_staging, SCRATCH: _remove_scratch}


def _last_change(path: Path) -> tuple[float, int]:
    """When a file, or anything in a directory, was changed last; and bytes in all of it."""
    changed, total = 0.0, 0
    for each in (path, *_files(path)):
        try:
            status = each.lstat()
        except FileNotFoundError:
            continue  # removed since it was listed
        changed = max(changed, status.st_mtime)
        total += 0 if each.is_dir() else status.st_size
    return changed, total


def _files(folder: Path) -> Iterator[Path]:
    return (Path(place, name) for place, _, names in os.walk(folder) for name in names)
