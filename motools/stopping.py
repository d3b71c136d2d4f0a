"""Stopping: a person interrupts this process, and what its threads have begun ends too.

An interrupt reaches the main thread alone. Threads that wait for a worker, a device
or another process would go on, and the process would wait for them. So they say here
what they wait for, and whoever is interrupted says so here.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Final

from motools.errors import StoppedError

_begun: Final[set[_Begun]] = set()
_around: Final[ContextVar[_Begun | None]] = ContextVar("around", default=None)


class _Begun:
    def __init__(self, end: Callable[[], None], around: _Begun | None) -> None:
        self.end = end
        self.around = around
        self.stopped = False

    def check(self) -> None:
        if self.stopped:
            raise StoppedError("it was interrupted: run it again to go on")
        if self.around is not None:
            self.around.check()

    def is_within(self, other: _Begun) -> bool:
        return self is other or (self.around is not None and self.around.is_within(other))


@contextmanager
def stoppable(end: Callable[[], None] = lambda: None) -> Iterator[Callable[[], None]]:
    """Say that a thread waits for something during the block.

    A block inside another is stopped with it, also where it begins later.

    Args:
        end: called, from another thread or a signal handler, to end what is waited for.

    Yields:
        A check to call between two looks.

    Raises:
        StoppedError: in the check, and where a block begins, once everything was stopped.
    """
    begun = _Begun(end, _around.get())
    _begun.add(begun)
    token = _around.set(begun)
    try:
        begun.check()
        yield begun.check
    finally:
        _around.reset(token)
        _begun.discard(begun)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Let a block be stopped alone, with all that is begun inside it.

    Yields:
        What stops it, from any thread; :class:`StoppedError` then ends what it waits for.
    """
    with stoppable():
        mine = _around.get()
        assert mine is not None

        def stop_mine() -> None:
            _stop([begun for begun in tuple(_begun) if begun.is_within(mine)])

        yield stop_mine


def stop() -> None:
    """Stop every block that has begun, and what begins inside it; others are not concerned."""
    _stop(tuple(_begun))


def _stop(begun: Sequence[_Begun]) -> None:
    for each in begun:
        each.stopped = True
        each.end()


def stop_at_interrupt() -> None:
    """Have an interrupt (Ctrl-C) stop everything, before it does what it does anyway.

    Nothing is changed outside the main thread, or where interrupts are handled by
    somebody else already.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number: int, frame: FrameType | None) -> None:
    stop()
    signal.default_int_handler(number, frame)
