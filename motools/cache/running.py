"""Who runs a key right now, found out without disturbing them."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from motools.cache import layout
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
    running = _locked(cache, key) if here else bool(alive)
    return str(holder) if running else None


def _locked(cache: Cache, key: str) -> bool:
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
