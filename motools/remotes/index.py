"""A remote's index as known here: its segments, read into tables, and what they say."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from zstandard import ZstdDecompressor

from motools.cache.store import Store
from motools.errors import CacheUnavailableError, CorruptDocumentError
from motools.remotes import segments
from motools.remotes.layout import INDEX
from motools.remotes.packs import Frame
from motools.remotes.segments import Listed, Said
from motools.remotes.tables import connected, drop_superseded, forget, insert

_BATCH: Final = 500
_ATTEMPTS: Final = 3


class Index:
    """The index of one remote.

    Args:
        directory: where the tables are kept, on a local file system.
        store: the remote.
        connections: how many segments are fetched at once.
    """

    def __init__(self, directory: Path, store: Store, connections: int) -> None:
        self._path = directory / "index.db"
        self._store = store
        self._connections = connections

    def refresh(self, report: Callable[[CorruptDocumentError], None] | None = None) -> None:
        """Have the tables say what the remote's segments say now: one listing, and what is new.

        Args:
            report: told of each segment that is damaged; None: the first is raised, for
                what it said would seem not to be there.

        Raises:
            CacheUnavailableError: the remote cannot be read, or its segments come and go.
            CorruptDocumentError: a segment is damaged.
            CacheVersionError: a newer motools wrote one.
        """
        for _ in range(_ATTEMPTS):
            damaged: list[CorruptDocumentError] = []
            if self._follow(dict(self._store.names(INDEX)), damaged.append):
                break
        else:
            raise CacheUnavailableError(
                "segments of the remote's index vanish while they are read: run it again"
            )
        for problem in damaged:
            if report is None:
                raise problem
            report(problem)

    def _follow(
        self, listed: dict[str, int], damaged: Callable[[CorruptDocumentError], None]
    ) -> bool:
        with self._connected() as connection:
            known = {name for (name,) in connection.execute("SELECT name FROM segments")}
        # A listing may be older than what it lists: what is there still counts.
        gone = {name for name in known - listed.keys() if self._store.size(name) is None}
        new = sorted(listed.keys() - known)
        with ThreadPoolExecutor(self._connections) as pool:
            for start in range(0, len(new), self._connections):
                part = new[start : start + self._connections]
                for name, data in zip(part, pool.map(self._store.read, part), strict=True):
                    if data is None:
                        return False  # compacted since it was listed
                    try:
                        self._take_in(name, data)
                    except CorruptDocumentError as problem:
                        damaged(problem)
        with self._connected() as connection:
            if gone and forget(connection, gone):
                return False
            drop_superseded(connection)
        return True

    def _take_in(self, name: str, data: bytes) -> None:
        made_at, contents = segments.read(name, data)
        with self._connected() as connection:
            taken = connection.execute(
                "INSERT INTO segments (name, made_at, bytes) VALUES (?, ?, ?) "
                "ON CONFLICT DO NOTHING RETURNING id",
                (name, made_at, len(data)),
            ).fetchone()
            if taken is None:
                return  # another process was quicker
            (segment,) = taken
            insert(connection, segment, contents)

    def generations(self, keys: Iterable[str] | None = None) -> Iterator[tuple[str, int, str, str]]:
        """Key, number, checksum and state of each generation that is there; some more than once.

        Args:
            keys: only these; None: all.
        """
        statement = "SELECT key, generation, checksum, state FROM entries"
        if keys is None:
            yield from self._rows(statement)
            return
        for part in in_parts(keys):
            yield from self._rows(f"{statement} WHERE key IN ({_marks(part)})", part)

    def beginning(self, prefix: str) -> list[str]:
        """Some of the keys that start so."""
        rows = self._rows(
            "SELECT DISTINCT key FROM entries WHERE key >= ? AND key < ? LIMIT 9",
            (prefix, prefix + "g"),
        )
        return [key for (key,) in rows]

    def totals(self) -> dict[str, int]:
        """How many entries, blobs and segments there are, and bytes as they are stored."""
        [row] = self._rows(
            "SELECT (SELECT COUNT(DISTINCT key) FROM entries), "
            "(SELECT COUNT(DISTINCT digest) FROM frames), "
            "(SELECT COUNT(*) FROM segments WHERE name NOT IN (SELECT name FROM supersedes)), "
            "(SELECT COALESCE(SUM(stored), 0) FROM "
            "(SELECT DISTINCT name, offset, stored FROM frames))"
        )
        return dict(zip(("entries", "blobs", "segments", "bytes"), row, strict=True))

    def documents(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The documents of some keys, those that came first before those that came later."""
        for listed in self.listed(keys):
            yield listed.key, listed.document

    def keys(self) -> list[str]:
        """The keys of all entries."""
        return [key for (key,) in self._rows("SELECT DISTINCT key FROM documents ORDER BY key")]

    def listed(self, keys: Iterable[str]) -> Iterator[Listed]:
        """What segments say of some keys, those that came first before those that came later."""
        decompress = ZstdDecompressor().decompress
        for part in in_parts(keys):
            for key, generations, blobs, document in self._rows(
                "SELECT d.key, d.generations, d.blobs, d.document FROM documents d "
                f"JOIN segments s ON s.id = d.segment WHERE d.key IN ({_marks(part)}) "
                "ORDER BY s.made_at, s.name, d.position",
                part,
            ):
                found = tuple((n, c, state) for n, c, state in json.loads(generations))
                yield Listed(key, found, tuple(blobs.split()), decompress(document))

    def removed(self) -> set[tuple[str, int, str]]:
        """Key, number and checksum of generations that were removed on purpose."""
        return set(self._rows("SELECT DISTINCT key, generation, checksum FROM removed"))

    def marked(self) -> set[str]:
        """The keys that have marks."""
        return {key for (key,) in self._rows("SELECT DISTINCT key FROM marks")}

    def marks(self, keys: Iterable[str]) -> dict[str, list[Said]]:
        """Key to all that is said of it, by whomever, what was said later after the rest."""
        found: dict[str, list[Said]] = {}
        for part in in_parts(keys):
            for key, name, value, made_at in self._rows(
                "SELECT DISTINCT key, name, value, made_at FROM marks "
                f"WHERE key IN ({_marks(part)}) ORDER BY made_at, value",
                part,
            ):
                found.setdefault(key, []).append((name, value, made_at))
        return found

    def needed(self, *, without: Collection[str] = ()) -> set[str]:
        """Digests of all blobs that some entry needs.

        Args:
            without: keys of entries that are left out.
        """
        return {
            digest
            for key, blobs in self._rows("SELECT key, blobs FROM documents")
            if key not in without
            for digest in blobs.split()
        }

    def segments(self) -> list[str]:
        """Names of the segments that say something, in the order in which they were made."""
        rows = self._rows(
            "SELECT name FROM segments WHERE name NOT IN (SELECT name FROM supersedes) "
            "ORDER BY made_at, name"
        )
        return [name for (name,) in rows]

    def superseded(self) -> list[str]:
        """Names of the segments that say nothing any more, as far as they may still be there."""
        rows = self._rows("SELECT DISTINCT name FROM supersedes ORDER BY name")
        return [name for (name,) in rows]

    def holding(self) -> set[str]:
        """The superseded segments without which others, that are there, would count again."""
        rows = self._rows(
            "WITH gone AS (SELECT name FROM supersedes), "
            "lasting AS (SELECT x.name FROM supersedes x JOIN segments s ON s.id = x.segment "
            "WHERE s.name NOT IN gone) "
            "SELECT DISTINCT s.name FROM segments s JOIN supersedes x ON x.segment = s.id "
            "WHERE s.name IN gone AND x.name NOT IN lasting "
            "AND x.name IN (SELECT name FROM segments)"
        )
        return {name for (name,) in rows}

    def oldest(self) -> float | None:
        """When the oldest segment was made (seconds since 1970); None: there is none."""
        [(made_at,)] = self._rows("SELECT MIN(made_at) FROM segments")
        return None if made_at is None else float(made_at)

    def every_frame(self) -> list[Frame]:
        """Where all blobs are."""
        rows = self._rows(
            "SELECT DISTINCT digest, size, name, offset, stored, codec FROM frames "
            "ORDER BY name, offset"
        )
        return [Frame(*row) for row in rows]

    def frames(self, digests: Iterable[str], *, damaged: bool = False) -> Iterator[Frame]:
        """Where some blobs are; one that is in several places comes several times.

        Args:
            digests: of the blobs.
            damaged: also where they are known to be damaged.
        """
        columns = "digest, size, name, offset, stored, codec"
        condition = "" if damaged else "AND (digest, name) NOT IN (SELECT * FROM damaged) "
        for part in in_parts(digests):
            rows = self._rows(
                f"SELECT DISTINCT {columns} FROM frames WHERE digest IN ({_marks(part)}) "
                f"{condition}ORDER BY segment",
                part,
            )
            yield from (Frame(*row) for row in rows)

    def damaged(self) -> set[tuple[str, str]]:
        """Blobs and objects in which they are damaged, as far as a verification has found."""
        return set(self._rows("SELECT digest, name FROM damaged"))

    def set_damaged(self, among: Iterable[str], damaged: Iterable[tuple[str, str]]) -> None:
        """Have known where some blobs are damaged, and that they are nowhere else."""
        with self._connected() as connection:
            connection.executemany(
                "DELETE FROM damaged WHERE digest = ?", [(digest,) for digest in among]
            )
            connection.executemany("INSERT OR IGNORE INTO damaged VALUES (?, ?)", damaged)

    def set_whole(self, name: str) -> None:
        """Have known that an object was written anew."""
        with self._connected() as connection:
            connection.execute("DELETE FROM damaged WHERE name = ?", (name,))

    def in_want(self) -> set[str]:
        """The keys that need a blob which is damaged wherever it is."""
        bad = {digest for digest, _ in self.damaged()}
        lost = bad - {frame.digest for frame in self.frames(bad)} if bad else bad
        if not lost:
            return set()
        rows = self._rows("SELECT key, blobs FROM documents")
        return {key for key, blobs in rows if not lost.isdisjoint(blobs.split())}

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._connected() as connection:
            return connection.execute(sql, parameters).fetchall()

    def _connected(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return connected(self._path)


def in_parts(values: Iterable[str], size: int = _BATCH) -> Iterator[list[str]]:
    """Some values, so many at a time."""
    every = list(values)
    for start in range(0, len(every), size):
        yield every[start : start + size]


def _marks(part: Sequence[str]) -> str:
    return ",".join("?" * len(part))
