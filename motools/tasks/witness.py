"""What is said about each call: log lines, events and the flow run's table.

Outside Prefect runs only the log is written, so that no server is started or asked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, Self

from prefect.context import FlowRunContext, TaskRunContext
from prefect.events.utilities import emit_event
from prefect.logging import get_run_logger

from motools.cache import Action, Cache, Entry
from motools.digest import SHORT
from motools.steps import alive, function
from motools.tasks import tally
from motools.tasks.board import BOARD, SHOWN
from motools.tasks.percent import Percent

_LOG_EVERY: Final = 10.0
_EACH: Final = 300
"""Hits with an event each: a server takes about a second for so many."""

_UNITS: Final = ((86_400 * 2, 86_400, "d"), (3_600 * 2, 3_600, "h"), (120, 60, "min"))


def inside_run() -> bool:
    """Whether a flow or task run of Prefect's is going on here."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


class Witness:
    """Says what happens in one call of one step, until the block is left."""

    def __init__(self, action: Action, cache: Cache) -> None:
        self._action = action
        self._cache = cache
        self._inside = inside_run()
        self._logger: Any = get_run_logger() if self._inside else _logger()
        self._percent = Percent(f"motools-{action.kind}-{action.key[:SHORT]}", self._logger)
        self._log_next = 0.0
        self._waiting = False

    def __enter__(self) -> Self:
        run, flow_run_id = TaskRunContext.get(), _flow_run_id()
        if run is not None and flow_run_id is not None:
            place, name = str(self._cache.root), run.task_run.name
            asked = tally.Asked(place, str(run.task_run.id), name, self._action.key)
            tally.record(flow_run_id, asked)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        BOARD.drop(self._action.key)

    @property
    def provenance(self) -> dict[str, str]:
        """Who is running: names of flow, flow run and task run, as far as there are any."""
        flow, task = FlowRunContext.get(), TaskRunContext.get()
        names: dict[str, str] = {}
        if flow is not None and flow.flow is not None and flow.flow_run is not None:
            names |= {
                "flow": flow.flow.name,
                "flow_run": flow.flow_run.name,
                "flow_run_id": str(flow.flow_run.id),
            }
        if task is not None:
            names |= {"task_run": task.task_run.name, "task_run_id": str(task.task_run.id)}
        return names

    def report(self, message: str, fields: dict[str, Any]) -> None:
        """Progress of the work, or of waiting for another runner of the same key."""
        if "waiting" in fields:
            self.wait(message)
            return
        done, total = fields.get("done"), fields.get("total")
        shown = BOARD.show(self._action.key, message, done, total)
        if done is None or not total:
            self._logger.info("%s", message)
            return
        self._percent.update(done / total, message)
        now = time.monotonic()
        if now >= self._log_next or done == total:
            self._log_next = now + _LOG_EVERY
            self._logger.info("%s", message, extra={SHOWN: shown})

    def wait(self, message: str) -> None:
        """Another runner has the key."""
        if not self._waiting:
            self._emit("wait", holder=message)
            self._waiting = True
        self._logger.info("Waiting: %s", message)

    def stale(self, entry: Entry) -> None:
        """There is an entry, and it is not used because a refresh was asked for."""
        self._emit("stale", generation=entry.generation)

    def miss(self, reason: str | None) -> None:
        """The work begins, and why."""
        if reason is not None:
            action = self._action
            self._logger.info("Running: %s %s: %s", action.kind, action.key[:SHORT], reason)
        self._emit("miss", reason=reason)

    def done(self, entry: Entry) -> None:
        """The result is there."""
        if entry.hit:
            # A loop may call a function a million times.
            quiet = not self._inside and entry.kind == function.KIND
            level = logging.DEBUG if quiet else logging.INFO
            if self._logger.isEnabledFor(level):
                self._logger.log(level, "Cached: %s", described(entry))
        if (ahead := alive.warning(self._cache, entry)) is not None:
            self._logger.warning("%s", ahead)
        self._emit("hit" if entry.hit else "stored", seconds=entry.duration, cost=entry.cost)
        _tally(entry)

    def _emit(self, name: str, **payload: Any) -> None:
        if self._inside:
            _emit(name, self._action.kind, self._action.key, **payload)


def tell_hits(entries: Sequence[Entry]) -> None:
    """Tell Prefect of hits that have no task runs: by events, and in the run's table.

    Each has an event of its own, but very many share one for each kind.
    """
    together = tally.summed(entries)
    if len(entries) <= _EACH:
        for entry in entries:
            _emit("hit", entry.kind, entry.key, seconds=entry.duration, cost=entry.cost)
    else:
        for each in together:
            _emit_many("hits", each)
    if together and (flow_run_id := _flow_run_id()):
        tally.record(flow_run_id, *together)


def _emit(name: str, kind: str, key: str, **payload: Any) -> None:
    emit_event(
        event=f"motools.cache.{name}",
        resource={
            "prefect.resource.id": f"motools.entry.{key}",
            "prefect.resource.name": f"{kind} {key[:SHORT]}",
            "motools.kind": kind,
        },
        payload={"key": key, "kind": kind, **payload},
    )


def _emit_many(name: str, outcome: tally.Outcome) -> None:
    emit_event(
        event=f"motools.cache.{name}",
        resource={
            "prefect.resource.id": f"motools.kind.{outcome.kind}",
            "prefect.resource.name": f"{outcome.count} of kind {outcome.kind}",
            "motools.kind": outcome.kind,
        },
        payload=asdict(outcome),
    )


def _tally(entry: Entry) -> None:
    if flow_run_id := _flow_run_id():
        tally.record(flow_run_id, *tally.summed([entry]))


def _logger() -> logging.Logger:
    """The log of calls outside Prefect's runs, on standard error unless it was set up."""
    logger = logging.getLogger("motools")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
        if not logger.hasHandlers():
            logger.addHandler(logging.StreamHandler())
    return logger


def described(entry: Entry) -> str:
    """Where an entry is from, in one line."""
    made = entry.provenance
    if "flow" in made:
        maker = f"flow {made['flow']!r} run {made['flow_run']!r}"
    elif "task_run" in made:
        maker = f"task run {made['task_run']!r}"
    else:
        maker = f"a process on {made.get('host', 'an unknown host')}"
    saved = f"saved {_span(entry.duration)}"
    money = f" and {entry.cost:g} in money" if entry.cost else ""
    age = _span(max(0.0, time.time() - entry.created_at))
    return f"{entry.kind} {entry.key[:SHORT]} made by {maker} {age} ago, {saved}{money}"


def _span(seconds: float) -> str:
    for least, unit, name in _UNITS:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1_000:.0f} ms"


def _flow_run_id() -> Any:
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if task is not None:
        return task.task_run.flow_run_id
    return flow.flow_run.id if flow is not None and flow.flow_run is not None else None
