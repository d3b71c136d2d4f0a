"""The tables that a remote's segments are read into.

They are a copy that may be deleted at any time; what was read once is not fetched
again, since segments never change.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from zstandard import ZstdCompressor

from motools.errors import CacheUnavailableError
from motools.remotes.packs import Frame
from motools.remotes.segments import Marked, Part, Removed, Supersedes

_VERSION: Final = 5
_TABLES: Final = """
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, made_at REAL NOT NULL,
    bytes INTEGER NOT NULL, emptied INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE supersedes (segment INTEGER NOT NULL, name TEXT NOT NULL);
CREATE TABLE frames (
    digest TEXT NOT NULL, segment INTEGER NOT NULL, size INTEGER NOT NULL, name TEXT NOT NULL,
    offset INTEGER NOT NULL, stored INTEGER NOT NULL, codec TEXT NOT NULL,
    PRIMARY KEY (digest, segment, name)
) WITHOUT ROWID;
CREATE TABLE entries (
    key TEXT NOT NULL, generation INTEGER NOT NULL, checksum TEXT NOT NULL, state TEXT NOT NULL,
    segment INTEGER NOT NULL,
    PRIMARY KEY (key, generation, checksum, segment)
) WITHOUT ROWID;
CREATE TABLE documents (
    key TEXT NOT NULL, segment INTEGER NOT NULL, position INTEGER NOT NULL,
    generations TEXT NOT NULL, blobs TEXT NOT NULL, document BLOB NOT NULL,
    PRIMARY KEY (key, segment, position)
);
CREATE TABLE marks (
    key TEXT NOT NULL, name TEXT NOT NULL, value TEXT, made_at REAL NOT NULL,
    segment INTEGER NOT NULL
);
CREATE INDEX marks_by_key ON marks (key);
CREATE TABLE removed (
    key TEXT NOT NULL, generation INTEGER NOT NULL, checksum TEXT NOT NULL,
    segment INTEGER NOT NULL
);
CREATE TABLE damaged (digest TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (digest, name));
"""
_INTO: Final = {
    "frames": "INSERT OR IGNORE INTO frames VALUES (?, ?, ?, ?, ?, ?, ?)",
    "supersedes": "INSERT INTO supersedes VALUES (?, ?)",
    "removed": "INSERT INTO removed VALUES (?, ?, ?, ?)",
    "marks": "INSERT INTO marks VALUES (?, ?, ?, ?, ?)",
    "entries": "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)",
    "documents": "INSERT OR IGNORE INTO documents VALUES (?, ?, ?, ?, ?, ?)",
}
_TOGETHER: Final = 20_000
_OF_SEGMENTS: Final = ("frames", "entries", "documents", "marks", "removed")
_BUSY_SECONDS: Final = 60.0


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on a connection of its own: none crosses a fork.

    Raises:
        CacheUnavailableError: the file cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("PRAGMA synchronous = OFF")  # it can be read again
            if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                _make_tables(connection)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as problem:
        raise CacheUnavailableError(
            f"cannot use {path}: {problem}; it is a copy of the remote's index: delete it, and it "
            "is read again"
        ) from problem


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN EXCLUSIVE")
    if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            connection.execute(f"DROP TABLE {table}")
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")


def insert(connection: sqlite3.Connection, segment: int, contents: Iterable[Part]) -> None:
    """Have what a segment says in the tables.

    Many rows together and in the order of their keys: one by one takes twice as long.
    """
    compress = ZstdCompressor(level=1).compress
    rows: dict[str, list[tuple[Any, ...]]] = {statement: [] for statement in _INTO.values()}
    numbered = enumerate(contents)
    while some := list(islice(numbered, _TOGETHER)):
        for position, part in some:
            for table, row in _rows_of(part, segment, position, compress):
                rows[_INTO[table]].append(row)
        for statement, found in rows.items():
            # Of rows with one key, those that come first stay first.
            connection.executemany(statement, sorted(found, key=itemgetter(0)))
            found.clear()


def _rows_of(
    part: Part, segment: int, position: int, compress: Callable[[bytes], bytes]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What a part of a segment comes to: tables, and a row of each."""
    if isinstance(part, Frame):
        place = part.name, part.offset, part.stored, part.codec
        yield "frames", (part.digest, segment, part.size, *place)
    elif isinstance(part, Supersedes):
        for name in part.names:
            yield "supersedes", (segment, name)
    elif isinstance(part, Removed):
        for gone in part.generations:
            yield "removed", (part.key, *gone, segment)
    elif isinstance(part, Marked):
        for row in part.rows:
            yield "marks", (part.key, *row, segment)
    else:
        for generation in part.generations:
            yield "entries", (part.key, *generation, segment)
        generations, blobs = json.dumps(part.generations), " ".join(part.blobs)
        said = generations, blobs, compress(part.document)
        yield "documents", (part.key, segment, position, *said)


def drop_superseded(connection: sqlite3.Connection) -> None:
    """Have nothing said by segments that others supersede; that they are there stays known."""
    old = _ids(connection, "emptied = 0 AND name IN (SELECT name FROM supersedes)")
    _empty(connection, _OF_SEGMENTS, old)
    connection.executemany("UPDATE segments SET emptied = 1 WHERE id = ?", zip(old, strict=True))


def forget(connection: sqlite3.Connection, names: Iterable[str]) -> bool:
    """Have nothing said by segments that are no more.

    Returns:
        Whether others count again which they had superseded: those are forgotten, too,
        so that they are read again.
    """
    gone = [each for name in names for each in _ids(connection, "name = ?", name)]
    _empty(connection, _OF_SEGMENTS, gone)
    _drop(connection, gone)
    again = _ids(connection, "emptied = 1 AND name NOT IN (SELECT name FROM supersedes)")
    _drop(connection, again)
    return bool(again)


def _ids(connection: sqlite3.Connection, condition: str, *parameters: str) -> list[int]:
    found = connection.execute(f"SELECT id FROM segments WHERE {condition}", parameters)
    return [segment for (segment,) in found]


def _drop(connection: sqlite3.Connection, ids: list[int]) -> None:
    _empty(connection, ("supersedes",), ids)
    connection.executemany("DELETE FROM segments WHERE id = ?", zip(ids, strict=True))


def _empty(connection: sqlite3.Connection, tables: Iterable[str], ids: list[int]) -> None:
    """Delete the rows of segments, all in one go: no table is sorted by segment."""
    if ids:
        for table in tables:
            connection.execute(f"DELETE FROM {table} WHERE segment IN ({str(ids)[1:-1]})")
