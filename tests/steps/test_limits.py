"""No more steps of a backend run at once than its limit, and hits wait for nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import EntryPoint
from itertools import accumulate
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.cache.slots import Slot
from motools.errors import CacheUnavailableError, SettingsError
from motools.settings import Settings
from motools.training import registry
from tests.cache.hosts import movable_clock, second_host
from tests.postgresql import BOTH
from tests.sweeps import plugin
from tests.sweeps.toy import noted_in
from tests.sweeps.trainer import train


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch, coordinator: str) -> None:
    entry = EntryPoint("toy", "tests.sweeps.toy:Toy", registry.GROUP)
    monkeypatch.setitem(registry._BUILT_IN, "toy", entry)
    monkeypatch.setenv("MOTOOLS_LIMITS", "{toy = 2}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def start(root: Path, *seeds: int, seconds: float) -> subprocess.Popen[bytes]:
    toy = {"TOY_LOG": str(root.parent / "log"), "TOY_SECONDS": str(seconds)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sweeps.trainer", root, *map(str, seeds)],
        env={**os.environ, **plugin.install(root.parent / "plugin"), **toy},
    )


def take_all(cache: Cache) -> list[Slot]:
    slots = []
    while (slot := Slot.try_take(cache, "toy", 2, None)) is not None:
        slots.append(slot)
    assert len(slots) == 2
    return slots


@BOTH
def test_never_more_than_the_limit(root: Path) -> None:
    Cache.open(root).close()
    processes = [start(root, *range(n, n + 3), seconds=0.1) for n in (0, 3)]
    assert [process.wait() for process in processes] == [0, 0]
    events = noted_in(root.parent / "log")
    assert len(events) == 2 * 6
    at_work = list(accumulate(1 if event == "begin" else -1 for event, _ in events))
    assert max(at_work) == 2


def test_only_what_runs_waits(root: Path) -> None:
    cache = Cache.open(root)
    made = train(cache, 0)
    slots = take_all(cache)
    assert train(cache, 0).hit
    found = []
    waits = threading.Thread(target=lambda: found.append(train(cache, 1)))
    waits.start()
    waits.join(2.0)
    assert not found
    slots[0].release()
    waits.join()
    assert found[0].duration < 2.0, "waiting is no work"
    assert not made.hit
    slots[1].release()
    assert not list((root / "jobs").iterdir())


def test_a_killed_holder_has_no_slots(root: Path) -> None:
    cache = Cache.open(root)
    process = start(root, 0, 1, seconds=60)
    log = root.parent / "log"
    while not log.exists() or len(noted_in(log)) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    assert Slot.try_take(cache, "toy", 2, None) is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    take_all(cache)


@BOTH
def test_slots_are_counted_over_hosts(root: Path, tmp_path: Path) -> None:
    here, there = Cache.open(root), Cache.open(second_host(root, tmp_path / "second"))
    with movable_clock() as clock:
        for cache in (here, there):
            assert Slot.try_take(cache, "toy", 2, None) is not None
        assert Slot.try_take(here, "toy", 2, None) is Slot.try_take(there, "toy", 2, None) is None
        clock.advance(here.settings.lease_seconds + 1)  # neither heartbeat has come since
        assert Slot.try_take(here, "toy", 2, None) is not None


def test_what_cannot_be_counted_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache.open(root)
    for number in range(2):
        (root / "jobs" / f"slot-toy-{number}").write_text("no directory")
    with pytest.raises(CacheUnavailableError, match="slot-toy-"):
        train(cache, 0)
    for limits, problem in (
        ({"toi": 2}, "limits: toi: no such field; did you mean 'toy'"),
        ({"toy": 0}, "limits: toy: 0 is not at least 1"),
    ):
        with pytest.raises(SettingsError, match=problem):
            train(Cache.open(root, settings=Settings(limits=limits)), 0)
    monkeypatch.setenv("MOTOOLS_LIMITS", "toy=2")
    with pytest.raises(SettingsError, match="write a table in one line"):
        Settings.load()
