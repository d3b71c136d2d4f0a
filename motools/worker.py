"""Worker processes: heavy work in a process of its own that dies with its holder.

Training and evaluation run in fresh interpreters, because torch and Inspect
keep state that two runs must not share, and because a run must be stoppable.
The holder calls :func:`run_worker`; the worker's module ends with
``serve(main)``. They speak JSON lines: one request on the worker's standard
input, events on a pipe of its own; what the worker prints goes to a log file.

A worker never outlives its holder: standard input stays open for as long as
the holder lives, and at its end the worker leaves at once. It also inherits
the holder's lock, so nobody takes the work over while it still breathes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from motools.errors import MotoolsError, WorkerError
from motools.stopping import stoppable

Event: TypeAlias = dict[str, Any]
Emit: TypeAlias = Callable[[Event], None]

_EVENTS_FD: Final = "MOTOOLS_WORKER_EVENTS"
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
    error: type[WorkerError] = WorkerError,
) -> Any:
    """Run ``python -m module`` to its end and return what it returned.

    Args:
        module: a module that calls :func:`serve` when run.
        request: JSON that the worker's main function receives.
        log: file that takes the worker's standard output and error.
        on_event: called in this thread with every event the worker emits.
        lock_fds: descriptors of locks that the worker holds along.
        sockets: descriptors of sockets that the worker inherits, under their numbers.
        env: environment variables to set besides the inherited ones.
        directory: the worker's working directory; the holder's by default.
        error: what to raise when the worker fails.

    Raises:
        WorkerError: (as ``error``) the worker raised or died; the message has
            its last lines. When this call is interrupted, the worker is ended first.
        StoppedError: this process was interrupted.
    """
    reader, writer = os.pipe()
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", module],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(writer, *lock_fds, *sockets),
            cwd=directory,
            env={**os.environ, **(env or {}), _EVENTS_FD: str(writer)},
            start_new_session=True,
        )
    os.close(writer)
    outcome: Event = {}
    try:
        assert process.stdin is not None
        with stoppable(process.terminate) as check:
            _send(process.stdin, request)
            for event in _events(reader):
                if event.get("event") in ("result", "error"):
                    outcome = event
                else:
                    on_event(event)
            process.wait()
            if not outcome:
                check()
    finally:
        _end(process)
    if outcome.get("event") == "result":
        return outcome.get("value")
    raise error(_failure(module, process.returncode, outcome, log))


def serve(main: Callable[[Any, Emit], Any]) -> None:
    """Be the worker: receive the request, run ``main(request, emit)``, answer, and exit.

    Args:
        main: returns JSON; what it raises is reported to the holder.
    """
    events = os.fdopen(int(os.environ.pop(_EVENTS_FD)), "w", buffering=1, encoding="utf-8")
    lock = threading.Lock()

    def emit(event: Event) -> None:
        with lock:
            events.write(json.dumps(event) + "\n")

    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_holder, daemon=True).start()
    try:
        value = main(request, emit)
    except BaseException as problem:  # noqa: BLE001
        import traceback

        traceback.print_exc()
        ours = isinstance(problem, MotoolsError)
        name = type(problem).__name__
        emit({"event": "error", "type": name, "message": str(problem), "ours": ours})
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    emit({"event": "result", "value": value})
    events.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Interpreter shutdown with torch and asyncio loaded can take seconds or hang.
    os._exit(0)


def _leave_with_holder() -> None:
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


def _send(stdin: Any, request: Mapping[str, Any]) -> None:
    try:
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
    except BrokenPipeError:
        pass  # the worker died at birth: its exit status and log tell


def _events(reader: int) -> Iterator[Event]:
    with os.fdopen(reader, "r", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _failure(module: str, status: int, outcome: Event, log: Path) -> str:
    if outcome.get("event") == "error":
        kind = "" if outcome["ours"] else f"{outcome['type']}: "
        return f"{kind}{outcome['message']} (whole log: {log})"
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
    with open(log, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
        tail = stream.read().decode(errors="replace").strip()
    return f"worker {module} {how} (whole log: {log})\n{tail}"
