"""The process that forks workers: ``python -m motools.worker.forking``.

It imports what an order names, and does nothing else but fork: no thread runs in it and
no descriptor is open besides its own, or it refuses. The kernel kills it when its
holder is gone.

::

    holder                                   here
      ── one byte, a channel's end ─────────►       over the control socket
      ── an order, descriptors ─────────────►       over the channel, as all that follows
      ◄── {"pid": …}, descriptor of it ──────       by the worker: it is there
      ◄── {"status": …} ─────────────────────       it has ended

An order may be answered ``{"changed": path}``, when a file is no longer what was
imported, or ``{"unfit": why}``.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, Final

from motools.worker.imported import Imported
from motools.worker.serving import serve

_STDIN: Final = 0
_STANDARD: Final = frozenset({0, 1, 2})
_CHUNK: Final = 1 << 16
_MOST: Final = 250


class Forking:
    """Takes orders over a control socket until its other end is closed, or nobody had any."""

    def __init__(self, control: int, idle_seconds: float) -> None:
        self._control = socket.socket(fileno=control)
        self._imported = Imported()
        self._idle_seconds = idle_seconds
        self._workers: dict[int, tuple[int, int]] = {}  # descriptor of a process -> pid, channel
        self._open = True

    def run(self) -> None:
        """Serve to the end."""
        while self._open or self._workers:
            ready = self._wait()
            if not ready and not self._workers:
                return
            for descriptor in ready:
                if descriptor in self._workers:
                    self._bury(descriptor)
                else:
                    self._take()

    def _wait(self) -> list[int]:
        watched = select.poll()
        for descriptor in [*self._workers, *([self._control.fileno()] if self._open else [])]:
            watched.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in watched.poll(self._idle_seconds * 1000)]

    def _take(self) -> None:
        byte, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        if not byte:
            self._open = False
            return
        with socket.socket(fileno=descriptors[0]) as channel:
            order, received = _order(channel)
            if order is not None:  # or else, who asked has given up
                self._carry_out(order, received, channel)
        for descriptor in received:
            os.close(descriptor)

    def _carry_out(
        self, order: dict[str, Any], received: list[int], channel: socket.socket
    ) -> None:
        self._imported.add(order["imports"])
        if (path := self._imported.changed()) is not None:
            _say(channel, changed=path)
        elif why := _unfit(self._control.fileno(), channel, received, self._workers):
            _say(channel, unfit=why)
        else:
            self._fork(order, received, channel)

    def _fork(self, order: dict[str, Any], received: list[int], channel: socket.socket) -> None:
        pid = os.fork()
        if pid == 0:
            self._control.detach()
            _work(order, received, channel)
        self._workers[os.pidfd_open(pid)] = pid, os.dup(channel.fileno())

    def _bury(self, descriptor: int) -> None:
        pid, channel = self._workers.pop(descriptor)
        _, status = os.waitpid(pid, 0)
        os.close(descriptor)
        with socket.socket(fileno=channel) as end:
            _say(end, status=os.waitstatus_to_exitcode(status))


def _order(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """An order and its descriptors; None instead when it does not come to its end."""
    data, received, _, _ = socket.recv_fds(channel, _CHUNK, _MOST)
    while data and not data.endswith(b"\n"):
        more = channel.recv(_CHUNK)
        data = data + more if more else b""
    return (json.loads(data) if data else None), received


def _say(channel: socket.socket, **what: Any) -> None:
    with contextlib.suppress(OSError):  # who asked has given up
        channel.sendall(json.dumps(what).encode() + b"\n")


def _unfit(
    control: int, channel: socket.socket, received: list[int], workers: dict[int, tuple[int, int]]
) -> str | None:
    """Why what is forked off this process would not be like a fresh interpreter."""
    threads = len(os.listdir("/proc/self/task")) - 1
    if threads:
        return f"its imports have started {threads} threads"
    channels = {channel for _, channel in workers.values()}
    ours = {*_STANDARD, control, channel.fileno(), *received, *workers, *channels}
    for descriptor in _descriptors():
        if descriptor not in ours:
            with contextlib.suppress(FileNotFoundError):  # of the listing itself
                return f"its imports have opened {os.readlink(f'/proc/self/fd/{descriptor}')}"
    return None


def _descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


def _work(order: dict[str, Any], received: list[int], channel: socket.socket) -> None:
    """Be the worker, in the process that was forked; does not return."""
    try:
        os.setsid()
        _name(order["module"])
        _announce(channel)
        channel.detach()
        _have(dict(zip(order["descriptors"], received, strict=True)))
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["directory"])
        if not os.environ.get("PYTHONSAFEPATH"):
            sys.path.insert(0, order["directory"])
        _seed()
        module = importlib.import_module(order["module"])
        sys.argv = [str(module.__file__)]
        serve(module.main)
    except BaseException:  # noqa: BLE001  (as an interpreter ends on it)
        traceback.print_exc()
    os._exit(1)


def _name(module: str) -> None:
    """What lists of processes call it, of which there is room for 15 bytes."""
    with open("/proc/self/comm", "w", encoding="utf-8") as name:
        name.write(".".join(module.split(".")[-2:]))


def _announce(channel: socket.socket) -> None:
    """Say that the worker is there. It says so itself: whoever hears it has a worker."""
    pid = os.getpid()
    try:
        socket.send_fds(channel, [json.dumps({"pid": pid}).encode() + b"\n"], [os.pidfd_open(pid)])
    except ConnectionError:  # who asked has given up
        os._exit(0)


def _have(wanted: dict[int, int]) -> None:
    """Have descriptors under the numbers that they are wanted under, and no others."""
    above = max(wanted) + 1
    moved = {
        number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, above)
        for number, descriptor in wanted.items()
    }
    for number, descriptor in moved.items():
        os.dup2(descriptor, number)
    for descriptor in _descriptors():
        if descriptor not in wanted:
            with contextlib.suppress(OSError):  # of the listing itself
                os.close(descriptor)


def _seed() -> None:
    """Have random numbers of its own, as an interpreter has; ``random`` sees to itself."""
    if (numpy := sys.modules.get("numpy.random")) is not None:
        numpy.seed()
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.seed()


def _die_with_holder() -> None:
    """Have the kernel kill this process when the other end of standard input is closed.

    Importing takes seconds, and a process that is stopped does not notice anything.
    """
    fcntl.fcntl(_STDIN, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(_STDIN, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(_STDIN, fcntl.F_SETFL, fcntl.fcntl(_STDIN, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([_STDIN], [], [], 0)[0]:  # it was closed before this
        os._exit(1)


if __name__ == "__main__":
    _die_with_holder()
    Forking(int(sys.argv[1]), float(sys.argv[2])).run()
    os._exit(0)
