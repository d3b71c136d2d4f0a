"""Why an action is a hit or a miss."""

from __future__ import annotations

import functools
import heapq
import itertools
import operator
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from motools.cache.action import Action, material
from motools.cache.entry import Entry
from motools.cache.index import Index
from motools.digest import SHORT

_LOOK_AT: Final = 1_000
_LOOK_AT_OFTEN: Final = 50
_NOTHING: Final = object()
_LONGEST: Final = 80
_AROUND: Final = 20
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Difference:
    """One field that differs.

    Attributes:
        field: its path, as in ``config.learning_rate``.
        wanted: its value in the action; None when it is not there.
        found: its value in the entry; None when it is not there.
    """

    field: str
    wanted: Any
    found: Any

    def __str__(self) -> str:
        found, wanted = _abridged(self.found, self.wanted)
        return f"{self.field}: {found} → {wanted}"


@dataclass(frozen=True)
class Explanation:
    """Why an action is a hit or a miss.

    Attributes:
        key: the action's key.
        action: the action's key material.
        entry: the entry, for a hit.
        nearest: for a miss, the entry of the same kind that differs least.
        differences: the fields in which that one differs.
    """

    key: str
    action: dict[str, Any]
    entry: Entry | None
    nearest: Entry | None
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        if self.entry is not None:
            return f"hit: {self.entry.kind} {self.key[:12]}, generation {self.entry.generation}"
        if self.nearest is None:
            return f"miss: there is no entry of kind {self.action['kind']!r} yet"
        lines = [f"  {difference}" for difference in self.differences]
        return "\n".join([f"miss: nearest is {self.nearest.key[:12]}, which differs in", *lines])


def explain(index: Index, action: Action) -> Explanation:
    """Why an action is a hit or a miss; see :class:`Neighbours` for the nearest entry."""
    wanted = material(action.canonical)
    entry = index.get(action.key)
    if entry is not None:
        return Explanation(action.key, wanted, entry, None, ())
    return Neighbours(index, action.kind).explain(action)


class Neighbours:
    """The newest entries of a kind, to find the one that differs least from many actions.

    One that differs in a single field is found at once, however many there are: each
    entry is filed under every field with a digest of all its others. Where there is
    none, the newest are gone through one by one.

    Args:
        index: where to look.
        kind: of the entries.
        but: a key to leave out.
        one_by_one: how many are gone through; few, where many actions are asked about.
    """

    def __init__(
        self, index: Index, kind: str, *, but: str | None = None, one_by_one: int = _LOOK_AT
    ) -> None:
        self._index = index
        self._kind = kind
        self._but = but
        self._one_by_one = one_by_one
        self._begin()

    def _begin(self) -> None:
        self._entries: list[Entry] = []  # the newest last
        self._fields: list[dict[str, Any]] = []
        self._but_one: dict[tuple[str, int], int] = {}
        self._add(self._index.select(kind=self._kind, limit=_LOOK_AT))

    def _add(self, newest_first: Sequence[Entry]) -> None:
        for entry in reversed(newest_first):
            if entry.key == self._but:
                continue
            fields = dict(flatten(entry.action))
            self._but_one.update(dict.fromkeys(_but_one(fields), len(self._entries)))
            self._entries.append(entry)
            self._fields.append(fields)

    def take_up(self) -> None:
        """Take up what was made since; what was cleared since may still be named."""
        if not self._entries or len(self._entries) > 2 * _LOOK_AT:
            self._begin()
            return
        since = self._entries[-1].created_at
        last = {entry.key for entry in self._entries if entry.created_at >= since}
        made = self._index.select(kind=self._kind, since=since, limit=_LOOK_AT)
        self._add([entry for entry in made if entry.key not in last])

    def explain(self, action: Action) -> Explanation:
        """Why an action that has no entry is a miss."""
        wanted = material(action.canonical)
        return Explanation(action.key, wanted, None, *self.nearest(wanted))

    def nearest(self, wanted: dict[str, Any]) -> tuple[Entry | None, tuple[Difference, ...]]:
        """The entry that differs least from an action's key material, and in what."""
        fields = dict(flatten(wanted))
        numbers = (self._but_one.get(at) for at in _but_one(fields))
        if (one := next((n for n in numbers if n is not None), None)) is not None:
            return self._entries[one], tuple(_differences(fields, self._fields[one]))
        best: Entry | None = None
        fewest: tuple[Difference, ...] = ()
        newest = zip(reversed(self._entries), reversed(self._fields), strict=True)
        for candidate, there in itertools.islice(newest, self._one_by_one):
            found = tuple(_differences(fields, there))
            if best is None or len(found) < len(fewest):
                best, fewest = candidate, found
        return best, fewest

    def several(
        self, wanted: dict[str, Any], count: int
    ) -> list[tuple[Entry, tuple[Difference, ...]]]:
        """The entries that differ least, nearest first and newest first among equals.

        All are gone through one by one.

        Args:
            wanted: an action's key material.
            count: at most so many.
        """
        fields = dict(flatten(wanted))
        compared = (tuple(_differences(fields, there)) for there in self._fields)
        found = zip(self._entries, compared, strict=True)
        return heapq.nsmallest(count, found, key=lambda pair: len(pair[1]))


