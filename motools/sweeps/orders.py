"""What a run was told about its steps: which to leave out, which to do again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from motools.errors import ConfigError
from motools.steps.alive import remaking
from motools.steps.evaluate import Evaluate, asked_at_apis
from motools.steps.train import Train
from motools.sweeps.cell import Cell
from motools.sweeps.estimates import FREE, Estimate, Range
from motools.sweeps.plan import Plan, Planned, PlannedCell, State
from motools.sweeps.subset import Subset

if TYPE_CHECKING:
    from motools.cache import Entry
    from motools.settings import Settings


@dataclass(frozen=True)
class Orders:
    """What to do with the steps of a sweep, besides what their state says.

    Attributes:
        only: run no other steps; hits are hits all the same.
        refresh: run these steps although they are in the cache.
        read_only: run nothing.
        remake: train a model again whose files were released, where an evaluation needs them.
        offline: run nothing that asks an API.
        revalidate: hours after which providers are asked again whether a model is there still;
            None: as the settings say. Not if it is offline.
    """

    only: Subset | None = None
    refresh: Subset | None = None
    read_only: bool = False
    remake: bool = False
    offline: bool = False
    revalidate: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be done together.

        Raises:
            ConfigError: to run nothing, and to run something again.
        """
        if self.read_only and (self.refresh is not None or self.remake):
            raise ConfigError("read_only runs nothing, and refresh and remake do: give one of them")
        if self.offline and self.revalidate is not None:
            raise ConfigError("offline asks no provider, and revalidate does: give one of them")

    def hours(self, settings: Settings) -> float | None:
        """How old an answer of a provider may be; None: none is asked."""
        if self.offline:
            return None
        return settings.revalidate_hours if self.revalidate is None else self.revalidate


def ordered(plan: Plan, orders: Orders) -> Plan:
    """A plan as it is under orders: steps that come to one key stay one object.

    A step that several cells share is meant when one of them is.

    Raises:
        ConfigError: a value was asked for that no cell has.
    """
    for subset in (orders.only, orders.refresh):
        if subset is not None:
            subset.check(plan)
    if plan.done and orders.refresh is None:
        return plan
    asked = set(_meant(plan, orders.only))
    again = set(_meant(plan, orders.refresh)) & asked if orders.refresh else set()
    ordering = _Ordering(orders, asked, again)
    ordering.models_needed(plan)
    return replace(plan, cells=tuple(map(ordering.cell, plan.cells)))


def _meant(plan: Plan, subset: Subset | None) -> Iterator[int]:
    for cell in plan.cells:
        for step in cell.steps:
            if subset is None or subset.has(cell, step):
                yield id(step)


