"""The canonical lines behind a dataset: one after the other, or by number."""

from __future__ import annotations

import bisect
import functools
import itertools
import os
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from motools.errors import DatasetError
from motools.memo import Memo, settled, signature
from motools.order import Choice
from motools.rows import canonical_line, canonical_lines, row_offsets


class Lines(Protocol):
    """Canonical lines in order, in constant memory, and by number."""

    def __len__(self) -> int:
        """How many."""

    def __iter__(self) -> Iterator[bytes]:
        """One after the other."""

    def __getitem__(self, number: int, /) -> bytes:
        """One of them; from the end if negative. Raises IndexError."""


class InMemory:
    """Lines in one piece of memory."""

    def __init__(self, data: bytes) -> None:
        self._lines = data.splitlines(keepends=True)

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines)

    def __getitem__(self, number: int, /) -> bytes:
        return self._lines[number]


class InFile:
    """Lines of a JSON Lines file.

    Args:
        path: the file.
        stack: closes it, once a line has been asked for by its number.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack

    @functools.cached_property
    def _offsets(self) -> array[int]:
        mark, is_settled = _signature(self._path)
        return (_offsets if is_settled else _offsets.__wrapped__)(self._path, mark)

    @functools.cached_property
    def _descriptor(self) -> int:
        return self._stack.enter_context(self._path.open("rb")).fileno()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __iter__(self) -> Iterator[bytes]:
        return canonical_lines(self._path)

    def __getitem__(self, number: int, /) -> bytes:
        at = range(len(self))[number]
        start, end = self._offsets[at], self._offsets[at + 1]
        line = os.pread(self._descriptor, end - start, start)
        return canonical_line(line.removeprefix(b"\xef\xbb\xbf"), f"{self._path}, row {at + 1}")


class Joined:
    """Lines of several, one after the other."""

    def __init__(self, parts: Sequence[Lines]) -> None:
        self._parts = parts

    @functools.cached_property
    def _ends(self) -> list[int]:
        return list(itertools.accumulate(len(part) for part in self._parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __iter__(self) -> Iterator[bytes]:
        return itertools.chain.from_iterable(self._parts)

    def __getitem__(self, number: int, /) -> bytes:
        at = range(len(self))[number]
        part = bisect.bisect_right(self._ends, at)
        return self._parts[part][at - (self._ends[part - 1] if part else 0)]


class Chosen:
    """Some lines of others, in order or drawn."""

    def __init__(self, lines: Lines, choice: Choice) -> None:
        self._lines = lines
        self._choice = choice

    @functools.cached_property
    def _order(self) -> Sequence[int]:
        return self._choice.of(len(self._lines))

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[bytes]:
        order = self._order
        if isinstance(order, range) and order.step > 0:
            return itertools.islice(self._lines, order.start, order.stop, order.step)
        return map(self._lines.__getitem__, order)

    def __getitem__(self, number: int, /) -> bytes:
        return self._lines[self._order[number]]


@dataclass
class Fact:
    """A fact that may be known already.

    Attributes:
        value: what is known; None: nothing. Set it to have it remembered.
    """

    value: Any = None


@contextmanager
def remembered(
    memo: Memo | None, namespace: str, subject: str, files: Sequence[str]
) -> Iterator[Fact]:
    """A fact about files: recalled if they are as they were, else recorded after the block.

    Args:
        memo: where it is kept; None: nowhere.
        namespace: of the memo.
        subject: what the fact is about.
        files: what it depends on. A file that changes during the block, or has
            just changed, leaves nothing recorded.

    Raises:
        DatasetError: a file cannot be read.
    """
    started = [_signature(Path(path)) for path in files]
    marks = " ".join(mark for mark, _ in started)
    known = Fact(memo.recall(namespace, subject, marks) if memo is not None else None)
    recalled = known.value is not None
    yield known
    if memo is None or recalled or not all(is_settled for _, is_settled in started):
        return
    if marks == " ".join(_signature(Path(path))[0] for path in files):
        memo.record(namespace, subject, marks, known.value)


@functools.lru_cache(maxsize=4)
def _offsets(path: Path, _mark: str) -> array[int]:
    return row_offsets(path)


def _signature(path: Path) -> tuple[str, bool]:
    """What changes when a file does, and whether its next change will be seen."""
    try:
        status = path.stat()
    except OSError as problem:
        raise DatasetError(f"{path}: {problem.strerror}") from problem
    return signature(status), settled(status, time.time_ns())
