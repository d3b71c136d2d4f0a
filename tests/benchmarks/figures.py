"""What a benchmark measures and how it is printed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured thing.

    Attributes:
        what: what was done.
        who: who did it; ``motools`` first in each group.
        seconds: median, for one unit of work.
        note: what to hold it against.
    """

    what: str
    who: str
    seconds: float
    note: str = ""


def median_of_each(
    calls: dict[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, float]:
    """The median time of each call, taken in turn, so that drift meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values() if warm_up else ():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in times.items()}


def show(figures: list[Figure]) -> None:
    """Print figures in groups, each with its ratio to the group's first."""
    print(f"{'what':44} {'who':22} {'median':>12} {'ratio':>8}  note")
    ours: dict[str, float] = {}
    for figure in figures:
        base = ours.setdefault(figure.what, figure.seconds)
        time_text = _readable(figure.seconds)
        print(
            f"{figure.what:44} {figure.who:22} {time_text:>12} "
            f"{figure.seconds / base:>7.2f}x  {figure.note}"
        )


def _readable(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
