"""Whether what is recorded of a key is what was committed: rows, document, links."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from motools.cache.action import key_of
from motools.cache.cache import Cache
from motools.cache.document import entry_document, says
from motools.cache.entry import COLUMNS, check
from motools.cache.layout import ENTRIES, entry_name, key_in
from motools.errors import CorruptDocumentError
from motools.upkeep.findings import Damage, Finding

Rows: TypeAlias = list[tuple[Any, ...]]
"""All generations of one key."""

_PAGE: Final = 500


def pages(cache: Cache, keys: Sequence[str] | None) -> Iterator[dict[str, Rows]]:
    """Keys with their rows, some at a time; those that are wholly in the trash are left out.

    Args:
        cache: whose.
        keys: only these; None: all.
    """
    for part in _parts(keys) if keys is not None else _all_keys(cache):
        yield rows_of(cache, part)


def rows_of(cache: Cache, keys: Sequence[str]) -> dict[str, Rows]:
    """The rows of some keys, the trash included."""
    marks = ",".join("?" * len(keys))
    found: dict[str, Rows] = {}
    for row in cache.database.read(
        f"SELECT {COLUMNS} FROM entries WHERE key IN ({marks}) ORDER BY key, generation", keys
    ):
        found.setdefault(row[0], []).append(tuple(row))
    return found


def damaged_records(cache: Cache, page: dict[str, Rows]) -> Iterator[Finding]:
    """What is wrong with the records of some keys."""
    links = _links(cache, list(page))
    for key, rows in page.items():
        broken = list(_damaged_rows(rows))
        yield from broken
        for row in [] if broken else filter(needs_links, rows):
            if not {digest for _, digest, _ in needed(row)} <= links.get((key, row[1]), set()):
                yield _finding(row, Damage.LINKS, "the tables miss a blob that it needs")
        if not broken and (reason := _fault(cache, key, rows)):
            yield _of_document(rows, reason)


def without_rows(cache: Cache, keys: Container[str]) -> Iterator[Finding]:
    """Documents of entries that the tables do not have.

    Args:
        cache: whose.
        keys: those that the tables had just now.
    """
    for name in cache.documents.names(ENTRIES):
        key = key_in(name)
        if key not in keys and not rows_of(cache, [key]):  # it may be newer
            yield Finding(key, 0, "", Damage.RECORD, f"{name} is there, and no row")


def needs_links(row: Sequence[Any]) -> bool:
    """Whether the tables have to name an entry's blobs: once released ones are gone, they don't."""
    return row[9] in ("live", "remote")


def needed(row: Sequence[Any]) -> list[tuple[str | None, str, int | None]]:
    """The blobs of an entry: path, digest, size. The tree's own has no path, nor a known size."""
    files = [(path, digest, size) for path, digest, size, *_ in json.loads(row[6])]
    return [*files, (None, row[5], None)] if row[5] else files


def _damaged_rows(rows: Rows) -> Iterator[Finding]:
    for row in rows:
        reason = _altered(row)
        if reason:
            yield _finding(row, Damage.RECORD, reason)


def _of_document(rows: Rows, reason: str) -> Finding:
    """A document that does not say what the rows do: it, or a row of which none can be made."""
    for row in rows:
        try:
            entry_document([row])
        except CorruptDocumentError:
            return _finding(row, Damage.RECORD, "no document can say what it holds")
    return _finding(rows[-1], Damage.DOCUMENT, f"{entry_name(rows[0][0])} {reason}")


def _altered(row: Sequence[Any]) -> str:
    if key_of(row[3]) != row[0]:
        return "its action's digest is not its key"
    try:
        check(row)
    except CorruptDocumentError:
        return "its checksum does not fit"
    return ""


def _fault(cache: Cache, key: str, rows: Rows) -> str:
    """What is wrong with a document; nothing if it was only behind."""
    reason = _difference(cache, key, rows)
    if reason:
        cache.documents.flush()
        reason = _difference(cache, key, rows_of(cache, [key]).get(key, []))
    return reason


def _difference(cache: Cache, key: str, rows: Rows) -> str:
    if all(row[9] == "trash" for row in rows):
        return ""  # cleared just now
    data = cache.store.read(entry_name(key))
    if data is None:
        return "is missing"
    try:
        return "" if says(data, rows) else "differs from the tables"
    except ValueError as problem:
        return f"is damaged: {problem}"


def _links(cache: Cache, keys: Sequence[str]) -> dict[tuple[str, int], set[str]]:
    marks = ",".join("?" * len(keys))
    found: dict[tuple[str, int], set[str]] = {}
    for key, generation, digest in cache.database.read(
        f"SELECT key, generation, digest FROM entry_blobs WHERE key IN ({marks})", keys
    ):
        found.setdefault((key, generation), set()).add(digest)
    return found


def _all_keys(cache: Cache) -> Iterator[list[str]]:
    last = ""
    while True:
        rows = cache.database.read(
            "SELECT DISTINCT key FROM entries WHERE key > ? AND state <> 'trash' "
            f"ORDER BY key LIMIT {_PAGE}",
            (last,),
        )
        if not rows:
            return
        part = [key for (key,) in rows]
        yield part
        last = part[-1]


def _parts(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _PAGE] for start in range(0, len(keys), _PAGE))


def _finding(row: Sequence[Any], damage: Damage, reason: str) -> Finding:
    return Finding(row[0], row[1], row[2], damage, reason)
