"""Holding a key without running it: while it is held, nobody runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from motools.cache import layout
from motools.cache.claim import SCRATCH
from motools.cache.lease import JobLock
from motools.cache.running import runner
from motools.errors import LeaseTimeoutError

if TYPE_CHECKING:
    from motools.cache.cache import Cache


@contextmanager
def holding(cache: Cache, key: str) -> Iterator[None]:
    """Hold a key in the block.

    Raises:
        LeaseTimeoutError: somebody runs it; nothing was changed.
    """
    lock = JobLock.try_take(cache.root / layout.JOBS / key)
    if lock is None:
        raise _taken(cache, key)
    scratch = lock.directory / SCRATCH
    try:
        lease = cache.leases.try_take(key, lambda _: None)
        if lease is None:
            raise _taken(cache, key)
        try:
            yield
        finally:
            cache.leases.release(lease)
    finally:
        # What a run that failed has left stays for the next one.
        lock.release(remove=not scratch.exists() or not any(scratch.iterdir()))


def _taken(cache: Cache, key: str) -> LeaseTimeoutError:
    who = runner(cache, key) or "another process"
    return LeaseTimeoutError(
        f"{key[:12]} is being run by {who}: wait for it, or end it first. Nothing was changed"
    )
