"""The host: a process that holds loaded models for all evaluations of this one.

An evaluation runs in a process of its own, but ten evaluations of one model
should load it once and answer their samples in common batches. So the models
are in one child process of the process that starts evaluations; each evaluation
gets one end of a socket whose other end is handed to the host. The host starts
when it is first needed, dies with this process, and ends when it was idle for
a while or at :func:`release`, so that the memory comes back.

One that is to load quantised models imports bitsandbytes, so it is never forked.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from motools.errors import WorkerError
from motools.training.local.models import IMPORTS, OFFLINE
from motools.worker import run_worker

IDLE_SECONDS: Final = 60.0
"""How long a host waits for another evaluation. A training may need the memory."""

ENDED: Final = "the process that holds the models ended"
"""What an error says of an evaluation whose host was gone before it was over."""

_MODULE: Final = "motools.training.local.hosted"
_CONNECT: Final = b"connect"
_RELEASE: Final = b"release"
_PARTING_SECONDS: Final = 10.0


class Host:
    """A host that was started.

    Args:
        quantised: whether it can load models that are quantised.

    Attributes:
        log: what it prints; removed when it ends as it should.
        pid: of its process; None until it has answered once.
    """

    def __init__(self, *, quantised: bool) -> None:
        self.quantised = quantised
        self.pid: int | None = None
        handle, name = tempfile.mkstemp(prefix="motools-host-", suffix=".log")
        os.close(handle)
        self.log = Path(name)
        self._control, theirs = socket.socketpair()
        self._answers = self._control.makefile("rb")
        self._ended: WorkerError | None = None
        self._thread = threading.Thread(target=self._run, args=(theirs,), daemon=True)
        self._thread.start()

    def connect(self) -> socket.socket | None:
        """One end of a connection to it; None when it has ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            answer = self._ask(_CONNECT, theirs.fileno())
        if answer is None:
            ours.close()
            return None
        self.pid = answer["pid"]
        return ours

    def release(self) -> tuple[int, bool]:
        """Have it drop its models: how many bytes they took, and whether it has ended.

        It goes on while evaluations are connected, and keeps the models that they use.
        """
        answer = self._ask(_RELEASE)
        if answer is None:
            return 0, True
        if answer["ended"]:
            self._thread.join()
        return answer["bytes"], answer["ended"]

    def failure(self, seconds: float | None = None) -> WorkerError | None:
        """Why it has ended; None if it has not failed, or not ended in so many seconds."""
        self._thread.join(seconds)
        return self._ended

    def forget(self) -> None:
        """Close what belongs to it, in a process that was forked off its holder."""
        self._answers.close()
        self._control.close()

    def discard_log(self) -> None:
        """Remove its log, unless it failed."""
        if self._ended is None:
            self.log.unlink(missing_ok=True)

    def _ask(self, question: bytes, *descriptors: int) -> dict[str, Any] | None:
        try:
            socket.send_fds(self._control, [question], descriptors)
            line = self._answers.readline()
        except OSError:
            return None
        answer: dict[str, Any] | None = json.loads(line) if line else None
        return answer

    def _run(self, theirs: socket.socket) -> None:
        with theirs:
            try:
                run_worker(
                    _MODULE,
                    {"control": theirs.fileno(), "idle_seconds": IDLE_SECONDS},
                    log=self.log,
                    on_event=lambda _: None,
                    sockets=(theirs.fileno(),),
                    env=OFFLINE,
                    imports=() if self.quantised else IMPORTS,
                )
            except WorkerError as problem:
                self._ended = problem
        self.discard_log()


@contextmanager
def connection(*specs: Mapping[str, Any]) -> Iterator[socket.socket]:
    """One end of a connection to this process's host, which is started if there is none.

    What is said over it, see :mod:`motools.training.local.hosted`. At the end of the
    block the models that were asked for over it are no longer in use.

    Args:
        specs: of models that will be asked for; any that is quantised has to be here.

    Raises:
        WorkerError: the host cannot be started; or what was raised in the block says that it
            has ended: with why.
    """
    host, end = _connect(quantised=any(spec.get("quantization") for spec in specs))
    with end:
        try:
            yield end
        except WorkerError as problem:
            why = host.failure(_PARTING_SECONDS) if ENDED in str(problem) else None
            if why is None:
                raise
            raise type(problem)(f"{problem}\n{ENDED}: {why}") from problem
        finally:
            end.settimeout(_PARTING_SECONDS)
            with contextlib.suppress(OSError):  # it may have died
                end.shutdown(socket.SHUT_WR)
                while end.recv(4096):
                    pass


def _connect(*, quantised: bool) -> tuple[Host, socket.socket]:
    with _lock:
        for _ in range(2):  # a host that was idle may leave at this moment
            if not _hosts or (quantised and not _hosts[0].quantised):
                _hosts.insert(0, Host(quantised=quantised))
            end = _hosts[0].connect()
            if end is not None:
                return _hosts[0], end
            gone = _hosts.pop(0)
        raise gone.failure() or WorkerError("the host of models ended as soon as it was started")


def release() -> int:
    """Have the host drop the models that no evaluation uses, and end if it has no other.

    Returns:
        Bytes of the models that were dropped.
    """
    with _lock:
        size = 0
        for host in tuple(_hosts):
            dropped, ended = host.release()
            size += dropped
            if ended:
                _hosts.remove(host)
        return size


def _forget() -> None:
    """Start over in a forked process: the host is its parent's."""
    global _lock  # noqa: PLW0603  (a lock may be held by a thread that is not in the fork)
    _lock = threading.Lock()
    for host in _hosts:
        host.forget()
    _hosts.clear()


def _tidy() -> None:
    for host in _hosts:
        host.discard_log()


_lock = threading.Lock()
_hosts: Final[list[Host]] = []
"""The host of this process, if there is one; behind it, what was the host before."""

os.register_at_fork(after_in_child=_forget)
atexit.register(_tidy)
