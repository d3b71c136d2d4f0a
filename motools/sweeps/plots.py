"""Figures of a sweep's means: lines with bands, heat maps of two parameters, grouped bars."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.errors import ConfigError
from motools.sweeps.results import Results, Row
from motools.sweeps.statistics import Method
from motools.sweeps.summary import REPEATS, Summary, summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEARNING_RATE: Final = "learning_rate"
_MANY_TIMES: Final = 50
"""A number that varies by more is on a logarithmic axis."""


class Kind(enum.StrEnum):
    """What a figure is."""

    LINE = "line"
    HEATMAP = "heatmap"
    BARS = "bars"


@dataclass(frozen=True)
class Plot:
    """What a figure shows: a mean at every pair of an x and a group.

    Attributes:
        kind: what it is drawn as.
        x: the column along the horizontal axis.
        by: the column of groups (in a heat map, of the vertical axis); None: one group.
        y: what the numbers are.
        points: x and group to the mean there.
        references: means of cells without an x, by name: base models, mostly.
    """

    kind: Kind
    x: str
    by: str | None
    y: str
    points: Mapping[tuple[Any, Any], Summary]
    references: Mapping[str, Summary]

    @property
    def xs(self) -> list[Any]:
        """What is along the horizontal axis: numbers by size, else in the sweep's order."""
        return _ordered(x for x, _ in self.points)

    @property
    def groups(self) -> list[Any]:
        """The groups, in the same order."""
        return _ordered(group for _, group in self.points)

    @property
    def logarithmic(self) -> bool:
        """Whether the horizontal axis is: for learning rates, and for what varies that much."""
        numbers = [x for x in self.xs if _is_number(x)]
        if len(numbers) < len(self.xs) or len(numbers) < 2 or min(numbers) <= 0:
            return False
        return self.x.endswith(_LEARNING_RATE) or max(numbers) / min(numbers) > _MANY_TIMES

    @property
    def caption(self) -> str:
        """What is shown, for below the figure: the means, of how many, with which intervals."""
        counts = sorted({each.n for each in self.points.values()})
        n = f"n = {counts[0]}" if len(counts) == 1 else f"n from {counts[0]} to {counts[-1]}"
        found = {s.interval.name for s in self.points.values() if s.interval is not None}
        intervals = f"with {' and '.join(sorted(found))} intervals" if found else "no intervals"
        by = f" and {self.by}" if self.by else ""
        return f"{self.y} by {self.x}{by}: means ({n}), {intervals}."

    @property
    def rows(self) -> list[Row]:
        """The numbers: a row for every place in the figure, then those of the references."""
        return [each.row for each in (*self.points.values(), *self.references.values())]

    def figure(self) -> Figure:
        """The figure, to change or to save as Matplotlib can.

        Raises:
            MissingExtraError: Matplotlib is not installed.
        """
        from motools.sweeps.drawing import draw

        return draw(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file: ``.png``, ``.svg``, ``.pdf``, or ``.html`` with the numbers below.

        Raises:
            ConfigError: the path ends in something else, or cannot be written.
            MissingExtraError: Matplotlib is not installed.
        """
        from motools.sweeps.drawing import FORMATS, picture
        from motools.sweeps.page import page

        style = Path(path).suffix.lstrip(".").lower()
        if style not in (*FORMATS, "html"):
            raise ConfigError(f"{path}: end it in .{', .'.join(FORMATS)} or .html")
        data = page(self).encode() if style == "html" else picture(self, style)
        try:
            Path(path).write_bytes(data)
        except OSError as problem:
            raise ConfigError(f"{path}: cannot be written: {problem.strerror}") from problem


def plot(
    results: Results,
    *,
    x: str,
    y: str | None = None,
    by: str | None = None,
    kind: Kind = Kind.LINE,
    evaluation: str | None = None,
    over: Iterable[str] = REPEATS,
    method: Method = Method.T,
    level: float = 0.95,
) -> Plot:
    """A figure of means over repeats, with their intervals.

    Args:
        results: of a sweep.
        x: a dot path, or the end of one, or ``evaluation``, ``score`` or ``replicate``.
        y: the score; needed if there are several and none is on an axis.
        by: what is drawn apart: lines, bars beside each other, or rows of a heat map.
        kind: what it is drawn as.
        evaluation: which; needed if there are several and none is on an axis.
        over: what the means are over.
        method: of the intervals.
        level: of confidence.

    Raises:
        ConfigError: a name that the sweep does not have; there is more than one mean
            for a place in the figure; or nothing to draw.
        MissingExtraError: SciPy is not installed.
    """
    x = results.column(x)
    by = None if by is None else results.column(by)
    if kind is Kind.HEATMAP and by is None:
        raise ConfigError("by: a heat map has two parameters; name the other one")
    found = [each for each in summarise(results, over, method=method, level=level) if each.n]
    found = _chosen(found, "evaluation", evaluation, (x, by))
    found = _chosen(found, "score", y, (x, by))
    if not found:
        raise ConfigError("there is nothing to draw: no score is in the cache yet")
    points: dict[tuple[Any, Any], Summary] = {}
    references: dict[str, Summary] = {}
    for each in found:
        place = _at(each, x), _group(each, by)
        if place[0] is None:
            references[_name(each)] = each
        elif place in points:
            raise ConfigError(
                f"there are several means at {x}={place[0]}: they differ in "
                f"{_difference(points[place], each)}. Put it on an axis with by, take means over "
                "it with over, or choose one of its values with only"
            )
        else:
            points[place] = each
    if not points:
        raise ConfigError(f"{x}: no cell with a score has a value there")
    label = found[0].score if y is None else y
    if evaluation is None and "evaluation" not in (x, by):
        evaluation = found[0].evaluation
    label = "score" if "score" in (x, by) else f"{label}"
    title = f"{evaluation}: {label}" if evaluation else label
    return Plot(kind, x, by, title, points, references)


def overview(results: Results) -> Plot | None:
    """A figure of the first score, for a report: over what varies but the repeats.

    Returns:
        None, if no score is there yet or more varies than two axes can show.
    """
    first = next((each for each in results.measurements if each.value is not None), None)
    varied = {
        column: values
        for path, column in results.columns.items()
        if path not in REPEATS and len(values := _there(results, column)) > 1
    }
    numbers = [column for column, values in varied.items() if all(map(_is_number, values))]
    axes = [*dict.fromkeys([*numbers, *varied])] or ["evaluation"]
    if first is None or len(axes) > 2:
        return None
    try:
        return plot(
            results,
            x=axes[0],
            by=axes[1] if len(axes) > 1 else None,
            y=first.score,
            kind=Kind.LINE if numbers else Kind.BARS,
            evaluation=None if "evaluation" in axes else first.evaluation,
        )
    except ConfigError:
        return None  # some cells differ in what not even two of them have, as base models do


def _there(results: Results, column: str) -> list[Any]:
    """The different values of a parameter."""
    values = (each.parameters[column] for each in results.measurements)
    return list(dict.fromkeys(value for value in values if value is not None))


def _chosen(
    found: Sequence[Summary], field: str, wanted: str | None, axes: tuple[str | None, ...]
) -> list[Summary]:
    """The means of one evaluation or score, unless they are on an axis."""
    there = list(dict.fromkeys(getattr(each, field) for each in found))
    if wanted is not None:
        if wanted not in there:
            raise ConfigError(f"{field}: there is no {wanted!r}; there are {', '.join(there)}")
        return [each for each in found if getattr(each, field) == wanted]
    if len(there) > 1 and field not in axes:
        raise ConfigError(f"{field}: say which: {', '.join(map(str, there))}")
    return list(found)


def _group(summary: Summary, by: str | None) -> Any:
    """Its group; what has no value there, as a base model, is one of its own."""
    if by is None:
        return None
    value = _at(summary, by)
    return _name(summary) if value is None else value


def _at(summary: Summary, column: str) -> Any:
    if column in ("evaluation", "score", "task"):
        return getattr(summary, column)
    return summary.parameters.get(column)


def _name(summary: Summary) -> str:
    parts = [str(value) for value in summary.parameters.values() if value is not None]
    return ", ".join(parts) or "the others"


def _difference(one: Summary, other: Summary) -> str:
    fields = {**one.parameters, "evaluation": one.evaluation, "score": one.score}
    others = {**other.parameters, "evaluation": other.evaluation, "score": other.score}
    return ", ".join(name for name in fields if fields[name] != others[name])


def _ordered(values: Iterable[Any]) -> list[Any]:
    found = list(dict.fromkeys(values))
    return sorted(found) if all(map(_is_number, found)) else found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
