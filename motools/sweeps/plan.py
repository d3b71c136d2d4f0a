"""What a sweep has to do: every cell and step of it, and the totals."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from motools.errors import SweepLimitError
from motools.sweeps.cell import Cell
from motools.sweeps.estimates import UNKNOWN, Estimate, total

if TYPE_CHECKING:
    from motools.cache import Entry
    from motools.steps.evaluate import Evaluate
    from motools.steps.train import Train
    from motools.sweeps.sweep import Sweep

TRAINING: Final = "fine_tune"
"""The name of the step that makes a cell's model."""


class State(enum.StrEnum):
    """What will happen to a step."""

    HIT = "hit"
    ADOPT = "adopt"
    RESUME = "resume"
    RUN = "run"
    WAITING = "waiting"
    BLOCKED = "blocked"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Planned:
    """One step of a cell.

    Attributes:
        name: ``fine_tune``, or the evaluation's name in the first cell that has it.
        step: what would run; None for an evaluation whose model is not there yet.
        state: what will happen to it.
        reason: why; of a hit, until when its model is there, if not for ever.
        key: of its action; None where there is none yet.
        entry: of a hit, or of a model of which it is not known whether it is there still.
        estimate: what it will take.
        again: run it although it is in the cache.
    """

    name: str
    step: Train | Evaluate | None
    state: State
    reason: str = ""
    key: str | None = None
    entry: Entry | None = None
    estimate: Estimate = UNKNOWN
    again: bool = False


@dataclass(frozen=True)
class PlannedCell:
    """A cell and its steps.

    Attributes:
        cell: the cell.
        training: how its model is made; None where it is a base model.
        evaluations: what its model is asked, in the order of the recipe.
    """

    cell: Cell
    training: Planned | None
    evaluations: tuple[Planned, ...]

    @property
    def steps(self) -> Iterator[Planned]:
        """The training, if there is one, then the evaluations."""
        if self.training is not None:
            yield self.training
        yield from self.evaluations

    @property
    def named(self) -> Iterator[tuple[str, Planned]]:
        """The steps by what they are called here: elsewhere one may have another name."""
        if self.training is not None:
            yield TRAINING, self.training
        yield from zip(self.cell.evaluations, self.evaluations, strict=True)


@dataclass(frozen=True)
class Plan:
    """Every cell of a sweep with what will happen to it.

    Attributes:
        sweep: what was planned.
        cells: in the sweep's order.
    """

    sweep: Sweep
    cells: tuple[PlannedCell, ...]

    @property
    def steps(self) -> list[Planned]:
        """Every step; those that come to one key are one."""
        return list({id(step): step for cell in self.cells for step in cell.steps}.values())

    @property
    def counts(self) -> dict[State, int]:
        """How many steps are in which state."""
        found = Counter(step.state for step in self.steps)
        return {state: found[state] for state in State if found[state]}

    @property
    def done(self) -> bool:
        """Whether there is nothing to do, of what may be done."""
        over = State.HIT, State.SKIPPED
        return all(step.state in over for cell in self.cells for step in cell.steps)

    @property
    def estimate(self) -> tuple[Estimate, int]:
        """What all of it takes, one after the other, and how many steps have no known time."""
        return total(step.estimate for step in self.steps if step.state is not State.BLOCKED)

    def check_limits(self, max_cost: float | None, max_seconds: float | None) -> None:
        """Refuse what may cost more, or take longer, than is allowed.

        Args:
            max_cost: most money, in the currency of the settings; None: no limit.
            max_seconds: most time, one step after the other; None: no limit.

        Raises:
            SweepLimitError: it may, or nothing supports a number that says it does not.
        """
        if max_cost is None and max_seconds is None:
            return
        estimate, unknown = self.estimate
        if max_seconds is not None:
            if unknown:
                raise SweepLimitError(
                    f"{unknown} steps may take any time: nothing like them is in the cache. Run "
                    "one cell first, or go without --max-time"
                )
            if estimate.seconds is not None and estimate.seconds.high > max_seconds:
                raise SweepLimitError(
                    f"it may take {estimate.seconds.high:.0f} s, more than the {max_seconds:g} s "
                    "of --max-time"
                )
        if max_cost is None:
            return
        if estimate.cost is None:
            raise SweepLimitError(
                "it is unknown what it costs: nothing like it is in the cache, and the settings "
                "have no price for the backend (prices.local.hour). Go without --max-cost"
            )
        if estimate.cost.high > max_cost:
            raise SweepLimitError(
                f"it may cost {estimate.cost.high:.2f}, more than the {max_cost:g} of --max-cost"
            )
