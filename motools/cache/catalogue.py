"""The catalogue: finding and clearing entries by what people call them.

The command line and :class:`~motools.cache.utils.CacheUtils` are both written
on this, so a filter means the same in both. Removal itself is ``removal``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from motools.cache import logs, removal
from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cache.marks import PIN
from motools.cache.records import GROUPS
from motools.cache.removal import RemovalPlan, Removed
from motools.cache.selection import Selection, labelled
from motools.cache.undelete import undelete as undelete_keys
from motools.errors import KeyNotFoundError


def select(cache: Cache, selection: Selection, *, limit: int | None = None) -> list[Entry]:
    """The entries of a selection, newest first.

    Args:
        cache: where they are.
        selection: which.
        limit: at most so many.

    Raises:
        AmbiguousKeyError: the beginning of a model's id fits several models.
    """
    # What is sorted out here has to be read first.
    read = _candidates(cache, selection, None if selection.narrowed else limit)
    found = {entry.key: entry for entry in read}
    chosen = selection.among(found.values(), cache.marks.having(selection.marks))
    return sorted(chosen, key=lambda entry: -entry.created_at)[:limit]


def pick(cache: Cache, names: Iterable[str], selection: Selection) -> list[Entry]:
    """The entries of a selection that have these names; each name must be one's.

    Raises:
        KeyNotFoundError: a name is nobody's, or that of an entry of another kind.
        AmbiguousKeyError: a name is several entries'.
    """
    picked = {entry.key: entry for entry in (_of_kind(cache, n, selection) for n in names)}
    if selection.narrowed:
        fitting = {entry.key for entry in select(cache, selection)}
        return [entry for key, entry in picked.items() if key in fitting]
    return list(picked.values())


def find(cache: Cache, name: str, *, trash: bool = False) -> Entry:
    """The entry with this name: its key or, for a dataset, its hash or file id.

    The unique beginning of a key or hash is enough.

    Raises:
        KeyNotFoundError: there is none.
        AmbiguousKeyError: there are several.
    """
    if not name.strip():
        raise KeyNotFoundError("the key is empty: give the beginning of one")
    state = "trash" if trash else "live"
    try:
        return cache.index.find(name, state=state)
    except KeyNotFoundError:
        for label in ("dataset_hash", "file_id"):
            entries = cache.index.select(kind="dataset", labels={label: name}, state=state)
            for entry in labelled(entries, label, name):
                return entry
        raise


def pinned_apart(cache: Cache, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Entries that are not pinned, and those that are."""
    pins = cache.marks.keys(PIN)
    return [e for e in entries if e.key not in pins], [e for e in entries if e.key in pins]


def clear(cache: Cache, plan: RemovalPlan) -> Removed:
    """Carry a plan out, unless an entry in it is made again right now, or a run reads its files.

    Raises:
        RemovalError: one is; nothing was removed.
    """
    removal.refuse_if_running(cache, plan)
    removed = removal.execute(cache, plan)
    logs.remove_gone(cache, plan.entries)
    return removed


def undelete(cache: Cache, entries: Sequence[Entry]) -> None:
    """Take entries out of the trash.

    Raises:
        MissingBlobError: a blob is gone for good; nothing was changed.
    """
    undelete_keys(cache, [entry.key for entry in entries])
    for entry in entries:
        if entry.kind == "eval":
            logs.copy(cache.entry(entry.key))


def _candidates(cache: Cache, selection: Selection, limit: int | None) -> Iterator[Entry]:
    if selection.keys is not None and not selection.trash:
        yield from cache.index.newest(sorted(selection.keys))
        return
    for wanted in selection.label_sets:
        yield from cache.index.select(
            kind=selection.kind,
            labels=wanted,
            since=selection.since,
            until=selection.until,
            state=selection.state,
            limit=limit,
        )


def _of_kind(cache: Cache, name: str, selection: Selection) -> Entry:
    entry = find(cache, name, trash=selection.trash)
    if selection.kind not in (None, entry.kind):
        groups = {kind: group for group, kind in GROUPS.items()}
        raise KeyNotFoundError(
            f"{entry.key[:12]} is not among the {groups[str(selection.kind)]}: it is of kind "
            f"{entry.kind!r}. Nothing was changed"
        )
    return entry
