"""Making a plan: the steps of a sweep held against a cache. Nothing is run."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from motools.artifacts import Dataset, Model
from motools.cache.action import Action
from motools.cache.attempt import SUBMITTED
from motools.cache.claim import SCRATCH
from motools.cache.explain import Neighbours
from motools.cache.layout import JOBS
from motools.cache.rejection import rejections
from motools.cache.running import runner
from motools.errors import BackendUnavailableError, MotoolsError
from motools.steps import alive
from motools.steps.evaluate import Evaluate
from motools.steps.reasons import reason
from motools.steps.train import Resolved, Train
from motools.steps.unfinished import left_over
from motools.sweeps.cell import Cell
from motools.sweeps.estimates import FREE, Estimate, Estimator
from motools.sweeps.plan import TRAINING, Plan, Planned, PlannedCell, State

if TYPE_CHECKING:
    from motools.cache import Cache, Entry
    from motools.evals.identity import TaskIdentity
    from motools.sweeps.sweep import Sweep

_ONE_BY_ONE: Final = 20
"""Entries that each of perhaps thousands of misses is compared with."""

_TOGETHER: Final = 1_000

T = TypeVar("T")

Step: TypeAlias = Train | Evaluate

Work: TypeAlias = tuple[str, Step]
"""A step with its name in the cell."""


def make_plan(sweep: Sweep, cache: Cache, *, revalidate: float | None = None) -> Plan:
    """Hold every step of a sweep against a cache.

    Datasets, base models and tasks are read as they are for a run, to know the keys.

    Args:
        sweep: what is planned.
        cache: what it is held against.
        revalidate: hours after which providers are asked again whether a model is there
            still; None: they are not asked.

    Raises:
        ConfigError: a cell of the sweep is wrong.
        CacheError: it cannot be known what is in the cache.
    """
    with nothing_is_garbage():
        planner = _Planner(cache, revalidate)
        cells = sweep.cells()
        trainings = list(planner.trainings(cells))
        evaluations = planner.evaluations(cells, trainings)
        return Plan(sweep, tuple(map(PlannedCell, cells, trainings, evaluations)))


@contextmanager
def nothing_is_garbage() -> Iterator[None]:
    """Have Python not look for cycles of garbage while many objects are made that all stay.

    It would go through all of them again and again, for a third of a large plan's time;
    and afterwards twice more, unless they are put where the old ones are.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


