"""``motools jobs cancel``, ``adopt`` and ``forget``: what a person says about a paid job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motools.cache.attempt import SUBMITTED, SUCCEEDED, Attempt
from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.consent import get_consent
from motools.cli.jobs import Job
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, Yes
from motools.errors import BackendError, KeyNotFoundError

if TYPE_CHECKING:
    from motools.steps.jobs import Work

_Number = Annotated[
    int | None,
    typer.Option(
        "--attempt", min=1, metavar="NUMBER", help="Which attempt; by default the last one."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Give a group of commands these."""
    for command in (cancel, adopt, forget):
        app.command(cls=LightCommand)(command)


def cancel(key: Job, *, yes: Yes = False, cache_dir: CacheDir = None) -> None:
    """Cancel a job at its provider.

    What it has cost until then is owed all the same. The next run submits another.
    """
    from motools.steps import jobs

    cache = Cache.open(cache_dir, create=False)
    found = cache.attempts.named(key)
    attempt = _open(found, key)
    work = jobs.works(cache, [attempt.key])[attempt.key]
    name = work.labels.get("base_model", work.material.get("kind", "a job"))
    said = jobs.statuses(cache, [attempt], {attempt.key: work}).get(attempt)
    how = "" if said is None else f", {jobs.word(said)}"
    output.say(
        f"{attempt.job_id or 'no job'} at {attempt.provider} for {attempt.key[:12]} ({name}), "
        f"attempt {attempt.attempt}, submitted {output.age(attempt.intended_at)} ago{how}. "
        "What it has cost so far is not known before it ends"
    )
    get_consent("Cancel it?", yes=yes)
    status = jobs.cancel(cache, attempt, work)
    if status.phase == "succeeded":
        output.say(f"{attempt.job_id} had succeeded: run it again, and its model is taken up")
    elif status.phase in ("cancelled", "failed"):
        output.say(f"{attempt.job_id} is {status.said}")
    else:
        output.say(f"{attempt.job_id} was told to end, and is {status.said} still")


def adopt(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="What it is for: a key, or the beginning of it; with --sweep a cell: its number "
            "or its values, as in seed=0.",
        ),
    ],
    job_id: Annotated[
        str, typer.Argument(metavar="JOB_ID", help="The job, as its provider has it.")
    ],
    *,
    sweep: Annotated[
        Path | None,
        typer.Option("--sweep", metavar="FILE", help="The sweep whose cell is meant."),
    ] = None,
    attempt: _Number = None,
    cache_dir: CacheDir = None,
) -> None:
    """Say which job at its provider is the one for a key.

    For a submission of which it is not known whether it arrived, or a job that was
    submitted elsewhere. Base model, method, hyperparameters, seed and the rows it
    learns from are held against the key, and the job is refused if one differs or
    cannot be told. The next run takes it up.
    """
    from motools.steps.adoption import adopt as take_over

    cache = Cache.open(cache_dir, create=False)
    work = _work(cache, key, sweep)
    number = take_over(cache, work, job_id, attempt)
    output.say(
        f"{job_id} does what {work.key[:12]} says, and is attempt {number} at it now: run it "
        "again, and the job is taken up"
    )


def forget(
    key: Job,
    *,
    attempt: _Number = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why, for those who look later.")
    ] = None,
    unproved: Annotated[
        bool,
        typer.Option(
            "--unproved",
            help="Also where the provider finds no such job, but does not prove that it looked in "
            "the right account.",
        ),
    ] = False,
    yes: Yes = False,
    cache_dir: CacheDir = None,
) -> None:
    """Say that a submission never arrived, or its job or model is gone: the next run sends another.

    Look at the provider first: if it did arrive after all, it is paid for twice.
    """
    from motools.steps import jobs

    cache = Cache.open(cache_dir, create=False)
    found = cache.attempts.named(key)
    chosen = [each for each in found if attempt in (None, each.attempt)]
    unclear = [each for each in chosen if each.is_unsettled]
    work = jobs.works(cache, [found[0].key])[found[0].key]
    kept = work.entry is not None and not work.entry.released
    taken = [] if kept else [each for each in chosen if each.state in (SUBMITTED, SUCCEEDED)]
    if not (unclear or taken):
        raise KeyNotFoundError(
            f"{found[0].key[:12]} has no attempt that a run would take up or ask after: "
            f"`motools jobs show {found[0].key[:12]}`. Nothing was changed"
        )
    last = (unclear or taken)[-1]
    if last.job_id is None:
        output.say(
            f"attempt {last.attempt} for {last.key[:12]} was about to be submitted to "
            f"{last.provider} {output.age(last.updated_at)} ago. If it arrived after all, the next "
            "run pays a second time"
        )
    else:
        output.say(
            f"attempt {last.attempt} for {last.key[:12]} is {last.job_id} at {last.provider}, "
            f"{last.state}. Only if the job or its model is gone there it is forgotten; the next "
            "run then pays a second time"
        )
    get_consent("Forget it?", yes=yes)
    said = "said to have never arrived" if last.job_id is None else "said to be gone"
    jobs.forget(cache, last, work, reason or said, unproved=unproved)
    output.say(f"forgot attempt {last.attempt} for {last.key[:12]}: the next run submits another")


def _open(found: list[Attempt], name: str) -> Attempt:
    """The attempt in flight that is meant."""
    meant = [each for each in found if each.is_open]
    if not meant:
        last = found[-1]
        raise BackendError(f"{name} is not in flight: it is {last.state}. Nothing was changed")
    return next((each for each in meant if each.job_id == name), meant[-1])


def _work(cache: Cache, name: str, sweep: Path | None) -> Work:
    """What a job is for."""
    from motools.steps.jobs import Work, works

    if sweep is not None:
        from motools.cli.explanation import cell_of
        from motools.steps.train import Train

        training = cell_of(cache, sweep, name).training
        step = None if training is None else training.step
        if not isinstance(step, Train):
            raise BackendError(f"the cell {name} has no training. Nothing was changed")
        action = step.action(cache)
        labels = {"backend": step.backend, "base_model": step.config.base_model}
        return Work(action.key, action.canonical.decode(), labels, cache.index.get(action.key))
    try:
        key = cache.attempts.named(name)[0].key
    except KeyNotFoundError:
        from motools.steps.subject import find

        key = find(cache, name).key
    return works(cache, [key])[key]
