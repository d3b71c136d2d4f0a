"""Two caches with different contents, and a remote of several kinds."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Action, Cache, Entry, RunContext
from motools.remotes import Remote, add_remote
from motools.settings import Settings

Opened = Callable[..., Cache]
There = Callable[..., Remote]


def commit(cache: Cache, n: Any, files: dict[str, bytes] | None = None, **how: Any) -> Entry:
    """Have an entry with some files in a cache; by default one small file of its own."""

    def run(context: RunContext) -> Any:
        for name, data in (files or {"file": f"of {n} ".encode() * 50}).items():
            (context.directory / name).write_bytes(data)
        context.label(model_id=f"model-{n}")
        return how.get("value", {"n": n})

    action = Action(how.get("kind", "function"), {}, {"n": n}, {"name": "test", "recipe": 1})
    return cache.get_or_run(action, run, refresh=bool(how.get("refresh")))


def contents(cache: Cache) -> dict[str, dict[str, bytes]]:
    """Every entry's files, read through the cache."""
    return {e.key: {name: p.read_bytes() for name, p in e.files.items()} for e in cache.entries()}


@pytest.fixture(params=["directory", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket').name}/team"
    return str(tmp_path / "remote") if request.param == "directory" else f"memory://{uuid.uuid4()}"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """A cache by name, with ``there`` in its registry; ``opened("a")`` twice is one cache."""
    caches: dict[str, Cache] = {}

    def opened(name: str = "a") -> Cache:
        if name not in caches:
            caches[name] = Cache.open(tmp_path / name, settings=Settings.load(tmp_path))
        return caches[name]

    yield opened
    for cache in caches.values():
        cache.close()


@pytest.fixture
def there(url: str) -> There:
    """The remote, as a cache sees it now."""

    def there(cache: Cache) -> Remote:
        return add_remote(cache, "there", url)

    return there
