"""Claims: a key that this process runs now."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from motools.cache.context import RunContext
from motools.cache.entry import Entry
from motools.cache.lease import JobLock

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

    def commit(self, value: Any) -> Entry:
        """Store the value and the files under the key.

        Args:
            value: JSON.

        Raises:
            LeaseLostError: somebody else took the key over; nothing was stored.
        """
        entry = self._store(self.context, value, time.monotonic() - self._started)
        self._open = False
        self._lock.release(remove=True)
        return entry

    def abandon(self) -> None:
        """Give the key up without a result. Scratch files stay for the next try."""
        if not self._open:
            return
        self._open = False
        try:
            self._release()
        finally:
            shutil.rmtree(self.context.directory, ignore_errors=True)
            self._lock.release(remove=not any(self.context.scratch.iterdir()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.abandon()
