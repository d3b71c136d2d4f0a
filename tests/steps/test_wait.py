"""Waiting: one thread asks after many jobs; async callers wait without blocking."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from motools.cache import Action, Cache, Claim, Entry
from motools.steps.wait import Again, Done, Poller, claim_when_free, until


class Job:
    """A job that ends after some questions, and notes when and where it was asked."""

    def __init__(self, questions: int, after: float | None = None) -> None:
        self.left = questions
        self.after = after
        self.asked: list[float] = []
        self.threads: set[int] = set()

    def __call__(self) -> Again | Done[int]:
        self.asked.append(time.monotonic())
        self.threads.add(threading.get_ident())
        self.left -= 1
        return Done(len(self.asked)) if self.left <= 0 else Again(self.after)


def test_few_threads_serve_hundreds_of_jobs() -> None:
    poller = Poller(first=0.005, longest=0.02, threads=3)
    jobs = [Job(questions=1 + number % 5) for number in range(300)]
    futures = [poller.watch(job) for job in jobs]
    assert [future.result(timeout=60) for future in futures] == [1 + n % 5 for n in range(300)]
    assert len(set.union(*(job.threads for job in jobs))) <= 3


def test_pauses_grow_up_to_the_longest() -> None:
    job = Job(questions=6)
    Poller(first=0.02, longest=0.08, growth=2).watch(job).result(timeout=60)
    pauses = [later - earlier for earlier, later in zip(job.asked, job.asked[1:], strict=False)]
    least = [0.018, 0.036, 0.072, 0.072, 0.072]
    assert all(pause >= bound for pause, bound in zip(pauses, least, strict=True)), pauses


def test_the_provider_says_when_to_ask_again() -> None:
    job = Job(questions=2, after=0.3)
    Poller(first=0.001, longest=0.001).watch(job).result(timeout=60)
    assert job.asked[1] - job.asked[0] >= 0.3


def test_an_exception_reaches_its_waiter_and_no_other() -> None:
    def broken() -> Again:
        raise ConnectionError("no route")

    poller = Poller(first=0.001)
    fine = poller.watch(Job(questions=3))
    with pytest.raises(ConnectionError, match="no route"):
        poller.watch(broken).result(timeout=60)
    assert fine.result(timeout=60) == 3


def test_a_cancelled_watch_ends_and_the_thread_too() -> None:
    poller = Poller(first=0.01, longest=0.01, threads=1)
    future = poller.watch(Job(questions=10**9))
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(timeout=1)
    asking = poller.watch(lambda: Done(threading.current_thread())).result(timeout=60)
    asking.join(timeout=60)
    assert not asking.is_alive()


def test_a_fork_asks_its_own_questions_and_not_its_parents() -> None:
    poller, asked = Poller(first=0.01, longest=0.01, threads=1), threading.Event()
    parent = os.getpid()

    def of_parent() -> Again | Done[None]:
        asked.set()
        return Again() if os.getpid() == parent else os._exit(2)

    future = poller.watch(of_parent)
    assert asked.wait(60)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if poller.watch(Job(questions=5)).result(timeout=30) == 5 else 1)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert future.cancel()


def test_a_thread_that_may_block_asks_with_growing_pauses_until_it_holds() -> None:
    job = Job(questions=5)
    until(lambda: isinstance(job(), Done))
    assert len(job.asked) == 5
    pauses = [later - earlier for earlier, later in zip(job.asked, job.asked[1:], strict=False)]
    assert all(pause >= bound for pause, bound in zip(pauses, [0.004, 0.009, 0.019], strict=False))


async def test_async_callers_wait_for_the_runner_without_blocking(tmp_path: Path) -> None:
    cache, action = Cache.open(tmp_path), Action("function", config={"n": 1})
    first = cache.claim(action)
    assert isinstance(first, Claim)
    told: list[str] = []
    waiter = asyncio.create_task(
        claim_when_free(cache, action, report=lambda message, fields: told.append(message))
    )
    ticks = 0
    while ticks < 20:
        await asyncio.sleep(0.005)
        ticks += 1
    assert not waiter.done()
    with first:
        first.commit("done")
    entry = await asyncio.wait_for(waiter, 60)
    assert isinstance(entry, Entry)
    assert entry.value == "done"
    assert len(told) == 1
    assert "is run by" in told[0]


async def test_a_refresh_that_waited_takes_the_fresh_result(tmp_path: Path) -> None:
    cache, action = Cache.open(tmp_path), Action("function", config={"n": 1})
    cache.get_or_run(action, lambda context: 1)
    first = cache.claim(action, refresh=True)
    assert isinstance(first, Claim)
    waiter = asyncio.create_task(claim_when_free(cache, action, refresh=True))
    await asyncio.sleep(0.05)
    with first:
        first.commit(2)
    entry = await asyncio.wait_for(waiter, 60)
    assert isinstance(entry, Entry)
    assert (entry.value, entry.generation) == (2, 2)
