"""The holder's side of forking: one process that has imported what its workers need.

Importing torch and its kin takes seconds, and a sweep starts hundreds of workers. So
the holder starts a process that imports and does nothing else (:mod:`.forking`), and
workers are forked off it: each is like a fresh interpreter that has just done its
imports. Where it would not be, a fresh one is started: on a system other than Linux,
or when what was imported has started threads or opened files.

It is the holder's own, dies with it, and leaves when it was idle for a while. A new one
takes its place when a file that it imported has changed, or what it was started in.
What becomes of it is nothing to workers that are there already.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final, TypeAlias

from motools.stopping import stoppable
from motools.worker.lifelines import Lifeline
from motools.worker.process import Start

IDLE_SECONDS: Final = 300.0
"""How long a server waits for another order before it gives its memory back."""

_LATE: Final = ("CUDA_VISIBLE_DEVICES", "MOTOOLS_", "PYTEST_CURRENT_TEST")
"""Beginnings of names of variables that nothing reads when it is imported."""

_ATTEMPTS: Final = 3
_ANSWER: Final = 4096
_STATUS_SECONDS: Final = 10.0

_Setting: TypeAlias = tuple[object, ...]


def fork(start: Start, imports: tuple[str, ...]) -> Forked | str:
    """A worker with its imports done.

    Args:
        start: what it is started with.
        imports: modules, as :func:`.run_worker` takes them.

    Returns:
        The worker, or why it has to be a fresh interpreter.

    Raises:
        StoppedError: this process was interrupted.
    """
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return f"this is {sys.platform}, where a fork is not safe or cannot be watched"
    setting = _setting(start)
    for _ in range(_ATTEMPTS):
        server = _current(imports[0], start, setting)
        worker = server.fork(start, imports)
        if worker is not None:
            return worker
        if server.unfit is not None:
            return server.unfit
        _retire(imports[0], server)
    return "files that are imported keep changing, or what forks is ended"


class Forked:
    """A worker that was forked off a server.

    Attributes:
        pid: of its process.
    """

    def __init__(self, pid: int, process: int, channel: socket.socket) -> None:
        self.pid = pid
        self._process = process
        self._channel = channel
        self._channel.settimeout(_STATUS_SECONDS)

    def terminate(self) -> None:
        """See :class:`.process.Process`."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGTERM)

    def kill(self) -> None:
        """See :class:`.process.Process`."""
        if not self.wait(0):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> bool:
        """See :class:`.process.Process`."""
        watched = select.poll()
        watched.register(self._process, select.POLLIN)
        return bool(watched.poll(None if seconds is None else seconds * 1000))

    def status(self) -> int | None:
        """See :class:`.process.Process`."""
        try:
            answer = self._channel.recv(_ANSWER)
        except TimeoutError:
            return None  # its server is stopped
        return json.loads(answer)["status"] if answer else None

    def close(self) -> None:
        """See :class:`.process.Process`."""
        os.close(self._process)
        self._channel.close()