class _Ordering:
    """Orders given to steps, each once.

    Args:
        orders: which.
        asked: steps that may run.
        again: steps that run although they are in the cache.
    """

    def __init__(self, orders: Orders, asked: set[int], again: set[int]) -> None:
        self._orders = orders
        self._asked = asked
        self._again = again
        self._made: dict[int, Planned] = {}
        self._needed: set[int] = set()

    def models_needed(self, plan: Plan) -> None:
        """Find the trainings whose files an evaluation that is run will need."""
        for cell in plan.cells:
            running = filter(self._runs, cell.evaluations)
            if cell.training is not None and any(
                self._kept_from(cell.cell, step) is None for step in running
            ):
                self._needed.add(id(cell.training))

    def cell(self, cell: PlannedCell) -> PlannedCell:
        """A cell whose steps have their orders."""
        training = cell.training
        if training is not None:
            training = self._once(training, self._training)
        evaluations = (
            self._once(each, lambda step: self._evaluation(cell.cell, step, training))
            for each in cell.evaluations
        )
        return PlannedCell(cell.cell, training, tuple(evaluations))

    def _once(self, step: Planned, order: Callable[[Planned], Planned]) -> Planned:
        if id(step) not in self._made:
            self._made[id(step)] = order(step)
        return self._made[id(step)]

    def _runs(self, step: Planned) -> bool:
        """Whether a step is run, as far as its own state tells."""
        if step.state in (State.HIT, State.BLOCKED):
            return id(step) in self._again and step.state is State.HIT
        return id(step) in self._asked and not self._orders.read_only

    def _training(self, step: Planned) -> Planned:
        if step.entry is None:
            step = self._left_out(step)
            if step.state in (State.BLOCKED, State.SKIPPED) or not self._asks_api(step):
                return step
            return _skipped(step, "it is trained at an API, and this is offline")
        if self._asks_api(step):
            return step
        if id(step) in self._again:
            return _again(step, step.entry)
        if self._orders.remake and step.entry.released and id(step) in self._needed:
            return _again(step, step.entry, _lost(step.entry))
        return step

    def _asks_api(self, step: Planned) -> bool:
        return self._orders.offline and isinstance(step.step, Train) and step.step.elsewhere

    def _evaluation(self, cell: Cell, step: Planned, training: Planned | None) -> Planned:
        if step.entry is None:
            step = self._left_out(step)
        if step.state in (State.BLOCKED, State.SKIPPED):
            return step
        if training is not None and training.state is State.SKIPPED:
            return _skipped(step, "its model is not there")
        made_again = training is not None and training.again
        if not (made_again or self._runs(step)):
            return step
        if (why := self._kept_from(cell, step)) is not None:
            return _skipped(step, why)
        return self._of_another_model(step) if made_again else self._run(step, training)

    def _kept_from(self, cell: Cell, step: Planned) -> str | None:
        """Why an evaluation that has something to run may not; None: it may."""
        if id(step) not in self._asked:
            return "was not asked for"
        model = step.step.model if isinstance(step.step, Evaluate) else cell.model
        apis = asked_at_apis(model, cell.evaluations[step.name])
        if self._orders.offline and apis:
            return f"it asks {', '.join(apis)}, and this is offline"
        return None

    def _run(self, step: Planned, training: Planned | None) -> Planned:
        """An evaluation of a model that is there, unless its files are not."""
        if training is not None and training.state is State.BLOCKED:
            return _blocked(step, "it is not known whether its model is there still")
        if training is not None and (entry := training.entry) and entry.released:
            again = f"making it again takes {remaking(entry)}, which --remake allows"
            return _blocked(step, f"{_lost(entry)}; {again}")
        if step.entry is None:
            # Its model may turn out to be one that was evaluated before.
            waits = step.state is State.WAITING
            return replace(step, again=waits and id(step) in self._again)
        return _again(step, step.entry)

    def _left_out(self, step: Planned) -> Planned:
        """A step that is not in the cache, if it may be run."""
        if step.state is State.BLOCKED:
            return step
        if self._orders.read_only:
            return _skipped(step, "is not in the cache")
        if id(step) not in self._asked:
            return _skipped(step, "was not asked for")
        return step

    def _of_another_model(self, step: Planned) -> Planned:
        """An evaluation that may be a hit all the same: a training can end in the same bits."""
        again = id(step) in self._again
        took = step.estimate
        if step.entry is not None:
            most = _took(step.entry)
            took = most if again else Estimate(_up_to(most.seconds), _up_to(most.cost))
        why = "its model is trained again"
        return replace(step, state=State.WAITING, reason=why, estimate=took, again=again)


def _lost(entry: Entry) -> str:
    if entry.remote is None:
        return "its model's files were released"
    return "its model is gone at the provider"


def _again(step: Planned, entry: Entry, why: str = "asked for again") -> Planned:
    return replace(step, state=State.RUN, reason=why, estimate=_took(entry), again=True)


def _skipped(step: Planned, why: str) -> Planned:
    return replace(step, state=State.SKIPPED, reason=why, estimate=FREE)


def _blocked(step: Planned, why: str) -> Planned:
    return replace(step, state=State.BLOCKED, reason=why, estimate=FREE)


def _took(entry: Entry) -> Estimate:
    cost = None if entry.cost is None else Range(entry.cost, entry.cost)
    return Estimate(Range(entry.duration, entry.duration), cost)


def _up_to(found: Range | None) -> Range | None:
    return None if found is None else Range(0.0, found.high)
