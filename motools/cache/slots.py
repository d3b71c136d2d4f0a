"""Slots: how many may do one kind of work at once, on all hosts of a cache.

A slot is held as a key is: by a kernel lock, and by a lease with a heartbeat.
So the slot of a process that is killed is free at once on its own machine, and
elsewhere when its lease has expired.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Self

from motools.cache import layout
from motools.cache.lease import JobLock, Lease

if TYPE_CHECKING:
    from motools.cache.cache import Cache
    from motools.cache.context import Report


class Slot:
    """One of the slots of a kind of work, until it is released. Take one with :meth:`try_take`."""

    def __init__(self, cache: Cache, lock: JobLock, lease: Lease) -> None:
        self._cache = cache
        self._lock = lock
        self._lease = lease

    @classmethod
    def try_take(cls, cache: Cache, name: str, limit: int, report: Report | None) -> Self | None:
        """A free slot, or None while all are taken.

        Args:
            cache: whose processes count together.
            name: of the kind of work.
            limit: how many slots there are.
            report: is told if the slot is lost, which does not end the work.

        Raises:
            CacheUnavailableError: it cannot be known whether one is free.
        """

        def lost(why: str) -> None:  # noqa: ARG001 (it speaks of keys)
            if report is not None:
                said = f"a slot of {name} was lost: more than {limit} may be at work"
                report(said, {"slot": "lost"})

        for number in random.sample(range(limit), limit):  # so that few try the same one
            key = f"slot-{name}-{number}"
            lock = JobLock.try_take(cache.root / layout.JOBS / key)
            if lock is None:
                continue
            try:
                lease = cache.leases.try_take(key, lost)
            except BaseException:
                lock.release(remove=True)
                raise
            if lease is not None:
                return cls(cache, lock, lease)
            lock.release(remove=True)
        return None

    @property
    def descriptor(self) -> int:
        """Of the slot's lock; a worker that inherits it holds the slot along."""
        return self._lock.descriptor

    def release(self) -> None:
        """Let the next one have it."""
        try:
            self._cache.leases.release(self._lease)
        finally:
            self._lock.release(remove=True)
