"""``motools jobs``: paid jobs in flight and ended, and what is being run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from motools.cache import attempt as attempts
from motools.cache import removal, running
from motools.cache.attempt import Attempt
from motools.cache.cache import Cache
from motools.cache.removal import RemovalPlan
from motools.cli import output
from motools.cli.consent import get_consent
from motools.cli.exits import explained
from motools.cli.light import LightCommand, LightGroup
from motools.cli.options import WHEN, CacheDir, DryRun, Style, Yes, parse_when
from motools.cli.output import Column, Format, Row

if TYPE_CHECKING:
    from motools.errors import MotoolsError
    from motools.steps.jobs import Work
    from motools.training.provider import JobStatus

    Said = JobStatus | MotoolsError

app = typer.Typer(
    cls=LightGroup,
    help="Look after paid jobs: those in flight, and those that ended.",
    epilog=explained(),
    no_args_is_help=True,
    rich_markup_mode=None,
)

Job = Annotated[
    str,
    typer.Argument(metavar="KEY", help="A key, or the beginning of it; or the id of a job."),
]
Status = Annotated[bool, typer.Option("--status", help="Ask the providers how the jobs are now.")]

_RUNNING: Final = "running"
_COLUMNS: Final = (
    Column("key", output.short),
    Column("kind"),
    Column("base_model"),
    Column("attempt", right=True),
    Column("state"),
    Column("status"),
    Column("provider"),
    Column("job_id", title="job"),
    Column("intended_at", output.age, "age", right=True),
    Column("runner"),
    Column("note"),
)


@app.command("list", cls=LightCommand)
def list_jobs(
    *,
    ended: Annotated[bool, typer.Option("--ended", help="Those that have ended.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Those in flight and those that have ended.")
    ] = False,
    status: Status = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """List paid jobs in flight, and what is being run here, newest first.

    States: intent (about to be submitted), unclear (it may have arrived),
    submitted, and those of jobs that ended: succeeded, failed, cancelled, refused
    (never taken), retired (its model was gone), lost (it never arrived), forgotten
    (somebody said so). What runs without a provider is running.
    """
    cache = Cache.open(cache_dir, create=False)
    states = (
        (*attempts.OPEN, *attempts.ENDED)
        if everything
        else (attempts.ENDED if ended else attempts.OPEN)
    )
    found = cache.attempts.select(states)
    runs = {run.key: run for run in running.runs(cache)}
    rows = list(_rows(cache, found, runs, ask=status))
    if not ended:
        rows = sorted([*_locally(cache, runs, found), *rows], key=lambda row: -row["intended_at"])
    output.emit(rows, _COLUMNS, style)
    in_flight = sum(attempt.is_open for attempt in found)
    unclear = [each for each in found if each.state == attempts.UNCLEAR]
    output.say(f"{output.count(in_flight, 'job')} in flight" if rows else "no jobs")
    for each in unclear:
        key = each.key[:12]
        output.say(
            f"{key}: it is not known whether attempt {each.attempt} arrived. Run it again, or "
            f"`motools jobs adopt {key} JOB_ID`, or `motools jobs forget {key}`"
        )


@app.command(cls=LightCommand)
def show(
    key: Job, *, status: Status = False, cache_dir: CacheDir = None, style: Style = Format.TABLE
) -> None:
    """Show all that is known of a paid job: its attempts, and what it is for."""
    from motools.steps.jobs import works

    cache = Cache.open(cache_dir, create=False)
    found = cache.attempts.named(key)
    full = found[0].key
    work = works(cache, [full])[full]
    said = _asked(cache, found, {full: work}) if status else {}
    row = {
        "key": full,
        "kind": work.material.get("kind"),
        "base_model": work.labels.get("base_model"),
        "backend": work.backend,
        "runner": running.runner(cache, full),
        "entry": None if work.entry is None else work.entry.state,
        "cost": None if work.entry is None else work.entry.cost,
        "attempts": [_attempt(each, said.get(each)) for each in found],
        "action": work.material or None,
    }
    shows = {
        "attempts": lambda every: "\n".join(map(_line, every)),
        "cost": output.money,
    }
    output.emit_one(row, shows, style)


@app.command(cls=LightCommand)
def clean(
    *,
    before: Annotated[
        float | None,
        typer.Option(
            "--before", metavar="WHEN", parser=parse_when, help=f"Ended before then: {WHEN}."
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Strike jobs off the journal that came to nothing.

    Those that failed, were cancelled or refused, never arrived or were forgotten,
    by default more than 30 days ago. Jobs in flight and those that succeeded stay.
    """
    cache = Cache.open(cache_dir, create=False)
    until = time.time() - _MONTH if before is None else before
    found = cache.attempts.select(attempts.CLEANABLE, before=until)
    plan = RemovalPlan((), {}, 0, attempts=tuple(found))
    output.emit(list(_rows(cache, found, {}, ask=False)), _COLUMNS, style)
    total = f"{output.count(len(found), 'attempt')} of {output.size(plan.bytes_freed)}"
    if dry_run or not found:
        output.say(f"{total} would go" if found else "there is nothing to clean up")
        return
    output.say(f"{total} go for good; jobs at providers are left as they are")
    get_consent("Strike them off?", yes=yes)
    removed = removal.execute(cache, plan)
    output.say(f"struck off {removed.attempts} of {len(found)}: {output.size(removed.bytes_freed)}")


