"""``motools sweep results`` and ``plot``: what a sweep has found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, one_of
from motools.cli.output import Column, Format, Row
from motools.errors import ConfigError

if TYPE_CHECKING:
    from motools.sweeps.plan import Plan
    from motools.sweeps.results import Results


class ResultFormat(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


File: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep, as YAML.")]
Only: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="CHOICE",
        help="Only these: names of evaluations, or PATH=VALUE,VALUE. May be repeated.",
    ),
]
Over: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar="PATH",
        help="What means are over. May be repeated. By default seed and replicate.",
    ),
]
IntervalMethod: TypeAlias = Annotated[
    str, typer.Option("--interval", metavar="METHOD", help="Of means: t, percentile, bca.")
]
Level: TypeAlias = Annotated[
    float, typer.Option(metavar="SHARE", help="Level of confidence of the intervals.")
]
Seed: TypeAlias = Annotated[
    int, typer.Option(min=0, metavar="NUMBER", help="Of bootstraps and permutations.")
]
EvaluationName: TypeAlias = Annotated[
    str | None, typer.Option("--evaluation", metavar="NAME", help="Only this evaluation.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to those of ``motools sweep``."""
    for command in (results, plot):
        app.command(cls=LightCommand)(command)


def results(
    file: File,
    *,
    mean: Annotated[
        bool, typer.Option("--mean", help="Means over seeds and replicates, with intervals.")
    ] = False,
    over: Over = None,
    method: IntervalMethod = "t",
    level: Level = 0.95,
    seed: Seed = 0,
    wide: Annotated[
        bool, typer.Option("--wide", help="A column for every score, not a row.")
    ] = False,
    only: Only = None,
    style: Annotated[
        ResultFormat | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"{', '.join(ResultFormat)}; by default as the file ends, or table.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="PATH", help="Write to this file.")
    ] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Print every score of a sweep that is in the cache: a row for each.

    What is missing is a row with its state and no values, and counted on stderr.
    Nothing is run.
    """
    if mean and wide:
        raise typer.BadParameter("--wide is for single scores, --mean for means; give one")
    chosen = style or _by_ending(out)
    if chosen is ResultFormat.PARQUET and out is None:
        raise typer.BadParameter("--format parquet is for a file; give one with -o")
    found = _results(planned(file, Cache.open(cache_dir, create=False)), only)
    rows, columns = found.wide if wide else found.rows, _columns(found, wide=wide)
    if mean:
        from motools.sweeps.statistics import Method
        from motools.sweeps.summary import REPEATS, summarise

        way = one_of(Method, method, "--interval")
        means = summarise(found, over or REPEATS, method=way, level=level, seed=seed)
        rows = [each.row for each in means]
        columns = _mean_columns(rows)
    _write(rows, columns, chosen, out)
    _say_missing(found, file)
    if mean and (alone := sum(row["interval"].startswith("none") for row in rows)):
        output.say(f"{output.count(alone, 'mean')} of fewer than two values: without an interval")


def plot(
    file: File,
    *,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="PATH", help="Ends in .png, .svg, .pdf or .html."),
    ],
    x: Annotated[str, typer.Option("--x", metavar="PATH", help="Along the horizontal axis.")],
    by: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Lines or bars; in a heat map the vertical axis."),
    ] = None,
    score: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which score, if there are several.")
    ] = None,
    evaluation: EvaluationName = None,
    kind: Annotated[str, typer.Option(metavar="KIND", help="line, heatmap or bars.")] = "line",
    over: Over = None,
    method: IntervalMethod = "t",
    level: Level = 0.95,
    only: Only = None,
    cache_dir: CacheDir = None,
) -> None:
    """Draw the means of a score, with their intervals.

    The axes are parameters, or evaluation or score. Cells without a value on the
    horizontal axis, as base models, are drawn as lines across.
    """
    from motools.sweeps import plots
    from motools.sweeps.statistics import Method
    from motools.sweeps.summary import REPEATS

    found = _results(planned(file, Cache.open(cache_dir, create=False)), only)
    drawn = plots.plot(
        found,
        x=x,
        y=score,
        by=by,
        kind=one_of(plots.Kind, kind, "--kind"),
        evaluation=evaluation,
        over=over or REPEATS,
        method=one_of(Method, method, "--interval"),
        level=level,
    )
    drawn.save(out)
    _say_missing(found, file)
    output.say(f"{out}: {drawn.caption}")


def planned(file: Path, cache: Cache) -> Plan:
    """The sweep of a file, held against a cache."""
    from motools.sweeps import document
    from motools.sweeps.planner import make_plan

    return make_plan(document.read(file), cache)


def _results(plan: Plan, only: list[str] | None) -> Results:
    from motools.sweeps.results import of_plan
    from motools.sweeps.subset import Subset

    return of_plan(plan, Subset.parse(only, plan.sweep) if only else None)


def _by_ending(out: Path | None) -> ResultFormat:
    endings = {f".{each}": each for each in ResultFormat}
    ending = "" if out is None else out.suffix.lower()
    return endings.get(ending, ResultFormat.TABLE)


def _write(
    rows: Sequence[Row], columns: Sequence[Column], style: ResultFormat, out: Path | None
) -> None:
    if out is None:
        output.emit(rows, columns, Format(style))
        return
    try:
        if style is ResultFormat.PARQUET:
            from motools.sweeps.frames import write_parquet

            write_parquet([dict(row) for row in rows], out)
        else:
            with out.open("w", encoding="utf-8") as stream, redirect_stdout(stream):
                output.emit(rows, columns, Format(style))
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise ConfigError(f"{out}: cannot be written: {why}") from problem


def _say_missing(found: Results, file: Path) -> None:
    if found.missing:
        states = ", ".join(f"{count} {state}" for state, count in found.missing.items())
        output.say(f"not in the cache: {states}; `motools sweep plan {file}` says why")


def number(value: Any) -> str:
    """A number as a person reads it; anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def figure(field: str, title: str = "") -> Column:
    """A column of numbers."""
    return Column(field, number, title, right=True)


def _columns(found: Results, *, wide: bool) -> list[Column]:
    fixed = [figure("samples"), Column("seconds", output.duration, "took", right=True)]
    fixed += [Column("cost", output.money, right=True), Column("state")]
    fixed += [Column("eval_key", output.short, "key")]
    heads = [figure(name) for name in found.columns.values()]
    if any(each.replicate for each in found.measurements):
        heads.append(figure("replicate"))
    heads.append(Column("evaluation"))
    if not wide:
        return [*heads, Column("score"), figure("value"), figure("stderr"), *fixed]
    scores = dict.fromkeys(each.score for each in found.measurements if each.score)
    return [*heads, *(figure(name) for name in scores), *fixed]


def _mean_columns(rows: Sequence[Row]) -> list[Column]:
    return [
        Column(name) if name in _TEXTS else figure(name)
        for name in (rows[0] if rows else ())
        if name != "task" and (name != "missing" or any(row["missing"] for row in rows))
    ]


_TEXTS: Final = ("evaluation", "score", "interval")
