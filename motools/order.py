"""Which rows of a dataset, and in which order, by rules that no version of Python changes."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from motools.digest import canonical_json
from motools.errors import DatasetError

_SHUFFLE: Final = "motools.shuffle/1"
"""Changes if a seed should ever mean another order."""

_WORD: Final = 8
_BLOCK: Final = 8192
_RANGE: Final = 1 << 64


@dataclass(frozen=True)
class Choice:
    """Some rows of a dataset.

    Attributes:
        seed: draws an order of all rows, from which ``start:stop:step`` is
            taken; None: the order they have.
        start: as in a slice.
        stop: as in a slice.
        step: as in a slice.

    Raises:
        DatasetError: one of them is not an integer.
    """

    seed: int | None = None
    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and type(value) is not int:
                raise DatasetError(f"{name}: {value!r} is not an integer")

    def of(self, count: int) -> Sequence[int]:
        """The numbers of the chosen rows, of so many."""
        whole = range(count) if self.seed is None else permutation(count, self.seed)
        return whole[self.start : self.stop : self.step]


@functools.lru_cache(maxsize=4)
def permutation(count: int, seed: int) -> Sequence[int]:
    """The numbers below ``count`` in an order drawn from ``seed``; each order is equally likely.

    Fisher-Yates over BLAKE3 as a stream of random numbers: exact arithmetic
    alone, so one seed is one order everywhere. Takes eight bytes a number. The
    first few are the same however many of them are wanted.
    """
    numbers = array("Q", range(count))
    words = _words(seed)
    for place in range(count - 1):
        other = place + _below(count - place, words)
        numbers[place], numbers[other] = numbers[other], numbers[place]
    return numbers


def _below(limit: int, words: Iterator[int]) -> int:
    """A number below ``limit``, each as likely as the others."""
    fair = _RANGE - _RANGE % limit
    return next(word for word in words if word < fair) % limit


def _words(seed: int) -> Iterator[int]:
    stream = blake3(canonical_json([_SHUFFLE, seed]))
    at = 0
    while True:
        block = stream.digest(length=_BLOCK, seek=at)
        at += _BLOCK
        for start in range(0, _BLOCK, _WORD):
            yield int.from_bytes(block[start : start + _WORD], "little")
