"""Two hosts with one coordinator: kernel locks of one are not seen by the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motools.cache import layout
from motools.cache.database import Database
from motools.cache.joining import join
from motools.cache.postgresql import PostgreSQL
from motools.cache.sqlite import SQLite
from motools.settings import Settings

_SHARED = (
    layout.MARKER, layout.DATABASE, layout.OBJECTS, layout.ENTRIES, layout.JOURNAL,
    layout.TMP, layout.TRASH, layout.QUARANTINE,
)  # fmt: skip


def second_host(first: Path, second: Path) -> Path:
    """Another way into a cache, with everything shared but the kernel locks on ``jobs/``."""
    join(first, Settings.load(), create=True)
    second.mkdir()
    for name in _SHARED:
        (second / name).symlink_to(first / name)
    for name in (layout.JOBS, layout.EVALS):
        (second / name).mkdir()
    return second


CLOCKS: dict[type[Database], str] = {kind: kind.clock for kind in (SQLite, PostgreSQL)}


class Clock:
    """The coordinator's clock, which can be moved on."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        self.offset += seconds
        for database, clock in CLOCKS.items():
            database.clock = f"({clock} + {self.offset})"


@contextmanager
def movable_clock() -> Iterator[Clock]:
    try:
        yield Clock()
    finally:
        for database, clock in CLOCKS.items():
            database.clock = clock
