"""Which cache is used where none is given."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from motools.cache import Cache
from motools.errors import CacheError
from motools.settings import Settings

Place: TypeAlias = "Cache | str | os.PathLike[str] | None"
"""A cache, the directory of one, or None: the current one."""

_chosen: ContextVar[Cache | None] = ContextVar("motools_cache", default=None)


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of :func:`use_cache`, with the threads that there were before it."""

    cache: Cache
    older: weakref.WeakSet[threading.Thread]


_open: list[_Block] = []

# Per process, because database connections must not cross a fork.
_opened: dict[tuple[int, Path], Cache] = {}
_defaults: dict[tuple[object, ...], Cache] = {}
_PLACES: Final = ("MOTOOLS_CACHE_DIR", "MOTOOLS_DATABASE_URL", "MOTOOLS_STORE")


def current_cache() -> Cache:
    """The cache that tasks use here: of :func:`use_cache`, or else of the settings.

    Raises:
        CacheError: this thread was started inside a :func:`use_cache` that did not reach it.
    """
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    if _open:
        _refuse_unreached()
    return _default()


@contextmanager
def use_cache(place: Place) -> Iterator[Cache]:
    """Have every task called or submitted inside the block use this cache.

    It holds where Python's context variables do: in coroutines, in what Prefect runs for the
    block and in ``asyncio.to_thread``, but neither in threads that are started by hand or
    by a ``ThreadPoolExecutor`` nor in other processes. Enter it there once more, run the
    work with ``contextvars.copy_context().run``, or give the task ``cache=``.

    Args:
        place: a cache, or the directory of one.
    """
    cache = cache_at(place)
    block = _Block(cache, weakref.WeakSet(threading.enumerate()))
    token = _chosen.set(cache)
    _open.append(block)
    try:
        yield cache
    finally:
        _open.remove(block)
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


def _refuse_unreached() -> None:
    """Refuse the settings' cache in a thread for which another was most likely meant.

    Raises:
        CacheError: it was started inside a block that uses another.
    """
    thread = threading.current_thread()
    blocks = [block for block in tuple(_open) if thread not in block.older]
    default = Path(Settings.load().cache_dir).absolute() if blocks else None
    for block in blocks:
        if block.cache.root != default:
            raise CacheError(
                f"thread {thread.name!r} was started inside use_cache({str(block.cache.root)!r}), "
                f"which does not reach it: it would use {default}. Enter use_cache(…) in the "
                "thread, run its work with contextvars.copy_context().run, or give the task cache="
            )


def _default() -> Cache:
    # Settings depend on the directory that one works in and on the environment.
    key = (os.getpid(), str(Path.cwd()), *map(os.environ.get, _PLACES))
    if key not in _defaults:
        cache = Cache.open()
        _defaults[key] = _opened.setdefault((os.getpid(), cache.root), cache)
    return _defaults[key]
