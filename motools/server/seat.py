"""The right to serve a cache: one server at a time, on whatever machine.

It is held as a key is: by a kernel lock, and by a lease with a heartbeat. So the
seat of a server that is killed is free at once on its own machine, and elsewhere
when its lease has expired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from motools.cache import Cache
from motools.cache.layout import JOBS
from motools.cache.lease import JobLock, Lease
from motools.errors import SettingsError

_KEY: Final = "server"


class Seat:
    """The right to serve a cache, until it is released.

    Args:
        cache: to be served.
        lost: told, from another thread, when another server has taken the cache over.

    Raises:
        SettingsError: another server serves it.
    """

    def __init__(self, cache: Cache, lost: Callable[[], None]) -> None:
        self._cache = cache
        self._lost = lost
        self._is_lost = False
        lock = JobLock.try_take(cache.root / JOBS / _KEY)
        if lock is None:
            raise self._taken()
        self._lock = lock
        try:
            lease = cache.leases.try_take(_KEY, self._silent)
            if lease is None:
                raise self._taken()
        except BaseException:
            lock.release(remove=True)
            raise
        self._lease: Lease = lease

    def release(self) -> None:
        """Let another server serve."""
        try:
            self._cache.leases.release(self._lease)
        finally:
            self._lock.release(remove=True)

    @property
    def is_lost(self) -> bool:
        """Whether another server has it, as far as is known."""
        return self._is_lost

    def _silent(self, _why: str) -> None:
        """The lease could not be extended: it is lost, unless the database is only away.

        Lost, it is extended no more, and this is not called again.
        """
        if not self._cache.leases.holds(self._lease):
            self._is_lost = True
            self._lost()

    def _taken(self) -> SettingsError:
        holder = self._cache.leases.holder(_KEY)
        who = f" ({holder.name})" if holder is not None else ""
        return SettingsError(
            f"another server serves the cache at {self._cache.root}{who}: one at a time has its "
            "queue. End it first, or serve another cache with --cache-dir"
        )
