"""Which cache is used where none is given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TypeAlias

from motools.cache import Cache

Place: TypeAlias = "Cache | str | os.PathLike[str] | None"
"""A cache, the directory of one, or None: the current one."""

_chosen: ContextVar[Cache | None] = ContextVar("motools_cache", default=None)

# Per process, because database connections must not cross a fork.
_opened: dict[tuple[int, Path], Cache] = {}
_defaults: dict[tuple[object, ...], Cache] = {}
_PLACES: Final = ("MOTOOLS_CACHE_DIR", "MOTOOLS_DATABASE_URL", "MOTOOLS_STORE")


def current_cache() -> Cache:
    """The cache that tasks use here: of :func:`use_cache`, or else of the settings."""
    return _chosen.get() or _default()


@contextmanager
def use_cache(place: Place) -> Iterator[Cache]:
    """Have every task called or submitted inside the block use this cache.

    Args:
        place: a cache, or the directory of one.
    """
    cache = cache_at(place)
    token = _chosen.set(cache)
    try:
        yield cache
    finally:
        _chosen.reset(token)


def cache_at(place: Place) -> Cache:
    """The cache at a place, opened once per process and directory."""
    if place is None:
        return current_cache()
    if isinstance(place, Cache):
        return _opened.setdefault((os.getpid(), place.root), place)
    key = (os.getpid(), Path(place).absolute())
    if key not in _opened:
        _opened.setdefault(key, Cache.open(place))
    return _opened[key]


def _default() -> Cache:
    # Settings depend on the directory that one works in and on the environment.
    key = (os.getpid(), str(Path.cwd()), *map(os.environ.get, _PLACES))
    if key not in _defaults:
        cache = Cache.open()
        _defaults[key] = _opened.setdefault((os.getpid(), cache.root), cache)
    return _defaults[key]
