"""What is in a cache, in one call each."""

from __future__ import annotations

import os

from motools.cache.utils import CacheStatistics, CacheUtils


def cache_info(cache_dir: str | os.PathLike[str] | None = None) -> CacheStatistics:
    """What is in the cache, and what it saved.

    Args:
        cache_dir: the cache's directory; by default the one in the settings, or ``.motools``.

    Raises:
        CacheNotFoundError: there is none; it is a :class:`FileNotFoundError`.
    """
    return CacheUtils(cache_dir).get_stats()


def print_cache_info(cache_dir: str | os.PathLike[str] | None = None) -> None:
    """Print what is in the cache and what takes how much space, as ``motools cache`` does.

    Args:
        cache_dir: the cache's directory; by default the one in the settings, or ``.motools``.

    Raises:
        CacheNotFoundError: there is none; it is a :class:`FileNotFoundError`.
    """
    from motools.cli import output
    from motools.cli.tables import size_rows, statistics_rows

    cache = CacheUtils(cache_dir).cache
    for rows, columns in (statistics_rows(cache), size_rows(cache)):
        output.emit(rows, columns, output.Format.TABLE)


def clear_cache(
    cache_dir: str | os.PathLike[str] | None = None, *, files: bool = False
) -> dict[str, int]:
    """Clear everything in the cache; it goes into the trash.

    Args:
        cache_dir: the cache's directory; by default the one in the settings, or ``.motools``.
        files: also the blobs.

    Returns:
        How many went into the trash, under ``datasets``, ``models``, ``evals`` and ``functions``.

    Raises:
        CacheNotFoundError: there is none; it is a :class:`FileNotFoundError`.
        RemovalError: an entry is being made again right now; nothing was removed.
    """
    return CacheUtils(cache_dir).clear_all(files=files)
