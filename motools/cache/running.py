"""Who runs a key right now, found out without disturbing them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motools.cache import layout
from motools.cache.action import DIGEST, digests_in
from motools.cache.claim import ACTION
from motools.cache.lease import LOCK, lock_domain

if TYPE_CHECKING:
    from motools.cache.cache import Cache


def runner(cache: Cache, key: str) -> str | None:
    """The holder of a key that is being run, for people; None: nobody runs it.

    On this machine the kernel's lock tells, elsewhere the lease's time.
    """
    rows = cache.database.read(
        f"SELECT holder, domain, expires_at > {cache.database.clock} FROM leases "
        "WHERE key = ? AND holder IS NOT NULL",
        (key,),
    )
    if not rows:
        return None
    holder, domain, alive = rows[0]
    here = domain == lock_domain(cache.root / layout.JOBS)
    running = locked(cache, key) if here else bool(alive)
    return str(holder) if running else None


@dataclass(frozen=True)
class Run:
    """A key that is being run.

    Attributes:
        key: which.
        holder: user, host and process.
        since: seconds since 1970.
    """

    key: str
    holder: str
    since: float


def runs(cache: Cache) -> list[Run]:
    """What is being run, here and on other machines, the newest first."""
    rows = cache.database.read(
        f"SELECT key, holder, acquired_at, domain, expires_at > {cache.database.clock} "
        "FROM leases WHERE holder IS NOT NULL ORDER BY acquired_at DESC"
    )
    here = lock_domain(cache.root / layout.JOBS)
    return [
        Run(key, holder, since)
        for key, holder, since, domain, alive in rows
        if DIGEST.fullmatch(key) and (locked(cache, key) if domain == here else alive)
    ]


def locked(cache: Cache, key: str) -> bool:
    """Whether a process of this machine holds a key's job directory."""
    try:
        descriptor = os.open(cache.root / layout.JOBS / key / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def needed_by_runs(cache: Cache) -> frozenset[str]:
    """The keys that are being run, on this machine or another, and every digest in what they run.

    A run whose lease has expired is known on its own machine alone.
    """
    found: set[str] = set()
    for key, reads in cache.database.read(
        "SELECT key, reads FROM leases WHERE holder IS NOT NULL "
        f"AND expires_at > {cache.database.clock}"
    ):
        found.update((key, *(reads or "").split()))
    for directory in (cache.root / layout.JOBS).iterdir():
        if locked(cache, directory.name):
            found.add(directory.name)
            with contextlib.suppress(FileNotFoundError):  # it has ended
                found.update(digests_in((directory / ACTION).read_text()))
    return frozenset(found)
