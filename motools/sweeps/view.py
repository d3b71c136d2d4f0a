"""How far a sweep is: marks and a line above those of its jobs, or a line of the log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from statistics import fmean
from typing import Final

from prefect.logging import get_run_logger

from motools.sweeps.outcome import Ended, Outcome
from motools.sweeps.plan import Plan, Planned
from motools.sweeps.tiles import Tiles
from motools.tasks.board import BOARD, SHOWN

_LOG_EVERY: Final = 30.0
_MADE: Final = (Outcome.RUN, Outcome.RESUMED, Outcome.ADOPTED, Outcome.FAILED)
_PAID: Final = (Outcome.RUN, Outcome.RESUMED)
_SHOW_EVERY: Final = 0.5
"""Every step of the sweep is gone through for the time that is left."""


class View:
    """What is shown of one sweep.

    Args:
        plan: of the sweep.
        at_once: most steps in flight.
    """

    def __init__(self, plan: Plan, at_once: int) -> None:
        self._name = f"sweep {plan.sweep.name}"
        self._steps = plan.steps
        self._at_once = at_once
        self._tiles = Tiles(plan)
        self._started = time.monotonic()
        self._show_next = 0.0
        self._log_next = time.monotonic() + _LOG_EVERY
        self._logger = get_run_logger()

    def show(self, ended: Mapping[int, Ended], in_flight: Collection[Planned]) -> None:
        """Say how far it is, at most twice a second.

        Args:
            ended: the steps that have come to their end, as :attr:`SweepRun.ended` has them.
            in_flight: the steps that are being run.
        """
        if (now := time.monotonic()) < self._show_next:
            return
        self._show_next = now + _SHOW_EVERY
        text = self._text(ended.values(), len(in_flight))
        self._tiles.update(ended, in_flight)
        BOARD.top(self._name, self._tiles)
        shown = BOARD.show(self._name, text, len(ended), len(self._steps))
        if now >= self._log_next:
            self._log_next = now + _LOG_EVERY
            self._logger.info("%s", text, extra={SHOWN: shown})

    def close(self) -> None:
        """Take the line away."""
        BOARD.drop(self._name)

    def _text(self, ended: Collection[Ended], in_flight: int) -> str:
        counts = Counter(each.outcome for each in ended)
        states = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
        cost = sum(e.entry.cost or 0.0 for e in ended if e.entry and e.outcome in _PAID)
        parts = [f"{len(ended)} of {len(self._steps)} steps", *states, f"{in_flight} in flight"]
        if made := sum(count for outcome, count in counts.items() if outcome in _MADE):
            parts.append(f"{made / (time.monotonic() - self._started) * 60:.3g} a minute")
        if cost:
            parts.append(f"{cost:.2f} spent")
        if (left := self._seconds_left(ended)) is not None:
            parts.append(f"{left:.0f} s left")
        return f"{self._name}: {', '.join(parts)}"

    def _seconds_left(self, ended: Collection[Ended]) -> float | None:
        """About how long the rest takes; None: nothing supports a number."""
        over = {id(each.planned) for each in ended}
        took: dict[str, list[float]] = {}
        for each in ended:
            if each.entry is not None and each.outcome in _MADE:
                took.setdefault(each.planned.name, []).append(each.entry.duration)
        left = 0.0
        for step in self._steps:
            if id(step) in over:
                continue
            if step.name in took:
                left += fmean(took[step.name])
            elif (estimate := step.estimate.seconds) is not None:
                left += (estimate.low + estimate.high) / 2
            else:
                return None
        return left / self._at_once
