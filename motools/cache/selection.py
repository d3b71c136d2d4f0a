"""Selection: which entries are meant, wherever it is asked: here, in a remote, by any command."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

from motools.cache.entry import Entry
from motools.cache.marks import PIN, TAG
from motools.cache.records import backend_of
from motools.errors import AmbiguousKeyError

Marked: TypeAlias = Mapping[str, Collection[str]]
"""Key to the names of its marks."""

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
        keys: only these, in full.
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
    keys: frozenset[str] | None = None

    @property
    def narrowed(self) -> bool:
        """Whether anything but the kind is asked for."""
        return self.keys is not None or self._described

    @property
    def only_keys(self) -> bool:
        """Whether nothing of an entry but its key is asked for."""
        return self.kind is None and not self._described

    @property
    def state(self) -> str:
        """In the index's words."""
        return "trash" if self.trash else "live"

    @property
    def marks(self) -> tuple[str, ...]:
        """The names of the marks that are asked for."""
        return (*(TAG + tag for tag in self.tags or ()), *([PIN] if self.pinned else ()))

    @property
    def label_sets(self) -> Iterator[dict[str, str]]:
        """One set of labels, or beginnings of labels, for every combination that is asked for."""
        choices = [[(label, value) for value in values] for label, values in self._labels]
        return (dict(combination) for combination in product(*choices))

    def among(self, entries: Iterable[Entry], marked: Marked) -> list[Entry]:
        """Those of some entries that are meant, in their order.

        Args:
            entries: one generation of each key.
            marked: at least the marks that are asked for.

        Raises:
            AmbiguousKeyError: the beginning of a label fits several labels.
        """
        fitting = [entry for entry in entries if self._fits(entry, marked.get(entry.key, ()))]
        for label, values in self._labels:
            meant = [labelled(fitting, label, value) for value in values]
            keys = {entry.key for found in meant for entry in found}
            fitting = [entry for entry in fitting if entry.key in keys]
        return fitting

    @property
    def _described(self) -> bool:
        asked = (self.model_ids, self.task_ids, self.backend, self.since, self.until, self.tags)
        return self.pinned or any(part is not None for part in asked)

    @property
    def _labels(self) -> list[tuple[str, Sequence[str]]]:
        asked = (("model_id", self.model_ids), ("task_id", self.task_ids))
        return [(label, values) for label, values in asked if values is not None]

    def _fits(self, entry: Entry, marks: Collection[str]) -> bool:
        return (
            (self.keys is None or entry.key in self.keys)
            and self.kind in (None, entry.kind)
            and (self.since is None or entry.created_at >= self.since)
            and (self.until is None or entry.created_at < self.until)
            and self.backend in (None, backend_of(entry))
            and (not self.pinned or PIN in marks)
            and (self.tags is None or any(TAG + tag in marks for tag in self.tags))
        )


def labelled(entries: list[Entry], label: str, wanted: str) -> list[Entry]:
    """Those whose label is what is wanted, or a digest that begins so.

    Only digests may be cut short: ``tiny`` never means ``tiny-2`` as well.
    """
    exact = [entry for entry in entries if entry.labels.get(label) == wanted]
    if exact or not wanted:
        return exact
    short = [entry for entry in entries if _begins(entry.labels.get(label, ""), wanted)]
    values = {entry.labels[label] for entry in short}
    if len(values) > 1:
        some = ", ".join(sorted(value[:16] for value in values)[:5])
        raise AmbiguousKeyError(
            f"{len(values)} values of {label} start with {wanted!r} ({some}, …): give more of it"
        )
    return short


def _begins(text: str, beginning: str) -> bool:
    is_digest = len(text) == _DIGEST_LENGTH and _HEX.issuperset(text)
    return is_digest and text.startswith(beginning)