class Newest(threading.local):
    """The newest entries of each kind as neighbours, of one thread and kept for the next time.

    To read them all for each of many misses would take longer than the rest of a step.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._of_kind: dict[str, Neighbours] = {}

    def of(self, kind: str) -> Neighbours:
        """Those of a kind, with what was made since."""
        if kind in self._of_kind:
            self._of_kind[kind].take_up()
        else:
            self._of_kind[kind] = Neighbours(self._index, kind, one_by_one=_LOOK_AT_OFTEN)
        return self._of_kind[kind]


def _but_one(fields: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Every field, with a number that stands for the values of all others."""
    marks = {field: hash((field, type(value), str(value))) for field, value in fields.items()}
    whole = functools.reduce(operator.xor, marks.values(), 0)
    for field, mark in marks.items():
        yield field, whole ^ mark


def compare(wanted: dict[str, Any], found: dict[str, Any]) -> tuple[Difference, ...]:
    """The fields in which two actions' key materials differ."""
    return tuple(_differences(dict(flatten(wanted)), dict(flatten(found))))


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON value with its path."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from flatten(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from flatten(inner, f"{path}[{index}]")
    else:
        yield path, value


def _differences(wanted: dict[str, Any], found: dict[str, Any]) -> Iterator[Difference]:
    for field in sorted(wanted.keys() | found.keys()):
        here, there = wanted.get(field, _NOTHING), found.get(field, _NOTHING)
        if here != there or type(here) is not type(there):
            yield Difference(
                field,
                None if here is _NOTHING else here,
                None if there is _NOTHING else there,
            )


def _abridged(found: Any, wanted: Any) -> tuple[str, str]:
    """Two values for a person: digests by their first characters, long texts where they differ."""
    if not isinstance(found, str) or not isinstance(wanted, str):
        return _clipped(found), _clipped(wanted)
    if max(len(found), len(wanted)) <= _LONGEST:
        return _clipped(found), _clipped(wanted)
    first, second = (repr(text)[:-1] + "…'" for text in where_they_differ(found, wanted))
    return first, second


def where_they_differ(found: str, wanted: str) -> tuple[str, str]:
    """Of two texts so much as a line holds, from shortly before they differ."""
    pairs = enumerate(zip(found, wanted, strict=False))
    differ = next((at for at, (a, b) in pairs if a != b), min(len(found), len(wanted)))
    start = max(0, differ - _AROUND)
    before = "…" if start else ""
    first, second = (f"{before}{text[start : start + _LONGEST]}" for text in (found, wanted))
    return first, second


def _clipped(value: Any) -> str:
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return value[:SHORT]
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
