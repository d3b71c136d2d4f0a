"""Running a sweep under Prefect: a task run for each step that is not in the cache."""

from __future__ import annotations

import os
import queue
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from prefect.context import FlowRunContext

from motools.artifacts import Model
from motools.cache.current import Place, cache_at
from motools.errors import ConfigError
from motools.sweeps import document
from motools.sweeps.estimates import spent
from motools.sweeps.orders import Orders, ordered
from motools.sweeps.outcome import Ended, Outcome, Result, SweepRun
from motools.sweeps.plan import TRAINING, Plan, Planned, PlannedCell, State
from motools.sweeps.planner import make_plan, nothing_is_garbage
from motools.sweeps.publish import publish
from motools.sweeps.runners import one_server
from motools.sweeps.sweep import Sweep
from motools.sweeps.view import View
from motools.tasks import tally
from motools.tasks.steps import evaluate, fine_tune
from motools.tasks.witness import tell_hits

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from motools.cache import Cache, Entry

AT_ONCE: Final = 8
"""Steps in flight. Trainings on this machine queue for its devices besides."""

_SHOWN: Final = 1_000
"""Cells of a sweep whose results are published even if all were there already."""


@dataclass(frozen=True)
class RunLimits:
    """What a run of a sweep may take.

    Attributes:
        at_once: most steps in flight.
        cost: most money, in the currency of the settings; None: no limit.
        seconds: most time, one step after the other; None: no limit.
    """

    at_once: int = AT_ONCE
    cost: float | None = None
    seconds: float | None = None


def run_sweep(
    sweep: Sweep | str | os.PathLike[str],
    *,
    cache: Place = None,
    hits: Literal["event", "task_run"] = "event",
    orders: Orders | None = None,
    limits: RunLimits | None = None,
) -> SweepRun:
    """Do what a sweep has left to do, inside a flow.

    A hit is an event and no task run. Every other step is submitted to the flow's
    task runner, an evaluation as soon as its model is there. A step that fails
    stops no other. Stopped at any moment and run again, it goes on.

    Args:
        sweep: what to run, or the file that it is written in.
        cache: which cache; the current one by default.
        hits: ``task_run`` to have hits drawn as task runs, too.
        orders: which steps to leave out, and which to do again.
        limits: what it may take.

    Raises:
        ConfigError: this is no flow, or a cell of the sweep is wrong.
        SweepLimitError: it may take more than the limits; nothing was run.
    """
    if (flow_run := FlowRunContext.get()) is None:
        raise ConfigError("run_sweep() was called outside a flow; call it in a function with @flow")
    limits = limits or RunLimits()
    place = cache_at(cache)
    made = sweep if isinstance(sweep, Sweep) else document.read(sweep)
    orders = orders or Orders()
    plan = ordered(make_plan(made, place, revalidate=orders.hours(place.settings)), orders)
    plan.check_limits(limits.cost, limits.seconds)
    tally.watch(flow_run.flow)
    with one_server():
        found = _Run(plan, place, limits, draw_hits=hits == "task_run").go()
    if flow_run.flow_run is not None and (not plan.done or len(plan.cells) <= _SHOWN):
        publish(found, flow_run.flow_run.id)
    return found


@dataclass(frozen=True)
class _Work:
    """A step of a cell."""

    cell: PlannedCell
    planned: Planned


