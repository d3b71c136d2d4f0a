"""Who uses a cache: a lock that each process shares, and that one must have alone at times."""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from motools.cache.lease import same_file
from motools.cache.store import unavailable
from motools.errors import CacheUnavailableError

_USE_LOCK: Final = "tmp/in-use.lock"


class Use:
    """Says that this process uses a cache, for as long as it is referred to.

    Args:
        root: the cache's directory.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / _USE_LOCK
        self.descriptor = self._open()

    def _open(self) -> int:
        with unavailable(f"cannot use the cache at {self._path.parents[1]}"):
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)

    def lock(self, kind: int) -> None:
        """Lock the file that is there: a lock on one that somebody removed keeps nobody out.

        Args:
            kind: as in :func:`fcntl.flock`.
        """
        while True:
            fcntl.flock(self.descriptor, kind)
            if same_file(self.descriptor, self._path):
                return
            removed, self.descriptor = self.descriptor, self._open()
            self._close(removed)

    # Held here, because at the end of the interpreter the module's names are gone first.
    _close = staticmethod(os.close)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            self._close(self.descriptor)


_in_use: weakref.WeakValueDictionary[tuple[Path, int], Use] = weakref.WeakValueDictionary()
"""By root and process id: a fork's locks are its parent's."""


def announce_use(root: Path) -> Use:
    """Keep others from setting the database aside for as long as the result is referred to."""
    mark = (root, os.getpid())
    use = _in_use.get(mark) or Use(root)
    try:
        use.lock(fcntl.LOCK_SH)
        # SQLite's kind of lock, tried here: it would wait a minute before it gave up.
        fcntl.lockf(use.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.lockf(use.descriptor, fcntl.LOCK_UN)
    except OSError as problem:
        raise CacheUnavailableError(
            f"cannot lock {root}: {problem.strerror}. Put the cache on a local disk "
            "(--cache-dir, MOTOOLS_CACHE_DIR)"
        ) from problem
    _in_use[mark] = use
    return use


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Have no other process of this machine use a cache during the block.

    Raises:
        CacheUnavailableError: others use it.
    """
    use = announce_use(root)
    try:
        use.lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CacheUnavailableError(
            f"other processes use {root}: end them, then run `motools cache reindex` again. "
            "Nothing was changed"
        ) from None
    finally:
        announce_use(root)  # back to sharing; a refused lock may have cost us our own
