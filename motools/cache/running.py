"""Who runs a key right now, found out without disturbing them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from motools.cache import layout
from motools.cache.action import DIGEST, digests_in
from motools.cache.claim import ACTION
from motools.cache.lease import LOCK, lock_domain
from motools.cache.store import unavailable

if TYPE_CHECKING:
    from motools.cache.cache import Cache
    from motools.cache.entry import Entry


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
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def reads(cache: Cache) -> dict[str, frozenset[str]]:
    """The keys that are being run, on this machine or another, and every digest in what each runs.

    A run whose lease has expired is known on its own machine alone.
    """
    found: dict[str, frozenset[str]] = {}
    for key, digests in cache.database.read(
        "SELECT key, reads FROM leases WHERE holder IS NOT NULL "
        f"AND expires_at > {cache.database.clock}"
    ):
        found[key] = frozenset((digests or "").split())
    for directory in job_directories(cache):
        if locked(cache, directory.name):
            found.setdefault(directory.name, frozenset())
            with contextlib.suppress(FileNotFoundError):  # it has ended
                found[directory.name] |= frozenset(digests_in((directory / ACTION).read_text()))
    return found


def needed_by_runs(cache: Cache) -> frozenset[str]:
    """The keys that are being run, and every digest in what they run."""
    return frozenset().union(*(digests | {key} for key, digests in reads(cache).items()))


def is_needed(entry: Entry, needed: Set[str]) -> bool:
    """Whether runs that need these digests read a generation of an entry.

    Its files are named by their digests, or by one that stands for all of them.
    """
    if not needed:
        return False
    from motools.steps.lineage import stands_for

    return not needed.isdisjoint(entry.blob_digests | stands_for(entry))


def reader(cache: Cache, entries: Iterable[Entry]) -> tuple[Entry, str] | None:
    """One of some entries that a run under way reads, and that run's key; None: there is none."""
    runs = reads(cache)
    needed = frozenset().union(*runs.values())
    for entry in entries if needed else ():
        for each in cache.index.generations(entry.key):
            if is_needed(each, needed):
                return entry, next(key for key, of in runs.items() if is_needed(each, of))
    return None


def job_directories(cache: Cache) -> Iterator[Path]:
    """The directories of all keys that are run, or were; what else people put there is no job."""
    with unavailable(f"cannot list {cache.root / layout.JOBS}"):
        found = sorted((cache.root / layout.JOBS).iterdir())
    return (path for path in found if path.is_dir())
