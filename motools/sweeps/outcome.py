"""What became of a sweep, step by step."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from motools.artifacts import Evaluation, Model
from motools.sweeps.plan import Plan, Planned

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
        result: the model or evaluation; None where there is none.
        entry: that holds it.
    """

    planned: Planned
    outcome: Outcome
    reason: str = ""
    result: Result | None = None
    entry: Entry | None = None


@dataclass(frozen=True)
class SweepRun:
    """A sweep that was run.

    Attributes:
        plan: what was to be done.
        ended: every step by what was planned for it.
    """

    plan: Plan
    ended: Mapping[int, Ended]

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

    def __str__(self) -> str:
        return ", ".join(
            f"{count} {outcome}{'s' * (outcome is Outcome.HIT and count != 1)}"
            for outcome, count in self.counts.items()
        )
