"""The queue before a device: in order, seen by those who wait, and left by the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from motools.errors import TrainingError
from motools.steps.wait import until
from motools.training.local import devices
from motools.training.local.devices import Device

ONE = Device("one", "0", 1)
HOLDER = """
import os, subprocess, sys, time
from motools.steps.wait import until
from motools.training.local.devices import Device, place
with place("the holder", print, until, among=[Device("one", "0", 1)]) as held:
    worker = subprocess.Popen(["sleep", "60"], pass_fds=held.descriptors)
    print(worker.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


class Waiter(threading.Thread):
    """Waits for the device, notes what is ahead, and leaves when told."""

    def __init__(self, name: str, order: list[str], *among: Device, count: int = 1) -> None:
        super().__init__(daemon=True)
        self.what, self.order, self.among, self.count = name, order, among or (ONE,), count
        self.seen: list[tuple[str, list[str]]] = []
        self.waits, self.leave, self.has = (threading.Event() for _ in range(3))
        self.start()

    def run(self) -> None:
        with devices.place(self.what, self.note, until, count=self.count, among=self.among):
            self.order.append(self.what)
            self.has.set()
            self.leave.wait(60)

    def note(self, device: str, ahead: list[str]) -> None:
        self.seen.append((device, ahead))
        self.waits.set()


def test_those_who_wait_see_who_is_ahead_and_come_in_order() -> None:
    order: list[str] = []
    first = Waiter("a", order)
    assert first.has.wait(60)
    second = Waiter("b", order)
    assert second.waits.wait(60)
    third = Waiter("c", order)
    assert third.waits.wait(60)
    assert (second.seen, third.seen) == ([("one", ["a"])], [("one", ["a", "b"])])
    for waiter in (first, second, third):
        waiter.leave.set()
        waiter.join(60)
    assert order == ["a", "b", "c"]
    assert third.seen[1:] in ([], [("one", ["b"])])


def test_a_place_is_held_for_as_long_as_the_worker_lives() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    worker = int(holder.stdout.readline())
    holder.send_signal(signal.SIGKILL)
    holder.wait(60)
    waiter = Waiter("next", [])
    try:
        assert waiter.waits.wait(60)
        assert waiter.seen == [("one", ["the holder"])]
        assert not waiter.has.is_set()
    finally:
        os.kill(worker, signal.SIGKILL)
    assert waiter.has.wait(60), "a dead holder's place is nobody's"
    waiter.leave.set()
    waiter.join(60)


def test_a_device_takes_as_many_as_it_has_room_for_and_the_emptiest_is_chosen() -> None:
    two = Device("two", "1", 2)
    taken = [Waiter("x", []), *(Waiter("y", [], two) for _ in range(2))]
    for waiter in taken:
        assert waiter.has.wait(60)
    leaver = taken.pop()
    leaver.leave.set()
    leaver.join(60)
    with devices.place("z", pytest.fail, until, among=[ONE, two]) as place:
        assert place.devices == (two,)
    for waiter in taken:
        waiter.leave.set()


def test_places_on_several_devices_come_all_at_once_and_in_no_circle() -> None:
    """Two that want both devices, and one that wants either, each come to their turn."""
    both = (Device("left", "0", 1), Device("right", "1", 1))
    order: list[str] = []
    first = Waiter("a", order, *both, count=2)
    assert first.has.wait(60)
    second = Waiter("b", order, *reversed(both), count=2)
    assert second.waits.wait(60)
    third = Waiter("c", order, both[1])
    assert third.waits.wait(60)
    assert third.seen == [("right", ["a", "b"])]
    for waiter in (first, second, third):
        waiter.leave.set()
        waiter.join(60)
    assert order == ["a", "b", "c"]
    with devices.place("z", pytest.fail, until, count=2, among=both) as place:
        assert (place.visible, len(place.descriptors)) == ("0,1", 2)
    cores = Device("cpu", "", 4)
    with devices.place("z", pytest.fail, until, count=3, among=[cores]) as place:
        assert (place.devices, place.visible) == ((cores,) * 3, "")
    with (
        pytest.raises(TrainingError, match=r"devices=3: this machine has 2 \(left, right"),
        devices.place("z", pytest.fail, until, count=3, among=both),
    ):
        pass


def test_who_gives_up_leaves_the_queue() -> None:
    class Cancelled(BaseException):
        pass

    def cancel(holds: Callable[[], bool]) -> None:
        assert not holds()
        raise Cancelled

    first = Waiter("a", [])
    assert first.has.wait(60)
    with pytest.raises(Cancelled), devices.place("b", lambda *_: None, cancel, among=[ONE]):
        pass
    last = Waiter("c", [])
    assert last.waits.wait(60)
    assert last.seen == [("one", ["a"])]
    for waiter in (first, last):
        waiter.leave.set()
        waiter.join(60)


def test_the_environment_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    [cpu] = devices.devices()
    assert (cpu.name, cpu.visible, cpu.room >= 1) == ("cpu", "", True)


def test_a_directory_that_cannot_be_written_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    with (
        pytest.raises(TrainingError, match=r"cannot queue for a device in .*XDG_CACHE_HOME"),
        devices.place("z", pytest.fail, until, among=[ONE]),
    ):
        pass
