"""Sweeps that are all there already, and what a sweep adds to steps that are not."""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest import mock

from prefect import flow, task
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.client.orchestration import get_client
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.testing.utilities import prefect_test_harness

from motools.cache import Cache
from motools.steps import evaluate
from motools.sweeps.flow import flow_of
from motools.sweeps.planner import make_plan
from motools.sweeps.run import AT_ONCE, run_sweep
from motools.sweeps.sweep import Sweep
from motools.training import registry
from tests.benchmarks import swept
from tests.benchmarks.figures import Figure, median_of_each
from tests.sweeps.toy import score

_CELLS = 10_000
_CELLS_OF_PEERS = {"joblib.Memory": 1_000, "redun": 200, "Prefect INPUTS": 100}
_CELLS_THAT_MISS = 100

_PLAN = """
import json, resource, sys, time
from motools.cache import Cache
from motools.sweeps import document
from motools.sweeps.planner import make_plan
import motools.training.local.backend
clock, cpu = time.perf_counter(), time.process_time()
plan = make_plan(document.read("study.yaml"), Cache.open("cache"))
assert plan.done
clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
most /= 1e6 if sys.platform == "darwin" else 1e3
print(json.dumps({"seconds": clock, "cpu": cpu, "mb": most}))
"""


@flow
def _empty() -> None:
    """Nothing."""


def all_hits() -> list[Figure]:
    """A large sweep that is in the cache as a whole: its plan, a run, and peers' hits."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        made = swept.sweep(place, _CELLS)
        planned = _done_and_planned(made, place)
        seconds = planned.seconds
        alone = place / "alone"
        figures = [
            planned,
            replace(
                _done_and_planned(swept.sweep(alone, _CELLS, datasets=1), alone),
                who="motools, no two configs alike",
            ),
            Figure(
                f"plan {_CELLS:,} cells x {swept.STEPS} hits",
                "motools sweep plan",
                _command(place),
                "the whole process, its table written",
            ),
            *_run(made, place),
        ]
        what = "a hit in a sweep, per step"
        mine = seconds / (_CELLS * swept.STEPS)
        peers = {name: peer(place / name) for name, peer in _PEERS.items()}
    return [
        *figures,
        Figure(what, "motools plan", mine, f"of {_CELLS:,} cells"),
        *(Figure(what, n, s, f"of {_CELLS_OF_PEERS[n]:,} cells") for n, s in peers.items()),
    ]


def _done_and_planned(made: Sweep, place: Path) -> Figure:
    """The plan of a sweep once all of it is in the cache."""
    cache = Cache.open(place / "cache")
    swept.do(made, cache)
    cache.close()
    planned = [_planned(place) for _ in range(3)]
    return Figure(
        f"plan {_CELLS:,} cells x {swept.STEPS} hits",
        "motools",
        statistics.median(each["seconds"] for each in planned),
        f"after imports; {min(each['cpu'] for each in planned):.2f} s of CPU, "
        f"{max(each['mb'] for each in planned):.0f} MB",
    )


def all_misses() -> list[Figure]:
    """A sweep of steps that do nothing, beside tasks of Prefect's that do nothing."""
    entry = EntryPoint("toy", "tests.sweeps.toy:Toy", registry.GROUP)
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.dict(registry._BUILT_IN, {"toy": entry}),
        mock.patch.object(evaluate, "run", score),
    ):
        made = swept.sweep(Path(name), _CELLS_THAT_MISS, "toy")
        first, second = (Cache.open(Path(name) / place) for place in ("first", "second"))
        for cache in (first, second):
            make_plan(made, cache)  # to know a task takes an interpreter of its own, once
        times = {
            "motools sweep": _beyond_an_empty_flow(
                lambda: flow_of(made, cache=first),
                # One cell, so that what draws its plot is imported.
                lambda: flow_of(replace(made, grid={}), cache=second),
            ),
            "motools' cache alone": _seconds(lambda: _one_by_one(made, second)),
            "Prefect alone": _beyond_an_empty_flow(_nothing_much, _empty),
        }
    steps = _CELLS_THAT_MISS * swept.STEPS
    notes = {
        "motools sweep": f"{AT_ONCE} at once in threads, without the empty flow",
        "motools' cache alone": "one after the other: claimed, synced and committed",
        "Prefect alone": "the same tasks, empty, on the same runner",
    }
    what = f"a step that does nothing, of {steps}"
    return [Figure(what, who, seconds / steps, notes[who]) for who, seconds in times.items()]


