"""Leftovers: what processes that are gone have left in a cache, and nobody needs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from motools.cache.action import DIGEST
from motools.cache.claim import ACTION
from motools.cache.far import FETCHED
from motools.cache.layout import (
    BLOB_FOLDERS,
    JOBS,
    OBJECTS,
    TEXTS,
    TMP,
    blob_name,
    key_in,
    text_name,
)
from motools.cache.lease import JobLock
from motools.cache.running import job_directories, locked
from motools.cache.store import Unfinished, unavailable

if TYPE_CHECKING:
    from motools.cache.cache import Cache

STAGING: Final = "staging"
SCRATCH: Final = "scratch"
UPLOAD: Final = "upload"
TEXT: Final = "text"

LOCKS: Final = ".lock"
"""How the files below ``tmp/`` end that processes lock."""

_DAY: Final = 86_400.0
_STALE: Final = {STAGING: _DAY, SCRATCH: 30 * _DAY}
"""Seconds without a change. The scratch of a run that failed is what it would go on from."""


@dataclass(frozen=True)
class Leftover:
    """What can be deleted for good.

    Attributes:
        what: ``staging``: something that was being written below ``tmp/``;
            ``scratch``: the job directory of a run that ended without a result;
            ``upload``: one to a store in a bucket that nobody has completed;
            ``text``: what explains a digest that nothing names any more.
        name: its path in the cache, or in the store.
        size: bytes.
        id: tells uploads of one name from each other.
    """

    what: str
    name: str
    size: int
    id: str = ""


def find(cache: Cache, needed: Collection[str] = frozenset()) -> tuple[Leftover, ...]:
    """All files, job directories, uploads and texts that were left behind.

    Args:
        cache: where.
        needed: digests of blobs whose fetched copies runs may be reading.
    """
    now = time.time()
    with unavailable(f"cannot list {cache.root}"):
        local = (*_staging(cache.root, needed, now), *_scratch(cache, now))
    return (*local, *_uploads(cache, now), *_texts(cache, now))


def unused_blobs(cache: Cache, needed: Collection[str]) -> dict[str, int]:
    """Digest to size of the blobs in place that nothing needs.

    One that the tables do not know may have been stored by a run that is about to
    commit, and is passed over until it is a day old.

    Args:
        cache: where they are.
        needed: the digests that live entries and runs under way need.
    """
    names = frozenset(map(blob_name, needed))
    found = _sizes(cache.store.names(OBJECTS, but=names))
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
    texts = {each.name for each in found if each.what == TEXT}
    if texts:
        texts.intersection_update(each.name for each in _texts(cache, now))

    def gone(each: Leftover) -> bool:
        if each.what == TEXT:
            return each.name in texts and cache.store.remove(each.name)
        return _REMOVE[each.what](cache, each, now)

    return sum(each.size for each in found if gone(each))


def sweep(cache: Cache) -> None:
    """Remove the job directories of processes that were killed right after their commit."""
    for directory in job_directories(cache):
        if _has_committed(cache, directory.name):
            lock = JobLock.try_take(directory)
            if lock is not None:
                lock.release(remove=_has_committed(cache, directory.name))


def _has_committed(cache: Cache, key: str) -> bool:
    """Whether the last runner of a key made its entry, rather than fail or die before."""
    rows = cache.database.read("SELECT holder, domain FROM leases WHERE key = ?", (key,))
    return rows == [(None, None)]


def _staging(root: Path, needed: Collection[str], now: float) -> Iterator[Leftover]:
    for path in _files(root / TMP):
        if path.suffix == LOCKS:
            continue  # nothing is written to it, and whoever has it open relies on it
        if path.name in needed and path.parent.name == FETCHED:
            continue
        changed, size = _last_change(path)
        if now - changed > _STALE[STAGING]:
            yield Leftover(STAGING, path.relative_to(root).as_posix(), size)


def _scratch(cache: Cache, now: float) -> Iterator[Leftover]:
    for directory in job_directories(cache):
        changed, size = _last_change(directory)
        if now - changed > _STALE[SCRATCH] and not locked(cache, directory.name):
            yield Leftover(SCRATCH, f"{JOBS}/{directory.name}", size)


def _texts(cache: Cache, now: float) -> Iterator[Leftover]:
    """Texts that no entry, paid job or run names, once the grace period is over.

    An action without an entry is a text itself, and names others as long as it stays.
    """
    sizes = _sizes(cache.store.names(TEXTS))
    if not sizes:
        return
    paid = {key for (key,) in cache.database.read("SELECT DISTINCT key FROM jobs")} & sizes.keys()
    unnamed = sizes.keys() - _named(cache, sizes.keys()) - paid
    since = now - cache.settings.trash_days * _DAY
    written = {digest: cache.store.modified(text_name(digest)) for digest in unnamed}
    young = {digest for digest, at in written.items() if at is None or at >= since}
    kept = (cache.store.read(text_name(digest)) or b"" for digest in young | paid)
    for digest in sorted(
        unnamed - young - _digests(text.decode(errors="replace") for text in kept)
    ):
        yield Leftover(TEXT, text_name(digest), sizes[digest])


def _named(cache: Cache, texts: Set[str]) -> set[str]:
    """Which texts are of entries and job directories, or of digests in their actions."""
    found: set[str] = set()
    last = ""
    while rows := cache.database.read(_ACTIONS, (last,)):
        last = rows[-1][0]
        found |= texts & {key for key, _ in rows}
        found |= texts & _digests(action for _, action in rows)
    for directory in job_directories(cache):
        found.add(directory.name)
        with contextlib.suppress(FileNotFoundError):  # it has ended, or is about to begin
            found |= texts & _digests([(directory / ACTION).read_text()])
    return found


def _sizes(names: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Digest to size of what the cache has put there, but nothing that others have."""
    found = {key_in(name): size for name, size in names if name.count("/") > 1}
    return {digest: size for digest, size in found.items() if DIGEST.fullmatch(digest)}


def _digests(texts: Iterable[str]) -> set[str]:
    return {digest for text in texts for digest in DIGEST.findall(text)}


_ACTIONS: Final = "SELECT key, action FROM entries WHERE key > ? ORDER BY key LIMIT 5000"


def _uploads(cache: Cache, now: float) -> Iterator[Leftover]:
    if cache.store.far:  # else what is unfinished is staging
        for each in cache.store.unfinished(BLOB_FOLDERS):
            if now - each.started > cache.settings.trash_days * _DAY:
                yield Leftover(UPLOAD, each.name, each.size, each.id)


def _remove_staging(cache: Cache, found: Leftover, now: float) -> bool:
    path = cache.root / found.name
    try:
        if now - path.stat().st_mtime <= _STALE[STAGING]:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _remove_scratch(cache: Cache, found: Leftover, now: float) -> bool:
    directory = cache.root / found.name
    if not directory.exists() or now - _last_change(directory)[0] <= _STALE[SCRATCH]:
        return False
    lock = JobLock.try_take(directory)
    if lock is None:
        return False
    lock.release(remove=True)
    return True


def _remove_upload(cache: Cache, found: Leftover, now: float) -> bool:  # noqa: ARG001
    # Whoever goes on with it after so long finds it gone, and begins anew.
    return cache.store.abandon(Unfinished(found.name, found.id, 0.0, found.size))


_REMOVE: Final = {
    STAGING: _remove_staging,
    SCRATCH: _remove_scratch,
    UPLOAD: _remove_upload,
}


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
