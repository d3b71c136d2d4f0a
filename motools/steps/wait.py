"""Waiting: the one place below the tasks that sleeps between questions.

A :class:`Poller` asks after any number of jobs from one thread. A job that has
not ended is asked after again with a growing pause, or when its provider said.
A thread that may block asks with :func:`until`. For a key that another process
runs, see :func:`claim_when_free`; a thread that may block waits inside
:meth:`motools.cache.Cache.get_or_run` itself.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from motools.cache.claim import refuse_own
from motools.cache.entry import Entry
from motools.errors import LeaseTimeoutError
from motools.stopping import stoppable

if TYPE_CHECKING:
    from motools.cache import Action, Cache, Claim
    from motools.cache.context import Report

T = TypeVar("T")

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 1.0


@dataclass(frozen=True)
class Again:
    """The answer of a job that has not ended.

    Attributes:
        after: seconds until it should be asked after again, when the provider says so.
    """

    after: float | None = None


@dataclass(frozen=True)
class Done(Generic[T]):
    """The answer of a job that has ended.

    Attributes:
        value: what it came to.
    """

    value: T


Question: TypeAlias = Callable[[], Again | Done[T]]


def until(holds: Callable[[], bool]) -> None:
    """Block until a question is answered with yes, asking with a growing pause.

    Args:
        holds: asks, quickly; what it raises ends the waiting.

    Raises:
        StoppedError: this process was interrupted.
    """
    pause = _FIRST_PAUSE
    with stoppable() as check:
        while True:
            check()  # first: what stops here ends what others wait for
            if holds():
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def pause(seconds: float) -> None:
    """Block for so long.

    Raises:
        StoppedError: this process was interrupted.
    """
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end)


class Poller:
    """Asks after many jobs from few threads, which end when there are none.

    Args:
        first: seconds before a job is asked after for the second time.
        longest: the pause that growing ones stop at, in seconds.
        growth: how much longer each pause is than the one before.
        threads: how many ask at once, so that a slow answer does not hold up all others.
    """

    def __init__(
        self, first: float = 1.0, longest: float = 60.0, growth: float = 1.5, threads: int = 4
    ) -> None:
        self._first = first
        self._longest = longest
        self._growth = growth
        self._most = threads
        self._start_anew()

    def _start_anew(self) -> None:
        self._due: list[tuple[float, int, float, Question[Any], Future[Any]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._asking = 0
        self._watched = 0
        """Questions that have no answer yet, also those that are being asked."""
        self._pid = os.getpid()

    def watch(self, question: Question[T]) -> Future[T]:
        """Ask until the job has ended.

        Args:
            question: asks after one job, quickly; an exception it raises ends the watch.

        Returns:
            A future of what the job came to; cancelling it ends the watch.
        """
        future: Future[T] = Future()
        if self._pid != os.getpid():  # the parent's questions and threads stayed with the parent
            self._start_anew()
        with self._changed:
            self._push(time.monotonic(), self._first, question, future)
            self._watched += 1
            if self._asking < min(self._most, self._watched):
                self._asking += 1
                threading.Thread(target=self._ask, name="motools-poller", daemon=True).start()
            self._changed.notify()
        return future

    def _push(self, at: float, pause: float, question: Question[Any], future: Future[Any]) -> None:
        heapq.heappush(self._due, (at, next(self._order), pause, question, future))

    def _next(self) -> tuple[float, Question[Any], Future[Any]] | None:
        with self._changed:
            while self._due:
                at, _, pause, question, future = self._due[0]
                left = at - time.monotonic()
                if left <= 0:
                    heapq.heappop(self._due)
                    return pause, question, future
                self._changed.wait(left)
            self._asking -= 1
            return None

    def _ask(self) -> None:
        while (found := self._next()) is not None:
            pause, question, future = found
            if future.cancelled():
                self._end(future, None)
                continue
            try:
                answer = question()
            except Exception as problem:  # noqa: BLE001
                # Not swallowed: it belongs to whoever waits for this job.
                self._end(future, problem)
                continue
            if isinstance(answer, Done):
                self._end(future, answer.value)
                continue
            # Spread, so that jobs submitted together are not asked after together.
            spread = random.uniform(0.9, 1.1)  # noqa: S311
            wait = pause * spread if answer.after is None else answer.after
            with self._changed:
                longer = min(pause * self._growth, self._longest)
                self._push(time.monotonic() + wait, longer, question, future)

    def _end(self, future: Future[Any], outcome: Any) -> None:
        with self._changed:
            self._watched -= 1
        _settle(future, outcome)


async def claim_when_free(
    cache: Cache,
    action: Action,
    *,
    refresh: bool = False,
    report: Report | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Entry | Claim:
    """:meth:`motools.cache.Cache.claim` without blocking the event loop.

    Args:
        cache: where.
        action: what is wanted.
        refresh: run although there is an entry.
        report: receives progress; is told once when there is something to wait for.
        provenance: recorded with the entry.

    Raises:
        CacheError: the run of this action is asking for it.
    """
    seen = cache.index.generation(action.key)
    pause = _FIRST_PAUSE
    while True:
        try:
            return cache.claim(
                action, refresh=refresh, report=report, provenance=provenance, timeout=0
            )
        except LeaseTimeoutError as busy:
            refuse_own(cache, action.key)
            if report is not None and pause == _FIRST_PAUSE:
                report(str(busy), {"waiting": action.key})
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        if refresh:
            # Whoever we waited for may have refreshed it: that is fresh enough.
            refresh = cache.index.generation(action.key) <= seen


def _settle(future: Future[Any], outcome: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
