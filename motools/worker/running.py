"""The holder's side: a worker is started, listened to, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from motools.errors import WorkerError
from motools.stopping import stoppable
from motools.worker import fork_server
from motools.worker.lifelines import Lifeline
from motools.worker.process import Fresh, Process, Start
from motools.worker.serving import EVENTS_FD, Emit, Event

_TAIL: Final = 4_000
_GRACE_SECONDS: Final = 10.0


def run_worker(
    module: str,
    request: Mapping[str, Any],
    *,
    log: Path,
    on_event: Emit,
    lock_fds: tuple[int, ...] = (),
    sockets: tuple[int, ...] = (),
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
    imports: tuple[str, ...] = (),
    error: type[WorkerError] = WorkerError,
) -> Any:
    """Run a worker to its end and return what it returned.

    Args:
        module: has a function ``main`` and calls :func:`.serve` with it when run.
        request: JSON that the worker's main function receives.
        log: file that takes the worker's standard output and error.
        on_event: called in this thread with every event the worker emits.
        lock_fds: descriptors of locks that the worker holds along.
        sockets: descriptors of sockets that the worker inherits, under their numbers.
        env: environment variables to set besides the inherited ones.
        directory: the worker's working directory; the holder's by default.
        imports: modules that take long to import, and do nothing but define things. The
            worker is forked off a process that has imported those which there are, where
            that gives what a fresh interpreter would; one process serves all whose first
            module is the same. Without any it is a fresh interpreter.
        error: what to raise when the worker fails.

    Raises:
        WorkerError: (as ``error``) the worker raised or died; the message has
            its last lines. When this call is interrupted, the worker is ended first.
        StoppedError: this process was interrupted.
    """
    outcome: Event = {}
    with contextlib.ExitStack() as ending, stoppable():
        line = Lifeline()
        ending.callback(line.close)
        reader, writer = os.pipe()
        events = ending.enter_context(os.fdopen(reader, "r", encoding="utf-8"))
        with open(log, "ab") as output:
            start = Start(
                module=module,
                environment={**os.environ, **(env or {}), EVENTS_FD: str(writer)},
                directory=directory or Path.cwd(),
                stdin=line.reader,
                output=output.fileno(),
                inherited=(writer, *lock_fds, *sockets),
            )
            try:
                process = _start(start, imports)
            finally:
                os.close(writer)
                os.close(line.reader)
        ending.callback(_end, process)
        with stoppable(process.terminate) as check:
            with contextlib.suppress(BrokenPipeError):  # it died at birth: status and log tell
                line.send(json.dumps(request).encode() + b"\n")
            for event in _read(events):
                if event.get("event") in ("result", "error"):
                    outcome = event
                else:
                    on_event(event)
            process.wait()
            if not outcome:
                check()
        if outcome.get("event") == "result":
            return outcome.get("value")
        raise error(_failure(module, process, outcome, log))


def _start(start: Start, imports: tuple[str, ...]) -> Process:
    if not imports:
        return Fresh(start)
    process = fork_server.fork(start, imports)
    if isinstance(process, str):
        os.write(
            start.output, f"[motools] not forked, but a fresh interpreter: {process}\n".encode()
        )
        return Fresh(start)
    return process


def _read(events: Any) -> Iterator[Event]:
    for line in events:
        if line.endswith("\n"):  # or else, the worker was killed while it wrote
            yield json.loads(line)


def _end(process: Process) -> None:
    if not process.wait(0):
        process.terminate()
        if not process.wait(_GRACE_SECONDS):
            process.kill()
            process.wait()
    process.close()


def _failure(module: str, process: Process, outcome: Event, log: Path) -> str:
    if outcome.get("event") == "error":
        kind = "" if outcome["ours"] else f"{outcome['type']}: "
        return f"{kind}{outcome['message']} (whole log: {log})"
    with open(log, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
        tail = stream.read().decode(errors="replace").strip()
    return f"worker {module} {_how(process.status())} (whole log: {log})\n{tail}"


def _how(status: int | None) -> str:
    if status is None:
        return "ended in a way that is not known, as the process that forked it was killed"
    if status >= 0:
        return f"exited with {status}"
    hint = ", as the kernel does where memory runs out" if -status == signal.SIGKILL else ""
    return f"was ended by {_name_of(-status)}{hint}"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of the real-time ones, most have no name
        return f"signal {number}"