_MONTH: Final = 30 * 86_400.0


def _rows(
    cache: Cache, found: Sequence[Attempt], runs: Mapping[str, running.Run], *, ask: bool
) -> Iterator[Row]:
    """A line for each attempt."""
    from motools.steps.jobs import works

    known = works(cache, [attempt.key for attempt in found])
    said = _asked(cache, found, known) if ask else {}
    for attempt in found:
        work = known[attempt.key]
        run = runs.get(attempt.key) if attempt.is_open else None
        yield {
            "key": attempt.key,
            "kind": work.material.get("kind"),
            "base_model": work.labels.get("base_model"),
            "backend": work.backend,
            "provider": attempt.provider,
            **_attempt(attempt, said.get(attempt)),
            "runner": None if run is None else run.holder,
        }


def _locally(
    cache: Cache, runs: Mapping[str, running.Run], found: Sequence[Attempt]
) -> Iterator[Row]:
    """A line for each key that is being run and has no job of a provider."""
    from motools.steps.jobs import running_here

    paid = {attempt.key for attempt in found if attempt.is_open}
    for key, run in runs.items():
        if key not in paid:
            work = running_here(cache, key)
            yield {
                "key": key,
                "kind": work.material.get("kind"),
                "base_model": work.labels.get("base_model"),
                "backend": work.material.get("backend", {}).get("name"),
                "provider": None,
                **dict.fromkeys(("attempt", "job_id", "updated_at", "note", "status")),
                "state": _RUNNING,
                "intended_at": run.since,
                "runner": run.holder,
            }


def _attempt(attempt: Attempt, said: Said | None) -> dict[str, Any]:
    from motools.steps.jobs import word

    return {
        "attempt": attempt.attempt,
        "state": attempt.state,
        "job_id": attempt.job_id,
        "intended_at": attempt.intended_at,
        "updated_at": attempt.updated_at,
        "note": attempt.note,
        "status": None if said is None else word(said),
    }


def _asked(
    cache: Cache, found: Sequence[Attempt], known: Mapping[str, Work]
) -> Mapping[Attempt, Said]:
    from motools.steps.jobs import statuses

    return statuses(cache, found, known)


def _line(attempt: Mapping[str, Any]) -> str:
    at = output.age(attempt["intended_at"])
    said = " ".join(filter(None, (attempt["job_id"], attempt["note"], attempt["status"])))
    return f"{attempt['attempt']}: {attempt['state']} {at} ago {said}".rstrip()
