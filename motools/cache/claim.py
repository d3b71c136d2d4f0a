"""Claims: a key that this process runs now, and how it comes to have it."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from motools.cache import layout
from motools.cache.action import Action, digests_in
from motools.cache.commit import check_json, commit
from motools.cache.context import Report, RunContext
from motools.cache.entry import Entry
from motools.cache.lease import JobLock, Lease
from motools.cache.store import unavailable
from motools.errors import CacheError, LeaseTimeoutError
from motools.stopping import stoppable

if TYPE_CHECKING:
    from motools.cache.cache import Cache

_log: Final = logging.getLogger(__name__)

_FIRST_WAIT: Final = 0.002
_LONGEST_WAIT: Final = 0.25
_SAY_EVERY: Final = 30.0

ACTION: Final = "action.json"
FILES: Final = "files"
SCRATCH: Final = "scratch"


class Claim:
    """The right and the duty to run one action. Leave it and the key is free again.

    ::

        with claim:
            entry = claim.commit(work(claim.context))

    Attributes:
        context: what the run is given.
    """

    def __init__(self, context: RunContext, lock: JobLock) -> None:
        self.context = context
        self._cache = context.cache
        self._lock = lock
        self._started = time.monotonic()
        self._open = True
        self._pid = os.getpid()

    def commit(self, value: Any) -> Entry:
        """Store the value and the files under the key.

        Args:
            value: JSON.

        Raises:
            ResultError: the value, a label or the provenance is not JSON; nothing was stored.
            LeaseLostError: somebody else took the key over; nothing was stored.
            CacheError: this claim has ended.
        """
        if not self._open:
            raise CacheError(f"the claim on {self.context.key[:12]} has ended: claim it again")
        took = time.monotonic() - self._started - self.context.waited
        row = commit(self.context, value=value, duration=took)
        self._cache.leases.forget(self.context.lease)
        self._cache.documents.flush()
        if self._cache.elsewhere is not None:
            self._cache.elsewhere.committed(self.context.key)
        self._open = False
        self._lock.release(remove=True)
        return Entry(row, self._cache.blobs, hit=False)

    def abandon(self) -> None:
        """Give the key up without a result. Scratch files stay for the next try."""
        if not self._open or os.getpid() != self._pid:  # a fork's copy: the claim is its parent's
            return
        self._open = False
        self.context.keep_action()
        # Files first: where the disk is full, releasing may need their room.
        shutil.rmtree(self.context.directory, ignore_errors=True)
        try:
            self._cache.leases.release(self.context.lease)
        finally:
            scratch = self.context.scratch
            self._lock.release(remove=not scratch.exists() or not any(scratch.iterdir()))

    def runs(self, directory: Path) -> bool:
        """Whether this process is running the key of a job directory by this claim."""
        return self._open and self._pid == os.getpid() and self._lock.directory == directory

    def __enter__(self) -> Self:
        _ENTERED.set((*_ENTERED.get(), self))
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # Without a token: it may be left in another context than it was entered in.
        _ENTERED.set(tuple(claim for claim in _ENTERED.get() if claim is not self))
        self.abandon()


_ENTERED: Final[ContextVar[tuple[Claim, ...]]] = ContextVar("motools_claims", default=())
"""The claims inside whose blocks this code runs; what it starts inherits them."""


def refuse_own(cache: Cache, key: str) -> None:
    """Refuse to wait for a key that is run by who asks.

    Raises:
        CacheError: the run of the key asks for it, directly or through what it calls.
    """
    directory = cache.root / layout.JOBS / key
    if any(claim.runs(directory) for claim in _ENTERED.get()):
        raise CacheError(
            f"{key[:12]} is asked for by its own run, which would wait for itself for ever: a "
            "cached function cannot call itself with the same arguments, directly or through "
            "others. Call it with other arguments, or move what it shares into a plain function"
        )


@dataclass(frozen=True)
class Wanted:
    """What a caller asked for, and the newest generation it knew of then."""

    action: Action
    seen: int
    refresh: bool
    report: Report | None
    provenance: Mapping[str, Any]

    def report_loss(self, why: str) -> None:
        """Tell the caller that its lease is lost."""
        try:
            if self.report is not None:
                self.report(why, {"lease": "lost"})
        except Exception:  # noqa: BLE001 - the heartbeat calls this, and beats for others too
            _log.exception("the report of a lost lease failed: %s", why)


def take(cache: Cache, wanted: Wanted, timeout: float | None) -> Entry | Claim:
    """The right to make an entry, or the entry if another runner makes it meanwhile.

    Args:
        cache: where it is to be.
        wanted: what.
        timeout: seconds to wait for another runner; None: for ever.

    Raises:
        LeaseTimeoutError: another runner did not finish in time.
        CacheError: it would wait for itself.
    """
    # What would keep a result from being stored stops it before the run, not after.
    check_json(wanted.provenance, "provenance")
    _ = cache.signer
    key, report = wanted.action.key, wanted.report
    deadline = None if timeout is None else time.monotonic() + timeout
    pause, say_at = _FIRST_WAIT, 0.0
    with stoppable() as check:
        while True:
            check()
            claim = _try_take(cache, wanted)
            if claim is not None:
                return claim
            if deadline is not None and time.monotonic() >= deadline:
                raise LeaseTimeoutError(f"{_who_holds(cache, key)}; gave up after {timeout:g} s")
            refuse_own(cache, key)
            if report is not None and time.monotonic() >= say_at:
                report(_who_holds(cache, key), {"waiting": key})
                say_at = time.monotonic() + _SAY_EVERY
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_WAIT)


def _try_take(cache: Cache, wanted: Wanted) -> Entry | Claim | None:
    if cache.index.generation(wanted.action.key) > wanted.seen:
        return cache.index.get(wanted.action.key)  # another runner has finished meanwhile
    lock = JobLock.try_take(cache.root / layout.JOBS / wanted.action.key)
    if lock is None:
        return None
    try:
        return _take_locked(cache, lock, wanted)
    except BaseException:
        lock.release(remove=False)
        raise


def _take_locked(cache: Cache, lock: JobLock, wanted: Wanted) -> Entry | Claim | None:
    lease = cache.leases.try_take(
        wanted.action.key, wanted.report_loss, reads=digests_in(wanted.action.canonical.decode())
    )
    if lease is None:
        lock.release(remove=False)
        return None
    try:
        if cache.index.generation(wanted.action.key) <= wanted.seen:
            return Claim(_context(cache, lock, lease, wanted), lock)
    except BaseException:
        cache.leases.release(lease)
        raise
    cache.leases.release(lease)
    lock.release(remove=True)
    return cache.index.get(wanted.action.key)


def _context(cache: Cache, lock: JobLock, lease: Lease, wanted: Wanted) -> RunContext:
    files, scratch = lock.directory / FILES, lock.directory / SCRATCH
    with unavailable(f"cannot make {lock.directory} ready"):
        if files.exists():
            shutil.rmtree(files)
        files.mkdir()
        scratch.mkdir(exist_ok=True)
        # Of a runner that is killed, this says what it ran.
        (lock.directory / ACTION).write_bytes(wanted.action.canonical)
    return RunContext(
        action=wanted.action,
        directory=files,
        scratch=scratch,
        lease=lease,
        lock_fds=(lock.descriptor,),
        cache=cache,
        send_report=wanted.report,
        refresh=wanted.refresh,
        provenance={**_circumstances(), **wanted.provenance},
    )


def _who_holds(cache: Cache, key: str) -> str:
    holder = cache.leases.holder(key)
    if holder is None:
        return f"{key[:12]} is being taken up or put down by another process"
    state = (
        f"no sign of life for {holder.silent:.0f} s: continue it or end it"
        if holder.silent
        else "alive"
    )
    return f"{key[:12]} is run by {holder.name} ({state})"


def _circumstances() -> dict[str, Any]:
    from motools.version import __version__

    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "motools": __version__,
    }
