"""Devices of this machine, and the queue before each of them.

Two trainings on one GPU would both run out of its memory, and two on one core
would take twice as long each. So every training takes a place in its device's
queue, and waits until it is first. Places are files in a directory that all
processes of a user share:

::

    ~/.cache/motools/devices/<machine>/
    ├── lock        the last number; held while one is drawn
    └── cpu/
        ├── 17      a place: what it is for; locked by its holder and its worker
        └── 18

The kernel drops the lock of a place when the last process that has it dies, so
a place whose lock is free is nobody's, and is passed over and removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from motools.errors import TrainingError

Waiting: TypeAlias = Callable[[str, list[str]], None]
"""Told the device and what is ahead in its queue, whenever that has changed."""

_PAUSE: Final = 0.2
_LOCK: Final = "lock"
_DIGITS: Final = 20
_GPU: Final = re.compile(r"nvidia\d+")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Device:
    """What trains.

    Attributes:
        name: ``cpu``, or ``cuda`` with the number or the identifier of the GPU.
        visible: what ``CUDA_VISIBLE_DEVICES`` is for a worker on it.
        room: how many trainings it takes at once; each takes one core of a CPU.
    """

    name: str
    visible: str
    room: int


@dataclass(frozen=True)
class Place:
    """A place at the head of a device's queue.

    Attributes:
        device: that the training may use.
        descriptor: of the place's lock; a worker that inherits it holds the place along.
    """

    device: Device
    descriptor: int


def devices() -> list[Device]:
    """The devices that this process may train on: its GPUs if it sees any, else the CPU.

    Told from the environment and from device files, since asking CUDA takes
    seconds and keeps memory on every GPU.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = sum(1 for path in Path("/dev").glob("nvidia*") if _GPU.fullmatch(path.name))
    named = [str(n) for n in range(count)] if given is None else given.split(",")
    gpus = [name.strip() for name in named if name.strip() and name.strip() != "-1"]
    if not count or not gpus:
        return [Device("cpu", "", _cores())]
    return [Device(f"cuda-{name}", name, 1) for name in gpus]


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def place(what: str, waiting: Waiting, among: list[Device] | None = None) -> Iterator[Place]:
    """Wait for a device, the one with the shortest queue, and hold it.

    Args:
        what: shown to those who wait behind.
        waiting: told what is ahead.
        among: the devices to choose from; those of :func:`devices` by default.

    Raises:
        TrainingError: the queue's directory cannot be written.
    """
    root = _root()
    try:
        choice, number, descriptor = _choose(root, among or devices(), what)
    except OSError as problem:
        raise TrainingError(
            f"cannot queue for a device in {root}: {problem.strerror}; point XDG_CACHE_HOME to a "
            "directory that can be written"
        ) from problem
    queue = root / choice.name
    try:
        _wait(queue, number, choice, waiting)
        yield Place(choice, descriptor)
    finally:
        (queue / str(number)).unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _wait(queue: Path, number: int, device: Device, waiting: Waiting) -> None:
    said: list[str] | None = None
    while len(ahead := _ahead(queue, number)) >= device.room:
        if ahead != said:
            waiting(device.name, ahead)
            said = ahead
        time.sleep(_PAUSE)


def _choose(root: Path, among: list[Device], what: str) -> tuple[Device, int, int]:
    """The device with the shortest queue, a number in it, and its locked file's descriptor.

    One at a time, so that a sweep which starts at once spreads over all devices.
    Numbers only rise: a file's name never comes to mean another place.
    """
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / _LOCK) as lock:
        number = int(os.pread(lock, _DIGITS, 0) or 0) + 1
        os.pwrite(lock, f"{number:0{_DIGITS}}".encode(), 0)
        choice = min(among, key=lambda each: len(_ahead(root / each.name)) - each.room)
        queue = root / choice.name
        queue.mkdir(exist_ok=True)
        draft = queue / f".{number}"
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, what.encode())
        draft.replace(queue / str(number))  # a place is locked from its first moment
    return choice, number, descriptor


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _ahead(queue: Path, number: int | None = None) -> list[str]:
    """What the places before a number are for, the first in the queue first."""
    found = []
    for each in sorted(_numbers(queue)):
        if number is not None and each >= number:
            break
        path = queue / str(each)
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(file.read().decode(errors="replace"))
            else:
                path.unlink(missing_ok=True)  # its holder died
    return found


def _numbers(queue: Path) -> list[int]:
    if not queue.is_dir():
        return []
    return [int(path.name) for path in queue.iterdir() if path.name.isdigit()]


def _root() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "motools" / "devices" / _UNSAFE.sub("_", platform.node() or "machine")
