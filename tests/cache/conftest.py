"""What the tests of the cache share: a cache, actions, and a run that counts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Action, Cache, RunContext
from motools.cache.joining import join
from motools.cache.postgresql import PostgreSQL
from motools.settings import Settings


def action(n: Any = 1, kind: str = "function") -> Action:
    return Action(kind, {}, {"n": n}, {"name": "test", "recipe": 1})


class Runs:
    """A run that writes two files, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, context: RunContext) -> Any:
        self.count += 1
        (context.directory / "deep").mkdir()
        (context.directory / "deep" / "weights.bin").write_bytes(b"weights " * 100)
        (context.directory / "log.txt").write_text("done\n")
        return {"runs": self.count}


MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where a sync costs nothing, for tests of what happens when, not of what is durable."""


@pytest.fixture
def in_memory(coordinator: str) -> Iterator[Path]:
    """A directory in memory, where there is such a thing."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def runs() -> Runs:
    return Runs()


def lose_the_database(root: Path) -> None:
    """Have the tables gone, and the documents still there."""
    settings = Settings.load()
    cache = Cache(root, join(root, settings, create=False).marker.id, settings)
    if isinstance(cache.database, PostgreSQL):
        schema = cache.database.schema
        with cache.database.write() as transaction:
            transaction.run(f"DROP SCHEMA {schema} CASCADE")
    cache.database.close()
    for path in root.glob("cache.db*"):
        path.unlink()


@pytest.fixture
def root(tmp_path: Path, coordinator: str) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def open_cache(root: Path) -> Iterator[Callable[..., Cache]]:
    opened = []

    def open_cache(**settings: Any) -> Cache:
        opened.append(Cache.open(root, settings=Settings.load(**settings)))
        return opened[-1]

    yield open_cache
    for cache in opened:
        cache.database.close()


@pytest.fixture
def cache(open_cache: Callable[..., Cache]) -> Cache:
    return open_cache()
