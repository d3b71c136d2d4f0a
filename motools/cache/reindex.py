"""Reindexing: the tables made again from the documents."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.cache import layout
from motools.cache.commit import INSERT_ENTRY, link
from motools.cache.database import Transaction, check_version
from motools.cache.documents import JOB_COLUMNS, Documents, Problem
from motools.cache.entry import COLUMNS, check
from motools.cache.removal import sweep
from motools.cache.store import Store, unavailable
from motools.cache.tree import Tree, TreeFile
from motools.errors import CacheUnavailableError, CorruptDatabaseError, CorruptDocumentError

if TYPE_CHECKING:
    from motools.cache.cache import Cache

_USE_LOCK: Final = "tmp/in-use.lock"
_VERSION: Final = "SELECT value FROM meta WHERE name = 'schema_version'"

_CHECKSUM: Final = COLUMNS.split(", ").index("checksum")


class Use:
    """Says that this process uses a cache, for as long as it is referred to.

    Args:
        root: the cache's directory.
    """

    def __init__(self, root: Path) -> None:
        with unavailable(f"cannot use the cache at {root}"):
            self.descriptor = os.open(root / _USE_LOCK, os.O_RDWR | os.O_CREAT, 0o644)

    # Held here, because at the end of the interpreter the module's names are gone first.
    _close = staticmethod(os.close)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            self._close(self.descriptor)


_in_use: weakref.WeakValueDictionary[tuple[Path, int], Use] = weakref.WeakValueDictionary()
"""By root and process id: a fork's locks are its parent's."""


@dataclass(frozen=True)
class Reindexed:
    """What a reindex found.

    Attributes:
        entries: generations restored.
        jobs: journal attempts restored.
        problems: documents that cannot be used; they were left where they are.
        damaged: where the unreadable database was moved, if there was one.
    """

    entries: int
    jobs: int
    problems: tuple[Problem, ...]
    damaged: Path | None


def ensure_ready(cache: Cache) -> None:
    """Have the tables there, of this version, and not behind the documents.

    Raises:
        CacheVersionError: the database is newer than this code.
        CorruptDatabaseError: it is damaged; ``reindex`` mends that.
    """
    cache.use = announce_use(cache.root)
    if _version(cache) is None:
        _make_tables(cache)
    cache.documents.flush()
    sweep(cache)


def reindex(root: Path, *, settings: Any = None) -> Reindexed:
    """Make the tables of a cache again from its documents.

    A database that can be read is completed; one that is damaged is moved to
    ``quarantine/`` first, for which nobody else may be using the cache.

    Raises:
        CacheUnavailableError: other processes use the cache.
    """
    from motools.cache.cache import Cache
    from motools.settings import Settings

    cache_id = _open_directory(root)
    cache = Cache(root, cache_id, settings or Settings.load())
    damaged = None
    try:
        _check_integrity(cache)
    except CorruptDatabaseError:
        damaged = _set_aside(cache)
        cache = Cache(root, cache_id, cache.settings)
    cache.use = announce_use(root)
    _version(cache)
    with cache.database.write() as transaction:
        _ensure_schema(transaction, cache.id)
        found = restore(transaction, cache.store, cache.documents)
    cache.documents.flush()
    return Reindexed(found.entries, found.jobs, found.problems, damaged)


def restore(transaction: Transaction, store: Store, documents: Documents) -> Reindexed:
    """Add to the tables what only the documents have."""
    problems: list[Problem] = []
    counts = {"entries": 0, "jobs": 0}
    for found in documents.entries():
        if isinstance(found, Problem):
            problems.append(found)
            continue
        for row in found:
            if (diverged := _diverged(transaction, row)) is not None:
                problems.append(diverged)
            counts["entries"] += _restore_entry(transaction, store, row)
    for found in documents.journal():
        if isinstance(found, Problem):
            problems.append(found)
            continue
        for row in found:
            counts["jobs"] += _restore_job(transaction, row)
    return Reindexed(counts["entries"], counts["jobs"], tuple(problems), None)


def announce_use(root: Path) -> Use:
    """Keep others from setting the database aside for as long as the result is referred to."""
    mark = (root, os.getpid())
    use = _in_use.get(mark) or Use(root)
    try:
        fcntl.flock(use.descriptor, fcntl.LOCK_SH)
        # SQLite's kind of lock, tried here: it would wait a minute before it gave up.
        fcntl.lockf(use.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.lockf(use.descriptor, fcntl.LOCK_UN)
    except OSError as problem:
        raise CacheUnavailableError(
            f"cannot lock {root}: {problem.strerror}. Put the cache on a local disk "
            "(--cache-dir, MOTOOLS_CACHE_DIR)"
        ) from problem
    _in_use[mark] = use
    return use


def _version(cache: Cache) -> int | None:
    """The schema version, or None when tables have to be made or brought up."""
    if not (cache.root / layout.DATABASE).exists():
        return None
    try:
        rows = cache.database.read(_VERSION)
    except CorruptDatabaseError as problem:
        if "no such table" in str(problem):
            return None
        raise
    version = int(rows[0][0]) if rows else 0
    check_version(version)
    return version if version == layout.SCHEMA else None


def _make_tables(cache: Cache) -> None:
    with cache.database.write() as transaction:
        if _ensure_schema(transaction, cache.id) and cache.documents.any():
            restore(transaction, cache.store, cache.documents)


def _ensure_schema(transaction: Transaction, cache_id: str) -> bool:
    from motools.cache import schema

    return schema.ensure(transaction.connection, cache_id)


def _check_integrity(cache: Cache) -> None:
    if (cache.root / layout.DATABASE).exists():
        found = cache.database.read("PRAGMA quick_check")
        if found[0][0] != "ok":
            raise CorruptDatabaseError(str(found[0][0]))
        _version(cache)


def _set_aside(cache: Cache) -> Path:
    """Move a damaged database out of the way, if nobody else uses it."""
    cache.database.close()
    aside = cache.root / layout.QUARANTINE / f"{layout.DATABASE}.{time.time_ns()}"
    with _alone(cache.root):
        for suffix in ("", "-wal", "-shm"):
            path = cache.root / (layout.DATABASE + suffix)
            if path.exists():
                path.replace(f"{aside}{suffix}")
    return aside


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    use = announce_use(root)
    try:
        fcntl.flock(use.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CacheUnavailableError(
            f"other processes use {root}: end them, then run `motools cache reindex` again. "
            "Nothing was changed"
        ) from None
    finally:
        announce_use(root)  # back to sharing; a refused lock may have cost us our own


def _diverged(transaction: Transaction, row: tuple[Any, ...]) -> Problem | None:
    """Whether another result is there already, which stays. A row that was damaged makes way."""
    where = "WHERE key = :key AND generation = :generation"
    at = {"key": row[0], "generation": row[1]}
    kept = transaction.run(f"SELECT {COLUMNS} FROM entries {where}", **at).first()
    if kept is None:
        return None
    try:
        check(kept)
    except CorruptDocumentError:
        transaction.run(f"DELETE FROM entries {where}", **at)
        return None
    if kept[_CHECKSUM] == row[_CHECKSUM]:
        return None
    return Problem(
        layout.entry_name(row[0]), f"diverged: another result of generation {row[1]} is kept"
    )


def _restore_entry(transaction: Transaction, store: Store, row: tuple[Any, ...]) -> int:
    columns = dict(zip(COLUMNS.split(", "), row, strict=True))
    if not transaction.run(f"{INSERT_ENTRY} ON CONFLICT DO NOTHING", **columns).rowcount:
        return 0
    files = [TreeFile(*file) for file in json.loads(columns["files"])]
    sizes = {file.digest: file.size for file in files}
    if files:
        manifest = Tree.of(files).digest
        sizes[manifest.hex] = manifest.size
    # Without a signature, so that the bytes are hashed before they are used.
    transaction.run_many(
        "INSERT INTO blobs (digest, size, state) VALUES (:digest, :size, :state) "
        "ON CONFLICT DO NOTHING",
        [{"digest": d, "size": s, "state": _blob_state(store, d)} for d, s in sizes.items()],
    )
    link(transaction, columns["key"], columns["generation"], sizes)
    return 1


def _blob_state(store: Store, digest: str) -> str:
    """``trash`` if that is where the bytes are, else ``live``, there or missing."""
    name = layout.blob_name(digest)
    in_trash = store.size(name) is None and store.size(layout.trashed(name)) is not None
    return "trash" if in_trash else "live"


def _restore_job(transaction: Transaction, row: tuple[Any, ...]) -> int:
    names = JOB_COLUMNS.split(", ")
    statement = f"INSERT INTO jobs ({JOB_COLUMNS}) VALUES (:{', :'.join(names)})"
    return int(
        transaction.run(
            f"{statement} ON CONFLICT DO NOTHING", **dict(zip(names, row, strict=True))
        ).rowcount
    )


def _open_directory(root: Path) -> str:
    from motools.cache.marker import open_directory

    return open_directory(root, create=False)
