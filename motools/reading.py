"""Which datasets in files stand in a key, so that a change of a file can be told in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from motools.errors import DatasetError
from motools.memo import Memo

Ask: TypeAlias = Callable[[Memo | None], str]
"""Asks for the digest of what the files of a dataset hold now."""


@dataclass(frozen=True)
class Reading:
    """The datasets in files that stand in a key, with the digests they had then.

    Attributes:
        memo: remembers their digests while no file changes.
        found: who was asked, the files, and their digest.
    """

    memo: Memo
    found: list[tuple[Ask, list[str], str]] = field(default_factory=list)

    def check(self, reader: str) -> None:
        """Refuse what may have been made of other rows than the key says.

        Args:
            reader: who read them, for the error.

        Raises:
            DatasetError: a file has changed since.
        """
        for ask, files, digest in self.found:
            if ask(self.memo) != digest:
                places = ", ".join(sorted(set(files)))
                raise DatasetError(
                    f"{places} changed while {reader} ran, so its result is not stored: "
                    "run it again"
                )


_READING: Final[ContextVar[Reading | None]] = ContextVar("motools_reading", default=None)


@contextmanager
def reading(memo: Memo) -> Iterator[Reading]:
    """Note the datasets that enter the key that is made in the block."""
    opened = Reading(memo)
    token = _READING.set(opened)
    try:
        yield opened
    finally:
        _READING.reset(token)


def noted(ask: Ask, files: list[str]) -> str:
    """The digest of a dataset now, noted where a key is being made."""
    opened = _READING.get()
    if opened is None:
        return ask(None)
    digest = ask(opened.memo)
    opened.found.append((ask, files, digest))
    return digest
