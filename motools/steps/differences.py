"""Where two datasets, or the samples of two tasks, differ: which row, and which field of it."""

from __future__ import annotations

import itertools
import json
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from motools.cache.explain import Difference, compare
from motools.datasets import Dataset
from motools.digest import canonical_json
from motools.errors import MotoolsError
from motools.steps import upload

if TYPE_CHECKING:
    from motools.cache import Cache

Samples: TypeAlias = Sequence[dict[str, Any]]
"""Of a task, in canonical form."""

_DIGEST_LENGTH: Final = 64
_MOST_PAIRS: Final = 4_000_000
"""Comparing every row with every other takes some seconds for so many pairs."""


def is_digest(value: object) -> bool:
    """Whether a value in key material looks like a digest."""
    return isinstance(value, str) and len(value) == _DIGEST_LENGTH


class _Rows(Protocol):
    def __getitem__(self, number: int, /) -> dict[str, Any]: ...


def in_rows(
    cache: Cache,
    difference: Difference,
    given: Dataset | None = None,
    most_bytes: float = math.inf,
) -> Iterator[Difference]:
    """What a difference between the digests of two datasets comes to, row by row.

    Nothing, if the values are no digests of datasets whose rows can be read here.

    Args:
        cache: where the datasets are.
        difference: between two actions.
        given: a dataset that may not be in the cache yet.
        most_bytes: of a dataset in the cache; larger ones are not read.
    """
    found = _dataset(cache, difference.found, given, most_bytes)
    wanted = _dataset(cache, difference.wanted, given, most_bytes)
    if found is not None and wanted is not None:
        yield from compare_rows(found, wanted)


def compare_rows(found: Dataset, wanted: Dataset) -> Iterator[Difference]:
    """The fields in which the rows of two datasets differ, in the order of the wanted one.

    Fields are named as in ``row 7, messages[1].content``; a row that only one
    has is one difference. Memory: sixteen bytes a row.
    """
    marks = _marks(found.lines()), _marks(wanted.lines())
    yield from _compared(found, wanted, *marks, lambda number, _: f"row {number + 1}")


def compare_samples(found: Samples, wanted: Samples) -> Iterator[Difference]:
    """The fields in which samples differ, as in ``sample 'hi', target``; see :func:`compare_rows`.

    Args:
        found: canonical forms, each with its ``id``.
        wanted: those that they are compared with.
    """
    marks = _marks(map(canonical_json, found)), _marks(map(canonical_json, wanted))
    yield from _compared(found, wanted, *marks, lambda _, sample: f"sample {sample['id']!r}")


def _compared(
    found: _Rows,
    wanted: _Rows,
    here: array[int],
    there: array[int],
    name: Callable[[int, Mapping[str, Any]], str],
) -> Iterator[Difference]:
    for same, i1, i2, j1, j2 in _blocks(here, there):
        if same:
            continue
        for i, j in itertools.zip_longest(range(i1, i2), range(j1, j2)):
            if i is None:
                yield Difference(f"{name(j, wanted[j])}, added", json.dumps(wanted[j]), None)
            elif j is None:
                yield Difference(f"{name(i, found[i])}, removed", None, json.dumps(found[i]))
            else:
                row = name(j, wanted[j])
                for inner in compare(wanted[j], found[i]):
                    yield Difference(f"{row}, {inner.field}", inner.wanted, inner.found)


def _dataset(cache: Cache, digest: Any, given: Dataset | None, most_bytes: float) -> Dataset | None:
    """The dataset of a digest, if its rows can be read."""
    if not is_digest(digest):
        return None
    if given is not None and given.digest == digest:
        return given
    entries = cache.index.select(kind=upload.KIND, labels={"dataset_hash": digest}, limit=1)
    if not entries or entries[0].file_rows[0][2] > most_bytes:
        return None
    try:
        return Dataset.from_jsonl(entries[0].file(upload.FILE))
    except MotoolsError:
        return None  # released or damaged: using it would say so, comparing with it need not


def _marks(lines: Iterable[bytes]) -> array[int]:
    """A number for each row, equal for equal rows of one process."""
    return array("q", map(hash, lines))


def _blocks(here: array[int], there: array[int]) -> Iterator[tuple[bool, int, int, int, int]]:
    """Stretches of rows that are the same or not: from and to in each dataset."""
    pairs = zip(here, there, strict=False)
    start = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(here), len(there)))
    most = min(len(here), len(there)) - start
    ends = zip(reversed(here), reversed(there), strict=False)
    end = next((n for n, (a, b) in enumerate(itertools.islice(ends, most)) if a != b), most)
    i1, j1, i2, j2 = start, start, len(here) - end, len(there) - end
    if i2 - i1 == j2 - j1 or (i2 - i1) * (j2 - j1) > _MOST_PAIRS:
        yield False, i1, i2, j1, j2
        return
    matcher = SequenceMatcher(None, here[i1:i2], there[j1:j2], autojunk=False)
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        yield tag == "equal", i1 + a1, i1 + a2, j1 + b1, j1 + b2
