"""A sweep at a glance: a mark for each of its steps, for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.text import Text

from motools.sweeps.outcome import Ended, Outcome
from motools.sweeps.plan import Plan, Planned

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

LINES: Final = 3
"""Of marks for one name of a step. Where there are more steps, a mark stands for several."""


class Mark(NamedTuple):
    """How one state is drawn.

    Attributes:
        name: of the state.
        sign: in Unicode.
        plain: where that cannot be shown.
        style: its colour.
    """

    name: str
    sign: str
    plain: str
    style: str


FAILED: Final = Mark("failed", "✗", "x", "red")
IN_FLIGHT: Final = Mark("in flight", "▶", ">", "yellow")
LEFT: Final = Mark("left", "·", ".", "bright_black")
MARKS: Final[Mapping[Outcome, Mark]] = {
    Outcome.FAILED: FAILED,
    Outcome.SKIPPED: Mark("skipped", "╌", "-", "bright_black"),
    Outcome.RUN: Mark("run", "■", "#", "green"),
    Outcome.RESUMED: Mark("resumed", "◧", "+", "green"),
    Outcome.ADOPTED: Mark("adopted", "◨", "a", "cyan"),
    Outcome.HIT: Mark("hit", "□", "=", "blue"),
}
# Of several steps the one that a person should see first.
_ORDER: Final = [FAILED, IN_FLIGHT, LEFT, *list(MARKS.values())[1:]]


class Tiles:
    """The steps of a plan as they are, drawn anew whenever they are shown.

    Args:
        plan: of the sweep.
    """

    def __init__(self, plan: Plan) -> None:
        self._steps: dict[str, list[Planned]] = {}
        for step in plan.steps:
            self._steps.setdefault(step.name, []).append(step)
        self._marks: dict[str, list[Mark]] = {}

    def update(self, ended: Mapping[int, Ended], in_flight: Collection[Planned]) -> None:
        """Take over how far the sweep is.

        Args:
            ended: the steps that have come to their end, as :attr:`SweepRun.ended` has them.
            in_flight: the steps that are being run.
        """
        running = set(map(id, in_flight))

        def mark(step: Planned) -> Mark:
            if (found := ended.get(id(step))) is not None:
                return MARKS[found.outcome]
            return IN_FLIGHT if id(step) in running else LEFT

        self._marks = {name: [mark(step) for step in steps] for name, steps in self._steps.items()}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draw the marks of each name of a step beside it, and below what they mean."""
        plain = options.ascii_only
        label = max(map(len, self._marks), default=0) + 1
        width = max(1, options.max_width - label - 1)
        shown: set[Mark] = set()
        each = 1
        for name, marks in self._marks.items():
            each = max(each, size := ceil(len(marks) / (width * LINES)))
            first = [min(group, key=_ORDER.index) for group in _groups(marks, size)]
            shown.update(first)
            for number, line in enumerate(_groups(first, width)):
                text = Text(f" {name if number == 0 else '':{label}}", no_wrap=True, end="")
                for one in line:
                    text.append(one.plain if plain else one.sign, one.style)
                yield Text.assemble(text, "\n", end="")
        if shown:
            yield _legend([mark for mark in _ORDER if mark in shown], each, plain=plain)


def _groups(marks: Sequence[Mark], size: int) -> Iterator[Sequence[Mark]]:
    return (marks[start : start + size] for start in range(0, len(marks), size))


def _legend(marks: Sequence[Mark], each: int, *, plain: bool) -> Text:
    text = Text(" ", no_wrap=True, overflow="crop")
    for mark in marks:
        text.append(mark.plain if plain else mark.sign, mark.style)
        text.append(f" {mark.name}  ")
    if each > 1:
        text.append(f"a mark is up to {each} steps")
    return text