class _Planner:
    """Plans steps; those that come to one key are one object."""

    def __init__(self, cache: Cache, revalidate: float | None) -> None:
        self._cache = cache
        self._hours = math.inf if revalidate is None else revalidate
        self._estimator = Estimator(cache)
        self._planned: dict[str, Planned] = {}
        self._waiting: dict[tuple[str, str, int], Planned] = {}
        self._found: dict[object, Any] = {}
        self._neighbours: dict[str, Neighbours] = {}

    def trainings(self, cells: Sequence[Cell]) -> Iterator[Planned | None]:
        """How the model of each cell is made."""
        steps = [cell.train() for cell in cells]
        planned = self._plan((TRAINING, step) for step in steps if step is not None)
        return (None if step is None else next(planned) for step in steps)

    def evaluations(
        self, cells: Sequence[Cell], trainings: Sequence[Planned | None]
    ) -> list[tuple[Planned, ...]]:
        """What the model of each cell is asked."""
        models = [_model(cell, made) for cell, made in zip(cells, trainings, strict=True)]
        planned = self._plan(
            (name, cell.evaluate(name, model))
            for cell, model in zip(cells, models, strict=True)
            if model is not None
            for name in cell.evaluations
        )
        return [
            tuple(
                next(planned) if model is not None else self._later(cell, made, name)
                for name in cell.evaluations
            )
            for cell, made, model in zip(cells, trainings, models, strict=True)
        ]

    def _plan(self, work: Iterable[Work]) -> Iterator[Planned]:
        """Look it up, many steps together but not all: actions are large."""
        rest = iter(work)
        while some := list(islice(rest, _TOGETHER)):
            yield from self._looked_up(some)

    def _looked_up(self, work: Sequence[Work]) -> Iterator[Planned]:
        asked = [(name, *self._asked(step)) for name, step in work]
        actions = [action for *_, action in asked if isinstance(action, Action)]
        rejected = rejections(self._cache.database)
        looked_up = self._cache.look_up([a for a in actions if a.key not in rejected])
        entries = alive.standing(self._cache, looked_up, self._hours)
        for name, step, action in asked:
            if isinstance(action, MotoolsError):
                yield Planned(name, step, State.BLOCKED, str(action))
                continue
            if action.key in rejected:
                why = str(rejected[action.key].error(action.kind, action.key))
                yield Planned(name, step, State.BLOCKED, why, action.key)
                continue
            found = next(entries)
            if action.key not in self._planned:
                self._planned[action.key] = self._held(name, step, action, *found)
            yield self._planned[action.key]

    def _asked(self, step: Step) -> tuple[Step, Action | MotoolsError]:
        """A step and its action, or why it has none."""
        try:
            step = self._prepared(step)
            return step, step.action(self._cache)
        except MotoolsError as problem:
            return step, problem

    def _prepared(self, step: Step) -> Step:
        """A step that knows what is the same for many steps, which is found out once."""
        if isinstance(step, Evaluate):
            return step.knowing(self._task(step))
        return step.knowing(self._resolved(step), self._dataset(step))

    def _resolved(self, step: Train) -> Resolved:
        def find() -> Resolved:
            name = step.backend, step.config.base_model
            base = self._once(name, lambda: step.identify(self._cache))
            return step.resolve(self._cache, base)

        return self._once((step.backend, id(step.config)), find)

    def _task(self, step: Evaluate) -> TaskIdentity:
        at = id(step.config), step.options.base_dir
        return self._once(at, lambda: step.identify(self._cache))

    def _dataset(self, step: Train) -> Dataset:
        return self._once(id(step.dataset), lambda: step.dataset.identify(self._cache.memo))

    def _once(self, name: object, find: Callable[[], T]) -> T:
        """What is found under a name, or the same error each time."""
        if name not in self._found:
            try:
                self._found[name] = find()
            except MotoolsError as problem:
                self._found[name] = problem
        found: T | MotoolsError = self._found[name]
        if isinstance(found, MotoolsError):
            raise found
        return found

    def _held(
        self,
        name: str,
        step: Step,
        action: Action,
        entry: Entry | None,
        said: str | BackendUnavailableError,
    ) -> Planned:
        key = action.key
        if isinstance(said, BackendUnavailableError):
            # Its evaluations are hits all the same.
            return Planned(name, step, State.BLOCKED, str(said), key, entry, FREE)
        if entry is not None:
            return Planned(name, step, State.HIT, said, key, entry, FREE)
        state, why = self._attempted(action)
        if state is State.RUN:
            why = self._reason(step, action)
        took = FREE if state in (State.BLOCKED, State.ADOPT) else self._estimate(step, action)
        return Planned(name, step, state, why, key, None, took)

    def _reason(self, step: Step, action: Action) -> str:
        if action.kind not in self._neighbours:
            index, kind = self._cache.index, action.kind
            self._neighbours[kind] = Neighbours(index, kind, one_by_one=_ONE_BY_ONE)
        return reason(step, action, self._cache, self._neighbours[action.kind]) or ""

    def _attempted(self, action: Action) -> tuple[State, str]:
        """What became of earlier attempts at a key that has no entry."""
        for job in self._cache.attempts.of_key(action.key):
            if job.state == SUBMITTED and not job.is_unsettled:
                return State.ADOPT, f"{job.provider} has it as {job.job_id}"
            if job.is_unsettled:
                arrived = f"attempt {job.attempt} reached {job.provider}"
                return State.BLOCKED, f"it is not known whether {arrived}"
        if holder := runner(self._cache, action.key):
            return State.ADOPT, f"{holder} is running it"
        scratch = self._cache.root / JOBS / action.key / SCRATCH
        left = left_over(action.kind, scratch) if scratch.is_dir() else None
        return (State.RUN, "") if left is None else (State.RESUME, left)

    def _later(self, cell: Cell, training: Planned | None, name: str) -> Planned:
        """An evaluation whose model is not there, so that it has no key yet."""
        assert training is not None
        if training.state is State.BLOCKED:
            return Planned(name, None, State.BLOCKED, "its model cannot be trained")
        assert training.key is not None
        at = training.key, name, id(cell.evaluations[name])
        if at not in self._waiting:
            self._waiting[at] = self._asked_later(cell, name)
        return self._waiting[at]

    def _asked_later(self, cell: Cell, name: str) -> Planned:
        try:
            task = self._task(cell.evaluate(name, Model.base("")))
        except MotoolsError as problem:
            return Planned(name, None, State.BLOCKED, str(problem))
        samples = task.samples * int(task.material["epochs"])
        took = self._estimator.evaluation(task.name, samples)
        return Planned(name, None, State.WAITING, "its model is not trained yet", estimate=took)

    def _estimate(self, step: Step, action: Action) -> Estimate:
        config = action.config
        if isinstance(step, Evaluate):
            samples = int(config["samples"]["count"]) * int(config["epochs"])  # type: ignore[index,call-overload,arg-type]
            base = step.model.base_model if step.model.key is None else ""
            return self._estimator.evaluation(str(config["task"]["name"]), samples, base)  # type: ignore[index,call-overload]
        rows = self._dataset(step).rows or 0
        said = config.get("epochs")
        epochs = float(said) if isinstance(said, int | float) else 1.0  # perhaps the provider's
        method = str(config.get("method"))
        return self._estimator.training(step.config.base_model, step.backend, method, rows * epochs)


def _model(cell: Cell, training: Planned | None) -> Model | None:
    """The model of a cell, if it is there."""
    if training is None:
        return cell.model
    if training.entry is None or not isinstance(training.step, Train):
        return None
    return training.step.decode(training.entry)
