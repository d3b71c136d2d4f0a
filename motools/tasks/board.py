"""Progress for people at a terminal: a line for each job in flight, below the log.

The lines are drawn on the console that Prefect logs to, where there is one: two
that know nothing of each other would write over each other.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID

SHOWN: Final = "motools_shown"
"""Attribute of a log record whose message is on the board already."""


class Board:
    """The lines of this process; on the screen while there are any.

    Args:
        console: where; by default the terminal of standard error, if it is one.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._lines: dict[str, TaskID] = {}
        self._tops: dict[str, RenderableType] = {}

    def show(self, job: str, message: str, done: float | None, total: float | None) -> bool:
        """Put a job's line on the screen, or change it.

        Args:
            job: its key.
            message: how far it is, for people.
            done: how much of ``total``; None: not known.
            total: how much there is to do; None: not known.

        Returns:
            Whether there is a terminal to show it on.
        """
        with self._lock:
            if self._progress is None and not self._start():
                return False
            assert self._progress is not None
            if job not in self._lines:
                self._lines[job] = self._progress.add_task(message, total=total)
            line = self._lines[job]
            self._progress.update(line, description=message, completed=done, total=total)
            return True

    def top(self, job: str, picture: RenderableType) -> None:
        """Have something drawn above all lines for as long as the job has one.

        Args:
            job: its key.
            picture: what rich can draw; it is asked again at each refresh.
        """
        with self._lock:
            self._tops[job] = picture

    def drop(self, job: str) -> None:
        """Take a job's line away, if it has one."""
        with self._lock:
            self._tops.pop(job, None)
            line = self._lines.pop(job, None)
            if line is None or self._progress is None:
                return
            self._progress.remove_task(line)
            if not self._lines:
                self._progress.stop()
                self._progress = None

    def _start(self) -> bool:
        console = self._console or _terminal()
        if console is None:
            return False
        from rich.progress import BarColumn, Progress, TextColumn

        tops = self._tops

        class Lines(Progress):
            def get_renderables(self) -> Iterator[RenderableType]:
                yield from tuple(tops.values())
                yield from super().get_renderables()

        # Prefect's console knows no styles but those of its log.
        bar = BarColumn(16, "bright_black", "green", "green", "bright_black")
        text = TextColumn("{task.description}", style="none", markup=False)
        self._progress = Lines(bar, text, console=console, transient=True)
        self._progress.start()
        return True


def _terminal() -> Console | None:
    """The console of the terminal, unless another process draws on it."""
    from rich.console import Console

    if multiprocessing.parent_process() is not None:
        return None
    console = Console(stderr=True)
    for handler in logging.getLogger().handlers:
        if isinstance(found := getattr(handler, "console", None), Console):
            console = found
            if _not_on_board not in handler.filters:
                handler.addFilter(_not_on_board)
    shows = console.is_terminal and not console.is_dumb_terminal and not console.is_jupyter
    return console if shows else None


def _not_on_board(record: logging.LogRecord) -> bool:
    return not getattr(record, SHOWN, False)


BOARD: Final = Board()
"""The board of this process."""
