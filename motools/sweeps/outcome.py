"""What became of a sweep, step by step."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from motools.artifacts import Evaluation, Model
from motools.sweeps.plan import Plan, Planned, State

if TYPE_CHECKING:
    from motools.cache import Entry

Result: TypeAlias = Model | Evaluation


class Outcome(enum.StrEnum):
    """What became of a step."""

    HIT = "hit"
    ADOPTED = "adopted"
    RESUMED = "resumed"
    RUN = "run"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Ended:
    """A step that has come to its end.

    Attributes:
        planned: the step as it was planned.
        outcome: what became of it.
        reason: why, where it failed or was skipped.
        made: the model or evaluation, where a task returned it.
        entry: that holds it.
    """

    planned: Planned
    outcome: Outcome
    reason: str = ""
    made: Result | None = None
    entry: Entry | None = None

    @cached_property
    def result(self) -> Result | None:
        """The model or evaluation, read from its entry when asked for; None: there is none."""
        if self.made is None and self.entry is not None and self.planned.step is not None:
            return self.planned.step.decode(self.entry)
        return self.made


class SweepRun:
    """A sweep that was run.

    No dataclass: of one that a flow returns, Prefect would go through every field
    of every step, which takes longer than the sweep.

    Attributes:
        plan: what was to be done.
        ended: every step by what was planned for it.
    """

    def __init__(self, plan: Plan, ended: Mapping[int, Ended]) -> None:
        self.plan = plan
        self.ended = ended

    def of(self, planned: Planned) -> Ended:
        """What became of a step of the plan."""
        return self.ended[id(planned)]

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many steps came to what."""
        found = Counter(each.outcome for each in self.ended.values())
        return {outcome: found[outcome] for outcome in Outcome if found[outcome]}

    @property
    def failures(self) -> list[Ended]:
        """The steps that failed."""
        return [each for each in self.ended.values() if each.outcome is Outcome.FAILED]

    @property
    def stopped(self) -> bool:
        """Whether something that was to be done was left because of a limit."""
        return any(
            each.outcome is Outcome.SKIPPED and each.planned.state is not State.SKIPPED
            for each in self.ended.values()
        )

    def __str__(self) -> str:
        return ", ".join(
            f"{count} {outcome}{'s' * (outcome is Outcome.HIT and count != 1)}"
            for outcome, count in self.counts.items()
        )
