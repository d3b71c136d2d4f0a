"""Pipes whose end tells other processes that this one is gone, however it went."""

from __future__ import annotations

import os
from io import FileIO
from typing import Final

_held: Final[set[Lifeline]] = set()


class Lifeline:
    """A pipe that is open for writing in this process alone, not in what is forked off it.

    Attributes:
        reader: descriptor for the other process; close it here once that has it.
    """

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self._writer = FileIO(writer, "wb")
        _held.add(self)

    def send(self, data: bytes) -> None:
        """Write all of the data.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[self._writer.write(rest) :]

    def close(self) -> None:
        """Let the other process see the end."""
        _held.discard(self)
        self._writer.close()


def _close() -> None:
    """In a process that was forked off the holder, which would keep all of them open."""
    for line in tuple(_held):
        line.close()


os.register_at_fork(after_in_child=_close)
