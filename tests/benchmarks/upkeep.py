"""Upkeep of a cache of 100,000 entries: whole commands, and what they take of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from motools.cache import Action, Cache
from tests.benchmarks.figures import Figure
from tests.benchmarks.filling import Made, fill

ENTRIES = 100_000
_KINDS = ("model", "eval", "dataset", "function")
_LIST = ("list", "all", "--limit", "20")
_STATUS = ("status",)
_PRUNE = ("prune", "--max-size", "13MB", "--spare", "0s", "--dry-run", "--format", "csv")

_VERIFY = ("verify",)

_COMMAND = """
import json, os, resource, sys, time
from motools.cli import app
started = time.perf_counter()
sys.stdout = sys.stderr = open(os.devnull, "w")
try:
    app(["cache", *sys.argv[1:]])
except SystemExit as end:
    assert end.code == 0, end.code
seconds = time.perf_counter() - started
if os.path.exists("/proc/self/status"):  # ru_maxrss is also that of who started it
    most = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1e3
else:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps({"seconds": seconds, "mb": most}), file=sys.__stdout__)
"""


def upkeep() -> list[Figure]:
    """``list`` of the newest 20, ``prune --dry-run``, ``status`` and ``verify``, without imports.

    The remote is a directory, so that its network is not what is measured. The first
    status on a machine reads the remote's whole index, and is shown for itself.
    """
    with tempfile.TemporaryDirectory() as place:
        cache = Cache.open(Path(place) / "cache")
        fill(cache, (_made(number) for number in range(ENTRIES)))
        cache.close()
        _run(place, ("remote", "add", "shared", f"{place}/remote"))
        _run(place, ("push",))
        figures = [_figure("status, the first", "no limit", [_run(place, _STATUS)])]
        for what, arguments, limit in (
            ("status", _STATUS, 3.0),
            ("prune --dry-run", _PRUNE, 2.0),
            ("list 20", _LIST, 0.3),
            ("verify", _VERIFY, 10.0),
        ):
            found = [_run(place, arguments) for _ in range(3)]
            figures.append(_figure(what, f"limit {limit:g} s", found))
        return figures


def _figure(what: str, limit: str, found: list[tuple[float, float]]) -> Figure:
    seconds, most = sorted(found)[len(found) // 2]
    note = f"of {ENTRIES:,} entries; {limit}; {most:.0f} MB, limit 300"
    return Figure(what, "motools", seconds, note)


def _made(number: int) -> Made:
    kind = _KINDS[number % len(_KINDS)]
    action = Action(kind, {"base_model": "b" * 64}, {"n": number}, {"name": "bench", "recipe": 1})
    # One in a hundred is large, and the budget has some of these go.
    data = f"{number} ".encode() * (100 if number % 100 == 0 else 1)
    return Made(action, {"n": number}, {"file": data}, {"model_id": str(number)})


def _run(place: str, arguments: tuple[str, ...]) -> tuple[float, float]:
    command = [sys.executable, "-c", _COMMAND, *arguments, "--cache-dir", f"{place}/cache"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    found = json.loads(done.stdout)
    return found["seconds"], found["mb"]
