"""The index: entries read from the tables, through the driver alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from motools.cache.action import key_of
from motools.cache.blobs import Blobs
from motools.cache.database import Database
from motools.cache.entry import COLUMNS, Entry, check
from motools.cache.memo import BATCH
from motools.cache.rejection import COLUMN as REJECTION
from motools.cache.rejection import Rejection, any_rejected
from motools.errors import (
    AmbiguousKeyError,
    CorruptDocumentError,
    KeyNotFoundError,
    MissingBlobError,
)

_ONE: Final = (
    f"SELECT {COLUMNS}, {REJECTION} FROM entries WHERE key = ? AND state <> 'trash' "
    "ORDER BY generation DESC LIMIT 1"
)
_MANY: Final = (
    "SELECT {columns} FROM entries WHERE key IN ({keys}) AND state <> 'trash' ORDER BY generation"
)

_IN_STATE: Final = {
    "live": "state <> 'trash'",
    "trash": "(state = 'trash' OR (state = 'released' AND trashed_at IS NOT NULL))",
}
_IS_NEWEST: Final = {
    state: f"generation = (SELECT MAX(generation) FROM entries AS e WHERE e.key = entries.key "
    f"AND {condition})"
    for state, condition in _IN_STATE.items()
}
_SEVERAL: Final = 100
"""More keys than are read to say that a beginning is that of several."""


class Index:
    """Look-ups and lists. A row is served only with its checksum right and its bytes there."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    def get(self, key: str) -> Entry | None:
        """The newest generation of a key, or None.

        Raises:
            CacheUnavailableError: it cannot be known.
            CorruptDocumentError: the record was altered.
            MissingBlobError: the record is there and its bytes are not.
            RejectedError: somebody said that it is not to be used.
        """
        rows = self._database.read(_ONE, (key,))
        return self._served(rows[0]) if rows else None

    def generation(self, key: str) -> int:
        """The newest generation of a key, whether or not it can be served; 0: there is none."""
        [(newest,)] = self._database.read(
            "SELECT MAX(generation) FROM entries WHERE key = ? AND state <> 'trash'", (key,)
        )
        return newest or 0

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The newest generation of each key that has one."""
        # Asked first, so that what is rejected from now on is as if it were a moment later.
        rejection = REJECTION if any_rejected(self._database) else "NULL"
        rows = self._newest(keys, f"{COLUMNS}, {rejection}")
        served = (self._served(row) for row in rows)
        return {entry.key: entry for entry in served if entry is not None}

    def newest(self, keys: Sequence[str]) -> list[Entry]:
        """The newest generation of each key that has one, whether its bytes are there or not."""
        return [Entry(row, self._blobs) for row in self._newest(keys, COLUMNS)]

    def generations(self, key: str) -> list[Entry]:
        """Every generation of a key, those in the trash included, in order."""
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM entries WHERE key = ? ORDER BY generation", (key,)
        )
        return [Entry(row, self._blobs) for row in rows]

    def find(self, prefix: str, *, state: str = "live") -> Entry:
        """The entry whose key starts with a prefix.

        Args:
            prefix: hexadecimal characters, enough to be unique.
            state: ``live`` (released ones included), or ``trash``: what can be undeleted.

        Raises:
            KeyNotFoundError: there is none.
            AmbiguousKeyError: there are several.
        """
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM entries WHERE key >= ? AND key < ? "
            f"AND {_IN_STATE[state]} AND {_IS_NEWEST[state]} ORDER BY key LIMIT {_SEVERAL}",
            (prefix.lower(), prefix.lower() + "g"),
        )
        # In between, by the database's rules for sorting text, there may be others.
        newest = {row[0]: row for row in rows if row[0].startswith(prefix.lower())}
        if not newest:
            where, which = ("in the trash ", "--trash") if state == "trash" else ("", "all")
            raise KeyNotFoundError(
                f"no entry {where}has a key that starts with {prefix!r}: "
                f"`motools cache list {which}` shows what there is"
            )
        if len(newest) > 1:
            some = ", ".join(sorted(key[:16] for key in newest)[:5])
            count = f"{len(newest)}{' or more' if len(rows) == _SEVERAL else ''}"
            raise AmbiguousKeyError(
                f"{count} keys start with {prefix!r} ({some}, …): give more of it"
            )
        return Entry(next(iter(newest.values())), self._blobs)

    def select(
        self,
        *,
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int | None = None,
        state: str = "live",
        generations: bool = False,
    ) -> list[Entry]:
        """Entries, newest first.

        Args:
            kind: only these.
            labels: only those with all of these labels; a value may be a prefix.
            since: made at or after this time (seconds since 1970).
            until: made before this time.
            limit: at most so many.
            state: ``live`` (released ones included), or ``trash``: what can be undeleted.
            generations: also those that a refresh has replaced.
        """
        where, parameters = [_IN_STATE[state]], []
        if kind is not None:
            where.append("kind = ?")
            parameters.append(kind)
        for name, value in (labels or {}).items():
            label, place = self._database.label(name)
            where.append(f"substr({label}, 1, ?) = ?")
            parameters += [place, len(value), value]  # type: ignore[list-item]
        for bound, comparison in ((since, ">="), (until, "<")):
            if bound is not None:
                where.append(f"created_at {comparison} ?")
                parameters.append(bound)  # type: ignore[arg-type]
        if not generations:
            where.append(_IS_NEWEST[state])
        most = ""
        if limit is not None:
            most = " LIMIT ?"
            parameters.append(limit)  # type: ignore[arg-type]
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM entries WHERE {' AND '.join(where)} "
            f"ORDER BY created_at DESC, key{most}",
            parameters,
        )
        return [Entry(row, self._blobs) for row in rows]

    def _newest(self, keys: Sequence[str], columns: str) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            marks = ",".join("?" * len(part))
            rows = self._database.read(_MANY.format(columns=columns, keys=marks), part)
            yield from {row[0]: tuple(row) for row in rows}.values()

    def _served(self, found: Sequence[Any], *, again: bool = False) -> Entry | None:
        """What is served of a row; None: it was cleared just now."""
        *columns, rejected = found
        row = tuple(columns)
        check(row)
        if key_of(row[3]) != row[0]:
            raise CorruptDocumentError(
                f"the record of {row[0][:12]} was altered: its action's digest is not its key. "
                "Run `motools cache reindex` to restore it from its document"
            )
        if rejected is not None and row[1] <= (said := Rejection.parse(rejected)).generation:
            raise said.error(row[2], row[0])
        entry = Entry(row, self._blobs)
        if row[6] != "[]" and entry.state == "live":
            gone = self._blobs.seen_absent(json.loads(row[6]))  # not kept, of perhaps thousands
            if gone and not again:  # they may have been released, or cleared, since it was read
                now = self._database.read(_ONE, (entry.key,))
                return self._served(now[0], again=True) if now else None
            if gone:
                raise self._missing(entry, gone)
        return entry

    def _missing(self, entry: Entry, gone: Sequence[str]) -> MissingBlobError:
        what = (
            f"{entry.kind} {entry.key[:12]} is recorded, but {len(gone)} of its files are "
            f"missing or cut short (blob {gone[0][:12]})"
        )
        if self._database.read(
            "SELECT 1 FROM blobs WHERE digest = ? AND state = 'trash'", (gone[0],)
        ):
            return MissingBlobError(
                f"{what}: they are in the trash. Run `motools cache repair` to put them back"
            )
        return MissingBlobError(
            f"{what}. Run `motools cache repair`, or "
            f"`motools cache clear all {entry.key[:12]}` so that it is made again"
        )
