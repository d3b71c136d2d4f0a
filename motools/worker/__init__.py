"""Worker processes: heavy work in a process of its own that dies with its holder.

Training and evaluation run in processes of their own, because torch and Inspect
keep state that two runs must not share, and because a run must be stoppable.
The holder calls :func:`run_worker`; the worker's module has a ``main`` and ends
with ``serve(main)``. They speak JSON lines: one request on the worker's standard
input, events on a pipe of its own; what the worker prints goes to a log file.

A worker never outlives its holder: standard input stays open for as long as
the holder lives, and at its end the worker leaves at once. It also inherits
the holder's lock, so nobody takes the work over while it still breathes.

A worker is a fresh interpreter, or is forked off a process that has imported
what it needs and has done nothing else: see :mod:`.fork_server`.
"""

from motools.worker.running import run_worker
from motools.worker.serving import Emit, Event, serve

__all__ = ["Emit", "Event", "run_worker", "serve"]
