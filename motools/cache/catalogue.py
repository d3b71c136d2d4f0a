"""The catalogue: finding and clearing entries by what people call them.

The command line and :class:`~motools.cache.utils.CacheUtils` are both written
on this, so a filter means the same in both. Removal itself is ``removal``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from motools.cache import logs, removal
from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cache.marks import PIN, TAG
from motools.cache.records import GROUPS, backend_of
from motools.cache.removal import RemovalPlan, Removed
from motools.errors import AmbiguousKeyError, KeyNotFoundError

_HEX: Final = frozenset("0123456789abcdef")
_DIGEST_LENGTH: Final = 64


@dataclass(frozen=True)
class Selection:
    """Which entries. What is None is not asked for; an empty list asks for nothing.

    Attributes:
        kind: only this kind.
        model_ids: only of these models: their ids, or unique beginnings of them.
        task_ids: only of these tasks.
        backend: only made by this backend.
        since: made at or after this time (seconds since 1970).
        until: made before this time (seconds since 1970).
        trash: those in the trash instead of the others.
        tags: only those with one of these tags.
        pinned: only those that are pinned.
    """

    kind: str | None = None
    model_ids: Sequence[str] | None = None
    task_ids: Sequence[str] | None = None
    backend: str | None = None
    since: float | None = None
    until: float | None = None
    trash: bool = False
    tags: Sequence[str] | None = None
    pinned: bool = False

    @property
    def narrowed(self) -> bool:
        """Whether anything but the kind is asked for."""
        asked = (self.model_ids, self.task_ids, self.backend, self.since, self.until, self.tags)
        return self.pinned or any(part is not None for part in asked)

    @property
    def state(self) -> str:
        """In the index's words."""
        return "trash" if self.trash else "live"


def select(cache: Cache, selection: Selection, *, limit: int | None = None) -> list[Entry]:
    """The entries of a selection, newest first.

    Args:
        cache: where they are.
        selection: which.
        limit: at most so many.

    Raises:
        AmbiguousKeyError: the beginning of a model's id fits several models.
    """
    found: dict[str, Entry] = {}
    marked = _marked(cache, selection)
    # What is sorted out here has to be read first.
    read_all = selection.narrowed
    for wanted in _label_sets(selection):
        entries = cache.index.select(
            kind=selection.kind,
            labels=wanted,
            since=selection.since,
            until=selection.until,
            state=selection.state,
            limit=None if read_all else limit,
        )
        for name, text in wanted.items():
            entries = _labelled(entries, name, text)
        found.update({entry.key: entry for entry in entries})
    chosen = (
        entry
        for entry in found.values()
        if selection.backend in (None, backend_of(entry))
        and (marked is None or entry.key in marked)
    )
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
            for entry in _labelled(entries, label, name):
                return entry
        raise


def pinned_apart(cache: Cache, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Entries that are not pinned, and those that are."""
    pins = cache.marks.keys(PIN)
    return [e for e in entries if e.key not in pins], [e for e in entries if e.key in pins]


def clear(cache: Cache, plan: RemovalPlan) -> Removed:
    """Carry a plan out, unless an entry in it is being made again right now.

    Raises:
        RemovalError: one is; nothing was removed.
    """
    removal.refuse_if_running(cache, plan)
    removed = removal.execute(cache, plan)
    logs.remove(cache.root, [entry.key for entry in plan.entries if entry.kind == "eval"])
    return removed


def undelete(cache: Cache, entries: Sequence[Entry]) -> None:
    """Take entries out of the trash.

    Raises:
        MissingBlobError: a blob is gone for good; nothing was changed.
    """
    removal.undelete(cache, [entry.key for entry in entries])
    for entry in entries:
        if entry.kind == "eval":
            logs.copy(cache.entry(entry.key))


def _of_kind(cache: Cache, name: str, selection: Selection) -> Entry:
    entry = find(cache, name, trash=selection.trash)
    if selection.kind not in (None, entry.kind):
        groups = {kind: group for group, kind in GROUPS.items()}
        raise KeyNotFoundError(
            f"{entry.key[:12]} is not among the {groups[str(selection.kind)]}: it is of kind "
            f"{entry.kind!r}. Nothing was changed"
        )
    return entry


def _marked(cache: Cache, selection: Selection) -> frozenset[str] | None:
    """The keys with the marks that are asked for; None: none are."""
    tagged = None
    if selection.tags is not None:
        tagged = frozenset[str]().union(*(cache.marks.keys(TAG + tag) for tag in selection.tags))
    if not selection.pinned:
        return tagged
    pins = cache.marks.keys(PIN)
    return pins if tagged is None else pins & tagged


def _label_sets(selection: Selection) -> Iterator[dict[str, str]]:
    """One set of labels for every combination that is asked for."""
    choices = [
        [(label, value) for value in values]
        for label, values in (("model_id", selection.model_ids), ("task_id", selection.task_ids))
        if values is not None
    ]
    return (dict(combination) for combination in product(*choices))


def _labelled(entries: list[Entry], label: str, wanted: str) -> list[Entry]:
    """Those whose label is what is wanted, or a digest that begins so.

    Only digests may be cut short: ``tiny`` never means ``tiny-2`` as well.
    """
    exact = [entry for entry in entries if entry.labels.get(label) == wanted]
    if exact or not wanted:
        return exact
    short = [entry for entry in entries if _is_digest(entry.labels.get(label, ""))]
    values = {entry.labels[label] for entry in short}
    if len(values) > 1:
        some = ", ".join(sorted(value[:16] for value in values)[:5])
        raise AmbiguousKeyError(
            f"{len(values)} values of {label} start with {wanted!r} ({some}, …): give more of it"
        )
    return short


def _is_digest(text: str) -> bool:
    return len(text) == _DIGEST_LENGTH and _HEX.issuperset(text)
