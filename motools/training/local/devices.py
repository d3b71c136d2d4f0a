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
import itertools
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from motools.errors import TrainingError
from motools.training.protocol import Wait

Waiting: TypeAlias = Callable[[str, list[str]], None]
"""Told the device and what is ahead in its queue, whenever that has changed."""

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
    """A place at the head of the queue of one device or several.

    Attributes:
        devices: that the training may use, one for each of its processes.
        descriptors: of the place's locks; a worker that inherits them holds the place along.
    """

    devices: tuple[Device, ...]
    descriptors: tuple[int, ...]

    @property
    def visible(self) -> str:
        """What ``CUDA_VISIBLE_DEVICES`` is for a worker that uses them."""
        return ",".join(device.visible for device in self.devices if device.visible)


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
def place(
    what: str,
    waiting: Waiting,
    wait: Wait,
    *,
    count: int = 1,
    among: Sequence[Device] | None = None,
) -> Iterator[Place]:
    """Wait for devices, those with the shortest queues, and hold them.

    Args:
        what: shown to those who wait behind.
        waiting: told what is ahead.
        wait: waits.
        count: how many devices. A CPU counts as one for each of its cores.
        among: the devices to choose from; those of :func:`devices` by default.

    Raises:
        TrainingError: there are not so many, or the queue's directory cannot be written.
    """
    root = _root()
    try:
        tickets = _draw(root, devices() if among is None else among, count, what)
    except OSError as problem:
        raise TrainingError(
            f"cannot queue for a device in {root}: {problem.strerror}; point XDG_CACHE_HOME to a "
            "directory that can be written"
        ) from problem
    try:
        for queue, mine in itertools.groupby(tickets, lambda ticket: root / ticket.device.name):
            _wait(queue, list(mine), waiting, wait)
        yield Place(
            tuple(ticket.device for ticket in tickets),
            tuple(ticket.descriptor for ticket in tickets),
        )
    finally:
        for ticket in tickets:
            (root / ticket.device.name / str(ticket.number)).unlink(missing_ok=True)
            fcntl.flock(ticket.descriptor, fcntl.LOCK_UN)
            os.close(ticket.descriptor)


@dataclass(frozen=True)
class _Ticket:
    """A number in a device's queue, and the descriptor of its locked file."""

    device: Device
    number: int
    descriptor: int


def _wait(queue: Path, mine: list[_Ticket], waiting: Waiting, wait: Wait) -> None:
    """Wait until the device has room for all of these, which were drawn one after the other."""
    device, said = mine[0].device, list[str]()

    def arrived() -> bool:
        nonlocal said
        ahead = _ahead(queue, mine[0].number)
        here = len(ahead) + len(mine) <= device.room
        if not here and ahead != said:
            waiting(device.name, ahead)
            said = ahead
        return here

    wait(arrived)


def _draw(root: Path, among: Sequence[Device], count: int, what: str) -> list[_Ticket]:
    """Numbers in the shortest queues.

    One training at a time draws, and draws all of its numbers, so that who is
    before another in one queue is so in all: nobody waits in a circle, and a
    sweep which starts at once spreads over all devices. Numbers only rise: a
    file's name never comes to mean another place.
    """
    if count > (room := sum(device.room for device in among)):
        raise TrainingError(
            f"devices={count}: this machine has {room} ({', '.join(d.name for d in among)}; "
            "a CPU has one for each core)"
        )
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / _LOCK) as lock:
        number = int(os.pread(lock, _DIGITS, 0) or 0)
        os.pwrite(lock, f"{number + count:0{_DIGITS}}".encode(), 0)
        chosen = _shortest(root, among, count)
        return [_join(root, device, number + 1 + at, what) for at, device in enumerate(chosen)]


def _shortest(root: Path, among: Sequence[Device], count: int) -> list[Device]:
    """The devices with the least ahead, none more often than it has room."""
    seats = [
        (waiting + seat, at, device)
        for at, device in enumerate(among)
        for waiting in [len(_ahead(root / device.name)) - device.room]
        for seat in range(device.room)
    ]
    chosen = sorted(seats, key=lambda seat: seat[:2])[:count]
    return [device for _, _, device in sorted(chosen, key=lambda seat: seat[1])]


def _join(root: Path, device: Device, number: int, what: str) -> _Ticket:
    queue = root / device.name
    queue.mkdir(exist_ok=True)
    draft = queue / f".{number}"
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, what.encode())
    draft.replace(queue / str(number))  # a place is locked from its first moment
    return _Ticket(device, number, descriptor)


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
