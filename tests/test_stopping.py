"""What is stopped: every block that has begun, and what begins inside it later."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from motools.errors import StoppedError
from motools.stopping import interruptible, stop, stoppable


def test_a_wait_that_begins_in_what_was_stopped_ends_at_once() -> None:
    inside, stopped, ended = threading.Event(), threading.Event(), []

    def work() -> None:
        with stoppable():
            with stoppable(lambda: ended.append("first")) as check:
                check()
                inside.set()
                stopped.wait(60)
                with pytest.raises(StoppedError):
                    check()
            with stoppable(lambda: ended.append("second")):
                ended.append("went on")

    with ThreadPoolExecutor() as threads:
        future = threads.submit(work)
        assert inside.wait(60)
        stop()
        stopped.set()
        with pytest.raises(StoppedError, match="run it again"):
            future.result(10)
    assert ended == ["first"]
    with stoppable() as check:
        check()


def test_one_block_is_stopped_and_others_go_on() -> None:
    inside, stopped, ended = threading.Event(), threading.Event(), list[str]()
    stops = []

    def work() -> None:
        with interruptible() as stop_it:
            stops.append(stop_it)
            with stoppable(lambda: ended.append("inner")) as check:
                inside.set()
                stopped.wait(60)
                check()

    with ThreadPoolExecutor() as threads, stoppable(lambda: ended.append("other")) as check:
        future = threads.submit(work)
        assert inside.wait(60)
        stops[0]()
        stopped.set()
        with pytest.raises(StoppedError):
            future.result(10)
        check()
    assert ended == ["inner"]