class _Run:
    def __init__(self, plan: Plan, cache: Cache, limits: RunLimits, *, draw_hits: bool) -> None:
        flow_run = FlowRunContext.get()
        assert flow_run is not None
        assert flow_run.flow_run is not None
        self._flow_run_id = flow_run.flow_run.id
        self._plan = plan
        self._cache = cache
        self._limits = limits
        self._draw_hits = draw_hits
        self._started = time.time()
        self._seconds = self._cost = 0.0
        self._ended: dict[int, Ended] = {}
        self._ready: deque[_Work] = deque()
        self._in_flight: dict[Any, _Work] = {}
        self._done: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        self._for_model: dict[int, list[_Work]] = {}
        self._hits: list[Entry] = []
        self._view = View(plan, limits.at_once)

    def go(self) -> SweepRun:
        seen: set[int] = set()
        with nothing_is_garbage():
            for cell in self._plan.cells:
                for planned in cell.steps:
                    if id(planned) not in seen:
                        seen.add(id(planned))
                        self._begin(_Work(cell, planned))
            self._cache.statistics.count(*(entry.key for entry in self._hits))
        tell_hits(self._hits)
        try:
            self._submit()
            while self._in_flight:
                self._view.show(self._ended, [work.planned for work in self._in_flight.values()])
                future = self._done.get()
                self._take(self._in_flight.pop(future), future)
                self._submit()
        finally:
            self._view.close()
        return SweepRun(self._plan, self._ended)

    def _begin(self, work: _Work) -> None:
        """What a step is first: at its end, ready, or waiting for its model."""
        planned, training = work.planned, work.cell.training
        # Of a model that is out of reach an evaluation is a hit, but no task can be given it.
        apart = training is not None and training.state is State.BLOCKED
        if planned.state is State.BLOCKED:
            self._end(work, Outcome.FAILED, planned.reason)
        elif planned.state is State.SKIPPED:
            self._end(work, Outcome.SKIPPED, planned.reason)
        elif (
            planned.state is State.HIT
            and planned.entry is not None
            and (apart or not self._draw_hits)
        ):
            self._hits.append(planned.entry)
            self._end(work, Outcome.HIT, planned.reason, entry=planned.entry)
        elif training is not None and planned is not training:
            self._when_trained(work)
        else:
            self._ready.append(work)

    def _when_trained(self, work: _Work) -> None:
        """Have an evaluation ready as soon as its model is there."""
        model = id(work.cell.training)
        if model not in self._ended:
            self._for_model.setdefault(model, []).append(work)
        elif self._ended[model].entry is None:
            self._end(work, Outcome.SKIPPED, "its model is not there")
        else:
            self._ready.append(work)

    def _submit(self) -> None:
        while self._ready and len(self._in_flight) < self._limits.at_once:
            work = self._ready.popleft()
            if reason := self._spent():
                self._end(work, Outcome.SKIPPED, reason)
                continue
            future = self._submitted(work)
            self._in_flight[future] = work
            future.add_done_callback(self._done.put)

    def _spent(self) -> str | None:
        """Why nothing more may be submitted."""
        limits = self._limits
        if limits.cost is not None and self._cost > limits.cost:
            return f"it has cost {self._cost:.2f}, more than the limit of {limits.cost:g}"
        if limits.seconds is not None and self._seconds > limits.seconds:
            return f"it has taken {self._seconds:.0f} s, more than the limit of {limits.seconds:g}"
        return None

    def _submitted(self, work: _Work) -> PrefectFuture[Any]:
        cell, planned = work.cell.cell, work.planned
        name = f"{planned.name}: {cell}".replace("{", "{{").replace("}", "}}")  # Prefect formats it
        changed: dict[str, Any] = {"cache": self._cache, "task_run_name": name}
        if planned.again:
            changed["refresh_cache"] = True
        if planned.name == TRAINING:
            given: tuple[Any, ...] = (cell.dataset, cell.config, cell.backend)
            task = fine_tune
        else:
            given = (self._model(work.cell), cell.evaluations[planned.name])
            task = evaluate  # type: ignore[assignment]
        return task.with_options(**changed).submit(  # type: ignore[no-any-return]
            *given, options=cell.options, replicate=cell.replicate
        )

    def _model(self, cell: PlannedCell) -> Model:
        if cell.training is None:
            assert cell.cell.model is not None
            return cell.cell.model
        result = self._ended[id(cell.training)].result
        assert isinstance(result, Model)
        return result

    def _take(self, work: _Work, future: PrefectFuture[Any]) -> None:
        """A step that was submitted has come to its end."""
        try:
            result: Result = future.result()
        except Exception as problem:  # noqa: BLE001
            # Not swallowed: it is what became of this step, and stops no other.
            self._end(work, Outcome.FAILED, f"{type(problem).__name__}: {problem}")
            return
        assert result.key is not None
        entry = self._cache.entry(result.key)
        outcome = self._outcome(entry, future)
        if outcome in (Outcome.RUN, Outcome.RESUMED):
            self._seconds += entry.duration
            self._cost += spent(entry, self._cache.settings) or 0.0
        self._end(work, outcome, "", result, entry)

    def _outcome(self, entry: Entry, future: PrefectFuture[Any]) -> Outcome:
        """What became of a step; two that came to one key ran once and cost once."""
        made = entry.provenance
        if made.get("task_run_id") == str(future.task_run_id):
            return Outcome.RESUMED if made.get("resumed") else Outcome.RUN
        elsewhere = made.get("flow_run_id") != str(self._flow_run_id)
        return Outcome.ADOPTED if elsewhere and entry.created_at >= self._started else Outcome.HIT

    def _end(
        self,
        work: _Work,
        outcome: Outcome,
        reason: str,
        made: Result | None = None,
        entry: Entry | None = None,
    ) -> None:
        self._ended[id(work.planned)] = Ended(work.planned, outcome, reason, made, entry)
        for later in self._for_model.pop(id(work.planned), ()):
            self._when_trained(later)
