"""The worker's side: the request comes in, events and an answer go out."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from motools.errors import MotoolsError

Event: TypeAlias = dict[str, Any]
Emit: TypeAlias = Callable[[Event], None]

EVENTS_FD: Final = "MOTOOLS_WORKER_EVENTS"
"""The environment variable that has the descriptor of the pipe for events."""


def serve(main: Callable[[Any, Emit], Any]) -> None:
    """Be the worker: receive the request, run ``main(request, emit)``, answer, and exit.

    Args:
        main: returns JSON; what it raises is reported to the holder.
    """
    events = os.fdopen(int(os.environ.pop(EVENTS_FD)), "w", buffering=1, encoding="utf-8")
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
