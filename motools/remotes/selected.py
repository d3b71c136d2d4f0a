"""What a selection comes to where entries are here, in a remote, or both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from motools.cache import catalogue
from motools.cache.arrival import parse
from motools.cache.cache import Cache
from motools.cache.entry import COLUMNS, Entry
from motools.cache.memo import BATCH
from motools.cache.selection import Selection
from motools.errors import AmbiguousKeyError, CorruptDocumentError
from motools.remotes import marks
from motools.remotes.index import Index, in_parts


def named(cache: Cache, index: Index, names: Iterable[str]) -> frozenset[str]:
    """The keys with these names; each name must be that of one entry, here or there.

    Args:
        cache: this side.
        index: of the remote.
        names: beginnings of keys; of datasets that are here, also hashes and file ids.

    Raises:
        KeyNotFoundError: a name is nobody's.
        AmbiguousKeyError: a name is several entries'.
    """
    return frozenset(_named(cache, index, name) for name in names)


def here(cache: Cache, selection: Selection, keys: Iterable[str]) -> tuple[str, ...]:
    """Those of some keys whose entries in a cache are meant, in their order."""
    candidates = _candidates(selection, keys)
    if selection.only_keys:
        return candidates
    entries = (Entry(row, cache.blobs) for row in _rows(cache, candidates))
    return _fitting(cache, None, selection, candidates, entries)


def there(cache: Cache, index: Index, selection: Selection, keys: Iterable[str]) -> tuple[str, ...]:
    """Those of some keys whose entries in a remote are meant, in their order.

    One whose document is damaged is among them: whoever wants to use it is told.
    """
    candidates = _candidates(selection, keys)
    if selection.only_keys:
        return candidates
    newest, damaged = _newest(cache, index, candidates)
    fitting = _fitting(cache, index, selection, candidates, newest.values())
    kept = {*fitting, *damaged}
    return tuple(key for key in candidates if key in kept)


def entries_there(
    cache: Cache, index: Index, selection: Selection, keys: Iterable[str]
) -> list[Entry]:
    """The entries in a remote that are meant, newest first; without those that are damaged."""
    newest, _ = _newest(cache, index, _candidates(selection, keys))
    fitting = _fitting(cache, index, selection, tuple(newest), newest.values())
    return sorted((newest[key] for key in fitting), key=lambda entry: -entry.created_at)


def _newest(cache: Cache, index: Index, keys: Iterable[str]) -> tuple[dict[str, Entry], set[str]]:
    """The newest generation of each key, and the keys of which no document can be read."""
    newest: dict[str, tuple[Any, ...]] = {}
    damaged: set[str] = set()
    for key, document in index.documents(keys):
        try:
            rows = parse(document, key)
        except CorruptDocumentError:
            damaged.add(key)
            continue
        newest[key] = max([newest[key], *rows] if key in newest else rows, key=_generation)
    found = {key: Entry(row, cache.blobs) for key, row in newest.items()}
    return found, damaged - found.keys()


def _named(cache: Cache, index: Index, name: str) -> str:
    if not name.strip():
        return catalogue.find(cache, name).key
    beginning = name.lower()
    bounds = (beginning, beginning + "g")
    rows = cache.database.read(
        "SELECT DISTINCT key FROM entries WHERE key >= ? AND key < ? LIMIT 9", bounds
    )
    # In between, by the database's rules for sorting text, there may be others.
    found = {key for (key,) in rows if key.startswith(beginning)}
    found.update(index.beginning(beginning))
    if len(found) > 1:
        some = ", ".join(sorted(key[:16] for key in found)[:5])
        raise AmbiguousKeyError(f"several keys start with {name!r} ({some}, …): give more of it")
    return found.pop() if found else catalogue.find(cache, name).key


def _candidates(selection: Selection, keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(key for key in keys if selection.keys is None or key in selection.keys)


def _fitting(
    cache: Cache,
    index: Index | None,
    selection: Selection,
    keys: tuple[str, ...],
    entries: Iterable[Entry],
) -> tuple[str, ...]:
    marked = {key: {*names} for key, names in cache.marks.having(selection.marks).items()}
    if index is not None and selection.marks:
        for key, names in marks.names(index, keys).items():
            marked.setdefault(key, set()).update(names)
    fitting = {entry.key for entry in selection.among(entries, marked)}
    return tuple(key for key in keys if key in fitting)


def _rows(cache: Cache, keys: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """The newest generation of each key, the trash included."""
    for part in in_parts(keys, BATCH):
        rows = cache.database.read(
            f"SELECT {COLUMNS} FROM entries WHERE key IN ({','.join('?' * len(part))}) "
            "ORDER BY generation",
            part,
        )
        yield from {row[0]: tuple(row) for row in rows}.values()


def _generation(row: tuple[Any, ...]) -> int:
    return int(row[1])
