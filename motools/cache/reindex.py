"""Reindexing: the tables made again from the documents."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.cache import layout
from motools.cache.action import key_of
from motools.cache.attempt import NAMES as ATTEMPT_NAMES
from motools.cache.commit import INSERT_ENTRY, link
from motools.cache.coordinator import hand_over
from motools.cache.database import Transaction, check_version
from motools.cache.document import entry_document
from motools.cache.documents import Documents, Problem
from motools.cache.entry import COLUMNS, check
from motools.cache.joining import chosen, join
from motools.cache.leftovers import sweep
from motools.cache.marks import restore_marks
from motools.cache.store import Store
from motools.cache.tree import Tree, TreeFile
from motools.cache.use import alone, announce_use
from motools.errors import CorruptDatabaseError, CorruptDocumentError
from motools.settings import Settings

if TYPE_CHECKING:
    from motools.cache.cache import Cache

_ACTION: Final = COLUMNS.split(", ").index("action")
_CHECKSUM: Final = COLUMNS.split(", ").index("checksum")


@dataclass(frozen=True)
class Reindexed:
    """What a reindex found.

    Attributes:
        entries: generations restored.
        jobs: journal attempts restored.
        marks: pins, tags and notes restored.
        problems: documents that cannot be used; they were left where they are.
        damaged: where the unreadable tables are now, if there were such.
    """

    entries: int
    jobs: int
    marks: int
    problems: tuple[Problem, ...]
    damaged: str | None


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


def reindex(root: Path, *, settings: Settings | None = None) -> Reindexed:
    """Make the tables of a cache again from its documents.

    Tables that can be read are completed; damaged ones are put aside first, for
    which nobody else may be using the cache. Where the settings name another
    coordinator than the cache has had so far, it takes over.

    Raises:
        CacheUnavailableError: other processes use the cache.
    """
    from motools.cache.cache import Cache

    settings = settings or Settings.load()
    joined = join(root, settings, create=False)
    if joined.elsewhere or joined.marker.coordinator != chosen(settings):
        hand_over(root, joined, settings)
    cache = Cache(root, joined.marker.id, settings)
    damaged = None
    try:
        cache.database.check()
    except CorruptDatabaseError:
        with alone(root):
            damaged = cache.database.set_aside(root / layout.QUARANTINE)
    cache.use = announce_use(root)
    _version(cache)
    with cache.database.write() as transaction:
        _ensure_schema(transaction, cache)
        found = restore(transaction, cache.store, cache.documents)
    cache.documents.flush()
    return dataclasses.replace(found, damaged=damaged)


def restore(transaction: Transaction, store: Store, documents: Documents) -> Reindexed:
    """Add to the tables what only the documents have."""
    problems: list[Problem] = []
    counts = {"entries": 0, "jobs": 0, "marks": 0}
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
    for found in documents.marks():
        if isinstance(found, Problem):
            problems.append(found)
            continue
        counts["marks"] += restore_marks(transaction, found)
    return Reindexed(**counts, problems=tuple(problems), damaged=None)


def _version(cache: Cache) -> int | None:
    """The schema version, or None when tables have to be made or brought up."""
    facts = cache.database.facts()
    if not facts:
        return None
    version = int(facts.get("schema_version", 0))
    check_version(version)
    return version if version == layout.SCHEMA else None


def _make_tables(cache: Cache) -> None:
    with cache.database.write() as transaction:
        if _ensure_schema(transaction, cache) and cache.documents.any():
            restore(transaction, cache.store, cache.documents)


def _ensure_schema(transaction: Transaction, cache: Cache) -> bool:
    from motools.cache import schema

    cache.database.prepare(transaction.connection)
    return schema.ensure(transaction.connection, cache.id)


def _diverged(transaction: Transaction, row: tuple[Any, ...]) -> Problem | None:
    """Whether another result is there already, which stays. A row that was damaged makes way."""
    where = "WHERE key = :key AND generation = :generation"
    at = {"key": row[0], "generation": row[1]}
    kept = transaction.run(f"SELECT {COLUMNS} FROM entries {where}", **at).first()
    if kept is None:
        return None
    try:
        check(kept)
        if key_of(kept[_ACTION]) != kept[0]:
            raise CorruptDocumentError("its action's digest is not its key")
        entry_document([tuple(kept)])  # of a damaged row there is none
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
    if columns["state"] == "released" and columns["trashed_at"] is None:
        return 1  # its files are gone for good
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
    names, values = ", ".join(ATTEMPT_NAMES), ", :".join(ATTEMPT_NAMES)
    statement = f"INSERT INTO jobs ({names}) VALUES (:{values})"
    return int(
        transaction.run(
            f"{statement} ON CONFLICT DO NOTHING", **dict(zip(ATTEMPT_NAMES, row, strict=True))
        ).rowcount
    )