class Server:
    """A process that forks.

    Attributes:
        setting: what it was started in; what is forked off it has to be started in the same.
        unfit: why nothing can be forked off it; None as far as is known.
    """

    def __init__(self, start: Start, setting: _Setting) -> None:
        self.setting = setting
        self.unfit: str | None = None
        self._answered = False
        self._line = Lifeline()
        self._control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*_COMMAND, str(theirs.fileno()), str(IDLE_SECONDS)],
                stdin=self._line.reader,
                stdout=start.output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                cwd=start.directory if _paths_are_relative(start) else "/",
                env=start.environment,
                start_new_session=True,
            )
        os.close(self._line.reader)
        # It leaves when it likes, and would stay in the list of processes until it is waited for.
        threading.Thread(target=self.process.wait, daemon=True).start()

    def fork(self, start: Start, imports: tuple[str, ...]) -> Forked | None:
        """A worker; None when there can be none, or this server has ended or has to."""
        if self.unfit is not None:
            return None
        answer, process, channel = self._ask(start, imports)
        if "pid" in answer:
            self._answered = True
            return Forked(answer["pid"], process, channel)
        channel.close()
        if not answer and not self._answered:
            self.unfit = "the process that forks has ended while it imported"
        elif "unfit" in answer:
            self.unfit = answer["unfit"]
            self.end()
        return None

    def retire(self) -> None:
        """Take no more orders; it ends after its workers."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        """End it. Its workers go on."""
        self._line.close()
        self._control.close()
        self.process.wait()

    def forget(self) -> None:
        """Close what belongs to it, in a process that was forked off its holder."""
        self._control.close()
        self.process.returncode = 0  # it is no child of this process

    def _ask(
        self, start: Start, imports: tuple[str, ...]
    ) -> tuple[dict[str, Any], int, socket.socket]:
        """What an order is answered, nothing if by nobody; the worker's descriptor; the channel."""
        channel, theirs = socket.socketpair()
        answer, passed = b"", list[int]()

        def give_up() -> None:
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)

        try:
            with stoppable(give_up) as check:
                with contextlib.suppress(ConnectionError):
                    with theirs:
                        socket.send_fds(self._control, [b"o"], [theirs.fileno()])
                    _send(channel, start, imports)
                    answer, passed, _, _ = socket.recv_fds(channel, _ANSWER, 1)
                check()
        except BaseException:
            channel.close()
            for descriptor in passed:
                os.close(descriptor)
            raise
        return json.loads(answer or b"{}"), passed[0] if passed else -1, channel


def _send(channel: socket.socket, start: Start, imports: tuple[str, ...]) -> None:
    descriptors = {0: start.stdin, 1: start.output, 2: start.output}
    descriptors.update((each, each) for each in start.inherited)
    order = {
        "imports": imports,
        "module": start.module,
        "environment": dict(start.environment),
        "directory": str(start.directory),
        "descriptors": list(descriptors),
    }
    data = json.dumps(order).encode() + b"\n"
    sent = socket.send_fds(channel, [data], list(descriptors.values()))
    channel.sendall(data[sent:])


def _setting(start: Start) -> _Setting:
    """All that a process has from the one that starts it."""
    variables = {n: v for n, v in start.environment.items() if not n.startswith(_LATE)}
    return (
        variables,
        start.directory if _paths_are_relative(start) else None,
        [line for line in Path("/proc/self/status").read_text().splitlines() if "Umask" in line],
        os.sched_getaffinity(0),
        os.getpriority(os.PRIO_PROCESS, 0),
        [resource.getrlimit(getattr(resource, limit)) for limit in _LIMITS],
    )


def _paths_are_relative(start: Start) -> bool:
    """Whether where modules are found depends on the working directory."""
    paths = start.environment.get("PYTHONPATH", "")
    return bool(paths) and not all(map(os.path.isabs, paths.split(os.pathsep)))


def _current(name: str, start: Start, setting: _Setting) -> Server:
    """The server of this process that has imported this module, started if there is none."""
    with _lock:
        server = _servers.get(name)
        if server is not None and server.setting != setting:
            _drop(name)
            server = None
        if server is None:
            server = _servers[name] = Server(start, setting)
        return server


def _retire(name: str, server: Server) -> None:
    with _lock:
        if _servers.get(name) is server:
            _drop(name)


def _drop(name: str) -> None:
    _retired[:] = [server for server in _retired if server.process.poll() is None]
    server = _servers.pop(name)
    server.retire()
    _retired.append(server)


def _forget() -> None:
    """Start over in a forked process: the servers are its parent's."""
    global _lock  # noqa: PLW0603  (a lock may be held by a thread that is not in the fork)
    _lock = threading.Lock()
    for server in (*_servers.values(), *_retired):
        server.forget()
    _servers.clear()
    _retired.clear()


def _end() -> None:
    for server in (*_servers.values(), *_retired):
        server.end()


_COMMAND: Final = (sys.executable, "-u", "-P", "-m", "motools.worker.forking")
_LIMITS: Final = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
_lock = threading.Lock()
_servers: Final[dict[str, Server]] = {}
"""By the first module that each imports."""

_retired: Final[list[Server]] = []
"""Servers that take no more orders, and end after their last worker."""

os.register_at_fork(after_in_child=_forget)
atexit.register(_end)
