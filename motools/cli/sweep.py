"""``motools sweep``: plan, run and read sweeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.exits import ExitCode, explained
from motools.cli.light import LightCommand, LightGroup
from motools.cli.options import CacheDir, Revalidate, Style, one_of
from motools.cli.output import Column, Format, Row
from motools.errors import CacheNotFoundError
from motools.settings import Settings

if TYPE_CHECKING:
    from motools.sweeps.estimates import Range
    from motools.sweeps.orders import Orders
    from motools.sweeps.outcome import SweepRun
    from motools.sweeps.plan import Plan, Planned, PlannedCell
    from motools.sweeps.sweep import Sweep

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

_SHARED: Final = ("MOTOOLS_STORE", "MOTOOLS_DATABASE_URL")
"""Settings that join a directory to a cache that is elsewhere, too."""

_OUTCOMES: Final = (
    Column("cell"),
    Column("step"),
    Column("outcome"),
    Column("key", output.short),
    Column("scores", output.fields),
    Column("reason"),
)
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
    revalidate: Revalidate = False,
    max_cost: MaxCost = None,
    max_time: MaxTime = None,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Say what a sweep would do, step by step, and what it would take.

    Nothing is run. States: hit (in the cache), adopt (somebody is at it), resume
    (an earlier attempt left something to go on from), run, waiting (for its model)
    and blocked (it cannot be run, for the reason given). What `motools sweep run`
    is told to leave out is skipped in its --dry-run.
    """
    from motools.sweeps import document
    from motools.sweeps.orders import Orders

    orders = Orders(revalidate=0.0 if revalidate else None)
    sweep = document.read(file)
    _say_unmet(sweep, file)
    made = _shown(sweep, orders, cache_dir, style)
    made.check_limits(max_cost, max_time)
    _tell_work_left(made)


def _shown(sweep: Sweep, orders: Orders, place: Path | None, style: Format) -> Plan:
    """The plan of a sweep, which was shown."""
    from motools.sweeps.orders import ordered
    from motools.sweeps.planner import make_plan

    with _planned_in(place) as cache:
        hours = orders.hours(cache.settings)
        made = ordered(make_plan(sweep, cache, revalidate=hours), orders)
        output.emit(list(_rows(made)), _COLUMNS, style)
        output.say(_summary(made, cache.settings.currency))
    return made


@contextmanager
def _planned_in(place: Path | None) -> Iterator[Cache]:
    """The cache to plan in; where there is none, an empty one that is gone afterwards."""
    try:
        cache = Cache.open(place, create=False)
    except CacheNotFoundError:
        output.say("there is no cache yet: planned as for an empty one")
        with TemporaryDirectory() as empty:
            settings = replace(Settings.load(), store="", database_url="", remote_mode="off")
            cache = Cache.open(empty, settings=settings)
            yield cache
            cache.close()
        return
    yield cache


def _say_unmet(sweep: Sweep, file: Path) -> None:
    for name in sweep.unmet():
        output.say(f"{file}: {name} is met by no cell")


def _tell_work_left(made: Plan) -> None:
    if not made.done:
        raise typer.Exit(ExitCode.WORK_LEFT)


@app.command(cls=LightCommand)
def run(
    file: File,
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="WHAT",
            help="Run nothing else: models, evals, an evaluation's name, or path=value,value. "
            "May be repeated.",
        ),
    ] = None,
    refresh: Annotated[
        list[str] | None,
        typer.Option("--refresh", metavar="WHAT", help="Run these although they are in the cache."),
    ] = None,
    runner: Annotated[
        str, typer.Option(metavar="NAME", help="Where steps run: threads, processes, dask or ray.")
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A Dask or Ray cluster; by default one is made here."),
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="Most steps in flight.")
    ] = None,
    hits: Annotated[
        str, typer.Option(metavar="HOW", help="What a hit is in Prefect: event or task_run.")
    ] = "event",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Run nothing; show what is in the cache.")
    ] = False,
    remake: Annotated[
        bool,
        typer.Option(
            "--remake", help="Train models again whose files were released, where they are needed."
        ),
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Use an empty cache, and throw it away.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Ask the Hugging Face Hub (HF_HUB_OFFLINE=1), the cache's remote and models at "
            "APIs for nothing.",
        ),
    ] = False,
    revalidate: Revalidate = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and stop.")
    ] = False,
    max_cost: MaxCost = None,
    max_time: MaxTime = None,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Do what a sweep has left to do; run it again after whatever stopped it.

    What is in the cache is not done again. Steps that fail stop no others.
    """
    if offline:
        os.environ.update(HF_HUB_OFFLINE="1", MOTOOLS_REMOTE_MODE="off")
    from motools.sweeps import document
    from motools.sweeps.orders import Orders
    from motools.sweeps.subset import Subset

    if no_cache and cache_dir is not None:
        raise typer.BadParameter("--no-cache uses a cache of its own: leave out --cache-dir")
    sweep = document.read(file)
    _say_unmet(sweep, file)
    orders = Orders(
        only=Subset.parse(only, sweep) if only else None,
        refresh=Subset.parse(refresh, sweep) if refresh else None,
        read_only=read_only,
        remake=remake,
        offline=offline,
        revalidate=0.0 if revalidate else None,
    )
    if no_cache and not dry_run:
        # By these, since the processes that steps run in read the settings, too.
        os.environ.update(dict.fromkeys(_SHARED, ""), MOTOOLS_REMOTE_MODE="off")
    with ExitStack() as held:
        place = Path(held.enter_context(TemporaryDirectory())) if no_cache else cache_dir
        if dry_run:
            made = _shown(sweep, orders, place, style)
            made.check_limits(max_cost, max_time)
            _tell_work_left(made)
            return
        # Without a Prefect server it starts one, which takes a while on a new or busy machine.
        os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
        from motools.sweeps.flow import flow_of
        from motools.sweeps.run import AT_ONCE, RunLimits
        from motools.sweeps.runners import Runner

        found = flow_of(
            sweep,
            one_of(Runner, runner, "--runner"),
            address=address,
            cache=Cache.open(place),
            hits=one_of(_Hits, hits, "--hits").value,
            orders=orders,
            limits=RunLimits(at_once or AT_ONCE, max_cost, max_time),
        )
    output.emit(list(_outcomes(found)), _OUTCOMES, style)
    output.say(f"{output.count(len(found.plan.cells), 'cell')}: {found or 'nothing to do'}")
    if found.failures:
        raise typer.Exit(ExitCode.ERROR)
    if found.stopped:
        raise typer.Exit(ExitCode.WORK_LEFT)


class _Hits(StrEnum):
    EVENT = "event"
    TASK_RUN = "task_run"


def _outcomes(run: SweepRun) -> Iterator[Row]:
    from motools.steps import evaluate

    for cell in run.plan.cells:
        for name, planned in cell.named:
            ended = run.of(planned)
            entry = ended.entry
            scored = entry is not None and entry.kind == evaluate.KIND
            yield {
                "cell": str(cell.cell),
                "step": name,
                "outcome": str(ended.outcome),
                "key": None if entry is None else entry.key,
                "scores": entry.value["scores"] if scored and entry is not None else None,
                "reason": ended.reason,
                "parameters": dict(cell.cell.parameters),
                "replicate": cell.cell.replicate,
            }


def _rows(plan: Plan) -> Iterator[Row]:
    for cell in plan.cells:
        for name, step in cell.named:
            yield _row(cell, name, step)


def _row(cell: PlannedCell, name: str, step: Planned) -> Row:
    return {
        "cell": str(cell.cell),
        "step": name,
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