def _beyond_an_empty_flow(run: Callable[[], object], before: Callable[[], object]) -> float:
    """Seconds, on a server of its own: one that was busy answers late for a while."""
    logging.disable(logging.INFO)
    with prefect_test_harness(server_startup_timeout=120):
        before()
        empty = min(_seconds(_empty) for _ in range(3))
        found = _seconds(run) - empty
    logging.disable(logging.NOTSET)
    return found


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _planned(place: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _PLAN],
        cwd=place,
        env=_environment(),
        check=True,
        capture_output=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _command(place: Path) -> float:
    command = [sys.executable, "-m", "motools", "sweep", "plan", "study.yaml"]
    return _seconds(
        lambda: subprocess.run(
            [*command, "--cache-dir", "cache"],
            cwd=place,
            env=_environment(),
            check=True,
            capture_output=True,
        )
    )


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
    }


def _run(made: Sweep, place: Path) -> list[Figure]:
    inside: list[float] = []

    @flow
    def run() -> None:
        cache = Cache.open(place / "cache")
        inside.append(_seconds(lambda: run_sweep(made, cache=cache)))

    logging.disable(logging.INFO)
    with prefect_test_harness(server_startup_timeout=120):
        _empty()
        medians = median_of_each({"motools sweep run": run, "an empty flow": _empty}, 3)
        with get_client(sync_client=True) as client:
            count = client._client.post("/task_runs/count", json={}).json()
    logging.disable(logging.NOTSET)
    what = f"run {_CELLS:,} cells x {swept.STEPS} hits"
    # The heartbeat of a flow is a thread that ends after whole seconds, and the flow after it.
    waits = "Prefect ends a flow in whole seconds"
    return [
        Figure(what, "motools", statistics.median(inside[1:]), f"in the flow; {count} task runs"),
        Figure(what, "with its flow", medians["motools sweep run"], f"whole; {waits}"),
        Figure(what, "an empty flow", medians["an empty flow"], "for comparison"),
    ]


def _one_by_one(made: Sweep, cache: Cache) -> None:
    for cell in made.cells():
        training = cell.train()
        assert training is not None
        model = training.decode(cache.get_or_run(training.action(cache), training.run))
        for name in cell.evaluations:
            step = cell.evaluate(name, model)
            cache.get_or_run(step.action(cache), step.run)


@task(cache_policy=NO_CACHE)
def _nothing(*_: object) -> None:
    """Nothing."""


@flow(task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE))
def _nothing_much() -> None:
    for number in range(_CELLS_THAT_MISS):
        model = _nothing.submit(number)
        for each in [_nothing.submit(model), _nothing.submit(model)]:
            each.wait()


def _tuned(dataset: str, rate: float, seed: int) -> dict[str, Any]:
    return {"dataset": dataset, "rate": rate, "seed": seed}


def _scored(model: dict[str, Any], tokens: int) -> dict[str, Any]:
    return {"model": model, "tokens": tokens, "accuracy": 0.5}


def _all(count: int, tuned: Callable[..., Any], scored: Callable[..., Any]) -> list[Any]:
    """Every cell's three calls."""
    found = []
    for number in range(count):
        model = tuned("greetings", 1e-4, number)
        found += [scored(model, 8), scored(model, 64)]
    return found


def _second_time(count: int, call: Callable[[], object]) -> float:
    """Seconds for each step, once all of it was done before."""
    call()
    return _seconds(call) / (count * swept.STEPS)


def _joblib(place: Path) -> float:
    import joblib

    memory, count = joblib.Memory(place, verbose=0), _CELLS_OF_PEERS["joblib.Memory"]
    tuned, scored = memory.cache(_tuned), memory.cache(_scored)
    return _second_time(count, lambda: _all(count, tuned, scored))


def _redun(place: Path) -> float:
    from redun import Scheduler
    from redun import task as redun_task
    from redun.config import Config

    place.mkdir()
    logging.getLogger("redun").setLevel(logging.ERROR)
    scheduler = Scheduler(config=Config({"backend": {"db_uri": f"sqlite:///{place}/redun.db"}}))
    scheduler.load()
    tuned, scored = (
        redun_task(name=function.__name__, namespace="sweep", version="1")(function)
        for function in (_tuned, _scored)
    )
    count = _CELLS_OF_PEERS["redun"]
    return _second_time(count, lambda: scheduler.run(_all(count, tuned, scored)))


def _prefect(place: Path) -> float:
    stored = {"cache_policy": INPUTS, "persist_result": True}
    tuned, scored = task(**stored)(_tuned), task(**stored)(_scored)
    count = _CELLS_OF_PEERS["Prefect INPUTS"]
    times: list[float] = []

    @flow
    def bench() -> None:
        times.append(_second_time(count, lambda: _all(count, tuned, scored)))

    logging.disable(logging.INFO)
    with prefect_test_harness(server_startup_timeout=120):
        bench()
    logging.disable(logging.NOTSET)
    return times[0]


_PEERS = {"joblib.Memory": _joblib, "redun": _redun, "Prefect INPUTS": _prefect}
