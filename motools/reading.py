"""Which datasets in files stand in a key, so that a change of a file can be told in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Protocol

from motools.errors import DatasetError
from motools.memo import Memo


class InFiles(Protocol):
    """What can change below whoever holds it."""

    def digest_now(self, memo: Memo | None = None) -> str:
        """The digest of what its files hold now."""

    def files(self) -> list[str]:
        """Every file that it is read from."""


@dataclass(frozen=True)
class Reading:
    """The datasets in files that stand in a key, with the digests they had then.

    Attributes:
        memo: remembers their digests while no file changes.
        found: what was asked, and its digest.
    """

    memo: Memo
    found: list[tuple[InFiles, str]] = field(default_factory=list)

    def check(self, reader: str) -> None:
        """Refuse what may have been made of other rows than the key says.

        Args:
            reader: who read them, for the error.

        Raises:
            DatasetError: a file has changed since.
        """
        for dataset, digest in self.found:
            if dataset.digest_now(self.memo) != digest:
                places = ", ".join(sorted(set(dataset.files())))
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


def noted(dataset: InFiles) -> str:
    """The digest of a dataset now, noted where a key is being made."""
    opened = _READING.get()
    if opened is None:
        return dataset.digest_now()
    digest = dataset.digest_now(opened.memo)
    opened.found.append((dataset, digest))
    return digest
