"""How far a transfer is, for a person: a bar on a terminal, plain lines elsewhere.

And what it left out.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from motools.cli import output

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from motools.remotes.progress import Progress

_SAY_EVERY: Final = 10.0


def in_trash(keys: Sequence[str]) -> str:
    """What a summary says of entries that did not come since they are in the trash here."""
    if not keys:
        return ""
    are = "is" if len(keys) == 1 else "are"
    names = " ".join(output.short(key) for key in keys[:3]) + (" …" if len(keys) > 3 else "")
    count = output.count(len(keys), "entry")
    return f"; {count} {are} in the trash here: `motools cache undelete {names}`"


@contextmanager
def shown() -> Iterator[Progress]:
    """Progress that is shown while the block runs, on stderr."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Drawn(bar)


class _Drawn:
    """One bar, which a transfer in several parts makes longer."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._total = 0

    def start(self, what: str, total: int) -> None:
        """A transfer of so many bytes begins."""
        self._total += total
        if self._task is None:
            self._task = self._bar.add_task(what)
        self._bar.update(self._task, description=what, total=self._total)

    def advance(self, count: int) -> None:
        """So many bytes more are done."""
        if self._task is not None:
            self._bar.advance(self._task, count)


class _Lines:
    """A line now and then; a transfer that is quick has none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._what, self._total, self._done = "", 0, 0
        self._began = self._said = time.monotonic()

    def start(self, what: str, total: int) -> None:
        """A transfer of so many bytes begins."""
        with self._lock:
            self._what, self._total = what, self._total + total

    def advance(self, count: int) -> None:
        """So many bytes more are done."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._said < _SAY_EVERY:
                return
            self._said = now
            rate = self._done / (now - self._began)
            left = (self._total - self._done) / rate
            output.say(
                f"{self._what}: {output.size(self._done)} of {output.size(self._total)}, "
                f"{output.size(int(rate))}/s, {output.duration(left)} left"
            )
