"""``motools sweep``: plan, run and read sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.exits import ExitCode, explained
from motools.cli.light import LightCommand, LightGroup
from motools.cli.options import CacheDir, Style
from motools.cli.output import Column, Format, Row

if TYPE_CHECKING:
    from motools.sweeps.estimates import Range
    from motools.sweeps.plan import Plan, Planned, PlannedCell

app = typer.Typer(
    cls=LightGroup,
    help="Plan, run and read sweeps.",
    epilog=explained(),
    no_args_is_help=True,
    rich_markup_mode=None,
)

File: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="The sweep, as YAML; `motools sweep init` writes one."),
]
MaxCost: TypeAlias = Annotated[
    float | None, typer.Option(min=0, metavar="AMOUNT", help="Refuse what may cost more.")
]
MaxTime: TypeAlias = Annotated[
    float | None, typer.Option(min=0, metavar="SECONDS", help="Refuse what may take longer.")
]

_COLUMNS: Final = (
    Column("cell"),
    Column("step"),
    Column("state"),
    Column("key", output.short),
    Column("seconds", lambda value: _between(value, output.duration), "takes", right=True),
    Column("cost", lambda value: _between(value, output.money), right=True),
    Column("reason"),
)


@app.command(cls=LightCommand)
def init(file: File) -> None:
    """Write a sweep to start from, with a comment on everything."""
    from motools.sweeps import document

    document.write_template(file)
    output.say(f"wrote {file}; `motools sweep plan {file}` says what it would do")


@app.command(cls=LightCommand)
def plan(
    file: File,
    *,
    max_cost: MaxCost = None,
    max_time: MaxTime = None,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Say what a sweep would do, step by step, and what it would take.

    Nothing is run. States: hit (in the cache), adopt (somebody is at it), resume
    (an earlier attempt left something to go on from), run, waiting (for its model)
    and blocked (it cannot be run, for the reason given).
    """
    from motools.sweeps import document
    from motools.sweeps.planner import make_plan

    cache = Cache.open(cache_dir)
    made = make_plan(document.read(file), cache)
    output.emit(list(_rows(made)), _COLUMNS, style)
    output.say(_summary(made, cache.settings.currency))
    made.check_limits(max_cost, max_time)
    if not made.done:
        raise typer.Exit(ExitCode.WORK_LEFT)


def _rows(plan: Plan) -> Iterator[Row]:
    for cell in plan.cells:
        for step in cell.steps:
            yield _row(cell, step)


def _row(cell: PlannedCell, step: Planned) -> Row:
    return {
        "cell": str(cell.cell),
        "step": step.name,
        "state": str(step.state),
        "key": step.key,
        "seconds": _plain(step.estimate.seconds),
        "cost": _plain(step.estimate.cost),
        "reason": step.reason,
        "parameters": dict(cell.cell.parameters),
        "replicate": cell.cell.replicate,
    }


def _plain(found: Range | None) -> list[float] | None:
    return None if found is None else [found.low, found.high]


def _between(value: Any, show: Any) -> str:
    low, high = value
    if not high:
        return ""
    return show(low) if show(low) == show(high) else f"{show(low)} to {show(high)}"


def _summary(plan: Plan, currency: str) -> str:
    states = ", ".join(f"{count} {state}" for state, count in plan.counts.items())
    estimate, unknown = plan.estimate
    seconds, cost = _plain(estimate.seconds), _plain(estimate.cost)
    time = _between(seconds, output.duration) or "no time"
    money = "unknown" if cost is None else f"{_between(cost, output.money) or '0.00'} {currency}"
    missing = f", and {output.count(unknown, 'step')} of unknown length" if unknown else ""
    return (
        f"{output.count(len(plan.cells), 'cell')}: {states}; one after the other {time}{missing}; "
        f"cost: {money}"
    )
