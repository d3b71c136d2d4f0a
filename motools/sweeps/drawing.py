"""Drawing with Matplotlib, for print: one style, colours that everybody can tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from motools.sweeps.extras import needed
from motools.sweeps.plots import Kind, Plot
from motools.sweeps.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's, the darker ones first; yellow is left out, too pale on white.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES: Final = ("-", "--", ":")
REFERENCES: Final = ((0, (4, 3)), (0, (1, 2)), (0, (6, 2, 1, 2)))
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Final[Mapping[str, Any]] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so figures are the same everywhere
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "svg.hashsalt": "motools",  # the same figure is the same bytes
    "pdf.fonttype": 42,
}
_SIZE: Final = (4.8, 3.2)
"""Inches: one column and a half of a paper."""

_CELL: Final = (0.95, 0.6)
"""Inches of one cell of a heat map."""

_BAR: Final = 0.8
"""Width of a group of bars, where groups are 1 apart."""

_MOST_TICKS: Final = 8
_MOST_LETTERS: Final = 45
_MOST_NAMES: Final = 14
"""Below each other in a legend: more would leave no room for the figure."""

FORMATS: Final = ("png", "svg", "pdf")
_UNTOLD: Final = {
    "png": ("Software",),
    "svg": ("Creator", "Date", "Format", "Type"),
    "pdf": ("Creator", "Producer", "CreationDate"),
}
"""What Matplotlib writes into a file unasked: the time, its version."""


def draw(plot: Plot) -> Figure:
    """A figure of a plot.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    with needed("matplotlib", "plots").rc_context(STYLE):
        figure: Figure = needed("matplotlib.figure", "plots").Figure(
            _size(plot), layout="constrained"
        )
        axes = figure.subplots()
        {Kind.LINE: _lines, Kind.BARS: _bars, Kind.HEATMAP: _heat_map}[plot.kind](plot, axes)
        axes.set_xlabel(words(plot.x))
        return figure


def picture(plot: Plot, style: str) -> bytes:
    """A plot as the bytes of a PNG, SVG or PDF file; the same plot is the same bytes.

    Args:
        plot: what it shows.
        style: ``png``, ``svg`` or ``pdf``.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    with needed("matplotlib", "plots").rc_context(STYLE), BytesIO() as stream:
        metadata = dict.fromkeys(_UNTOLD[style])
        draw(plot).savefig(stream, format=style, metadata=metadata)
        return stream.getvalue()


def _size(plot: Plot) -> tuple[float, float]:
    if plot.kind is not Kind.HEATMAP:
        return _SIZE
    return 1.9 + _CELL[0] * len(plot.xs), 1.0 + _CELL[1] * len(plot.groups)


def _label(name: Any) -> str:
    """A name in the legend, which has none that begin with an underscore."""
    text = number(name)
    return f" {text}" if text.startswith("_") else text


def words(column: str) -> str:
    """A column's name as a person writes it."""
    return _literal(column.replace("_", " "))


def _literal(text: str) -> str:
    """Text in which a dollar sign is one, and starts no formula."""
    return text.replace("$", r"\$")


def number(value: Any) -> str:
    """A value on an axis: small and large numbers by their powers of ten."""
    if isinstance(value, float) and value and not 1e-2 <= abs(value) < 1e5:
        digits, power = f"{value:e}".split("e")
        digits = f"{float(digits):g}"
        times = "" if digits == "1" else f"{digits}\\cdot"
        return f"${times}10^{{{int(power)}}}$"
    return f"{value:g}" if isinstance(value, float) else _literal(str(value))


