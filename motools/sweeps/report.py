"""A run of a sweep as Markdown, for people who look at it where it ran."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

from motools.sweeps.outcome import SweepRun
from motools.sweeps.results import Measurement, Results, of_run

MOST_ROWS: Final = 200
"""Rows of a table; further ones are counted."""

_SPECIAL: Final = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]()#+!|~<>$"} | {"\n": " "})


def summary(run: SweepRun) -> str:
    """What became of a run, in one line: ``8 cells: 14 hits, 3 run, 1 failed``."""
    count = len(run.plan.cells)
    return f"{count} cell{'s' * (count != 1)}: {run}"


def markdown(run: SweepRun, picture: bytes | None = None) -> str:
    """What became of a run: the outcome, a table of all scores, and what failed.

    Args:
        run: of a sweep.
        picture: a PNG to show above the table, as
            :func:`motools.sweeps.drawing.picture` makes it; it becomes part of the text.
    """
    parts = [f"# {_safe(run.plan.sweep.name)}", _safe(summary(run))]
    if picture is not None:
        data = base64.b64encode(picture).decode()
        parts.append(f"![{_safe(run.plan.sweep.name)}](data:image/png;base64,{data})")
    results = of_run(run)
    if results.measurements:
        parts.append(_scores(results))
    failed = [(each.planned.name, each.planned.key, each.reason) for each in run.failures]
    if failed:
        parts += ["## Failed", _table(["step", "key", "reason"], failed)]
    return "\n\n".join(parts) + "\n"


def _scores(results: Results) -> str:
    """A row for every evaluation, with its scores beside each other."""
    names = list(dict.fromkeys(m.score for m in results.measurements if m.score))
    repeated = any(m.replicate for m in results.measurements)
    found: dict[Any, tuple[Measurement, dict[str, str]]] = {}
    for each in results.measurements:
        place = tuple(map(repr, (*each.parameters.values(), each.replicate, each.evaluation)))
        _, scores = found.setdefault(place, (each, {}))
        if each.score:
            scores[each.score] = _with_error(each)
    rows = [
        [
            *each.parameters.values(),
            *([each.replicate] if repeated else []),
            each.evaluation,
            *(scores.get(name) for name in names),
            each.state,
        ]
        for each, scores in found.values()
    ]
    replicate = ["replicate"] if repeated else []
    heads = [*results.columns.values(), *replicate, "evaluation", *names, "outcome"]
    return _table(heads, rows)


def _with_error(each: Measurement) -> str:
    if each.value is None:
        return "not a number"
    return f"{each.value:.3g}" if each.stderr is None else f"{each.value:.3g} ± {each.stderr:.2g}"


def _table(heads: Sequence[str], rows: Sequence[Iterable[Any]]) -> str:
    lines = [_line(heads), _line(["---"] * len(heads), safe=str)]
    lines += [_line(row) for row in rows[:MOST_ROWS]]
    more = len(rows) - MOST_ROWS
    return "\n".join(lines) + (f"\n\nand {more} more" if more > 0 else "")


def _safe(value: Any) -> str:
    """Text that is no Markdown and no HTML: names come from other people's files."""
    if value is None:
        return ""
    return (f"{value:g}" if isinstance(value, float) else str(value)).translate(_SPECIAL)


def _line(cells: Iterable[Any], safe: Any = _safe) -> str:
    return f"| {' | '.join(map(safe, cells))} |"
