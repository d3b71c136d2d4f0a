"""Claims: a key that this process runs now."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from motools.cache.context import RunContext
from motools.cache.entry import Entry
from motools.cache.lease import JobLock
from motools.errors import CacheError

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

    def __init__(
        self,
        context: RunContext,
        lock: JobLock,
        store: Callable[[RunContext, Any, float], Entry],
        release: Callable[[], None],
    ) -> None:
        self.context = context
        self._lock = lock
        self._store = store
        self._release = release
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
        entry = self._store(self.context, value, took)
        self._open = False
        self._lock.release(remove=True)
        return entry

    def abandon(self) -> None:
        """Give the key up without a result. Scratch files stay for the next try."""
        if not self._open or os.getpid() != self._pid:  # a fork's copy: the claim is its parent's
            return
        self._open = False
        self.context.keep_action()
        # Files first: where the disk is full, releasing may need their room.
        shutil.rmtree(self.context.directory, ignore_errors=True)
        try:
            self._release()
        finally:
            scratch = self.context.scratch
            self._lock.release(remove=not scratch.exists() or not any(scratch.iterdir()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.abandon()