def _lines(plot: Plot, axes: Axes) -> None:
    places = _places(plot, axes)
    for order, group in enumerate(plot.groups):
        there = [x for x in plot.xs if (x, group) in plot.points]
        found = [plot.points[x, group] for x in there]
        at, colour = [places[x] for x in there], COLOURS[order % len(COLOURS)]
        axes.plot(
            at,
            [_mean(one) for one in found],
            color=colour,
            marker=MARKERS[order % len(MARKERS)],
            linestyle=LINES[order // len(COLOURS) % len(LINES)],
            label=None if group is None else _label(group),
            clip_on=False,
            zorder=3,
        )
        low, high = _ends(found)
        if len(at) > 1:
            axes.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
        else:
            axes.vlines(at, low, high, color=colour)
    _references(plot, axes)
    _finish(plot, axes)


def _bars(plot: Plot, axes: Axes) -> None:
    xs, groups = plot.xs, plot.groups
    width = _BAR / len(groups)
    for order, group in enumerate(groups):
        there = [n for n, x in enumerate(xs) if (x, group) in plot.points]
        found = [plot.points[xs[n], group] for n in there]
        at = [n + (order - (len(groups) - 1) / 2) * width for n in there]
        axes.bar(
            at,
            [_mean(one) for one in found],
            width * 0.92,
            color=COLOURS[order % len(COLOURS)],
            label=None if group is None else _label(group),
        )
        axes.vlines(at, *_ends(found), color="black", linewidth=1)
    axes.set_xticks(range(len(xs)), [number(x) for x in xs])
    axes.tick_params(axis="x", length=0)
    _turn(axes, xs)
    _references(plot, axes)
    _finish(plot, axes)


def _heat_map(plot: Plot, axes: Axes) -> None:
    xs, groups = plot.xs, plot.groups
    means = [[_mean(plot.points.get((x, group))) for x in xs] for group in groups]
    image = axes.imshow(means, cmap="cividis", aspect="auto", origin="lower")
    axes.set_facecolor("0.9")
    for row, group in enumerate(groups):
        for column, x in enumerate(xs):
            _write_cell(axes, image, column, row, plot.points.get((x, group)))
    axes.set_xticks(range(len(xs)), [number(x) for x in xs])
    axes.set_yticks(range(len(groups)), [number(group) for group in groups])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel(words(plot.by or ""))
    _turn(axes, xs)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(_literal(plot.y))
    bar.outline.set_visible(False)


def _write_cell(axes: Axes, image: Any, column: int, row: int, found: Summary | None) -> None:
    """The mean, and below it half the interval's length; dark on light and light on dark."""
    if found is None or found.mean is None:
        axes.text(column, row, "none", ha="center", va="center", color="0.4", fontsize=7)
        return
    red, green, blue, _ = image.cmap(image.norm(found.mean))
    colour = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
    digits = ".3f" if abs(found.mean) < 10 else ".4g"
    text = f"{found.mean:{digits}}"
    if (around := found.interval) is not None:
        up, down = around.high - found.mean, found.mean - around.low
        even = math.isclose(up, down, rel_tol=1e-6, abs_tol=1e-9)
        text += f"\n±{up:{digits}}" if even else f"\n+{up:{digits}}/-{down:{digits}}"
    axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7.5)


def _places(plot: Plot, axes: Axes) -> Mapping[Any, Any]:
    """Where each x is on the axis, with a tick there."""
    xs = plot.xs
    if not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in xs):
        axes.set_xticks(range(len(xs)), [number(x) for x in xs])
        axes.margins(x=0.1)
        _turn(axes, xs)
        return {x: n for n, x in enumerate(xs)}
    if plot.logarithmic:
        axes.set_xscale("log")
    if len(xs) <= _MOST_TICKS:
        axes.set_xticks(xs, [number(x) for x in xs])
        axes.minorticks_off()
    return {x: x for x in xs}


def _references(plot: Plot, axes: Axes) -> None:
    for order, (name, found) in enumerate(plot.references.items()):
        style = REFERENCES[order % len(REFERENCES)]
        axes.axhline(_mean(found), color="0.35", linestyle=style, linewidth=1.2, label=_label(name))


def _finish(plot: Plot, axes: Axes) -> None:
    axes.set_ylabel(_literal(plot.y))
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    entries = len(plot.groups) * (plot.by is not None) + len(plot.references)
    if entries:
        title = None if plot.by is None else words(plot.by)
        axes.legend(
            title=title,
            alignment="left",
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            ncols=math.ceil(entries / _MOST_NAMES),
        )


def _mean(found: Summary | None) -> float:
    return math.nan if found is None or found.mean is None else found.mean


def _ends(found: Sequence[Summary]) -> tuple[list[float], list[float]]:
    """The ends of every interval; not numbers where there is none."""
    ends = [one.interval for one in found]
    return (
        [math.nan if one is None else one.low for one in ends],
        [math.nan if one is None else one.high for one in ends],
    )


def _turn(axes: Axes, labels: Sequence[Any]) -> None:
    """Slant labels that would run into each other."""
    if sum(len(str(label)) for label in labels) > _MOST_LETTERS:
        axes.tick_params(axis="x", rotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
