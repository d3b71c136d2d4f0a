"""``motools cache verify`` and ``repair``: whether the cache is whole, and making it whole."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.consent import get_consent
from motools.cli.exits import ExitCode
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, DryRun, Style, Yes
from motools.cli.output import Column, Format, Row
from motools.cli.which import Which, expanded

if TYPE_CHECKING:
    from motools.remotes import Copies
    from motools.upkeep.health import Progress, Verified
    from motools.upkeep.repair import RepairPlan

_REPAIRS: Final = (
    Column("action"),
    Column("digest", output.short, "blob"),
    Column("key", output.short),
    Column("origin", title="from"),
    Column("duration", output.duration, "takes", right=True),
    Column("cost", output.money, right=True),
)
_FINDINGS: Final = (
    Column("key", output.short),
    Column("kind"),
    Column("damage"),
    Column("file"),
    Column("digest", output.short),
    Column("reason"),
    Column("remedy", title="next"),
)


@expanded
def verify(
    which: Which,
    *,
    remote: Annotated[
        str | None,
        typer.Option(
            "--remote",
            "-r",
            metavar="[NAME]",
            help="Check a remote instead; without a name the default.",
        ),
    ] = None,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read and hash every byte, too.")
    ] = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Check that the cache is whole: rows, documents, blobs, and what is known of paid jobs.

    A blob that is cut short or, with --read-data, has other bytes than its
    digest says is moved to quarantine/. Of a remote, nothing is changed: what
    is damaged there is sent again by the next push from here. Each line names
    the next command.
    """
    cache = Cache.open(cache_dir, create=False)
    if remote is None:
        wanted = [entry.key for entry in which.entries(cache)] if which.narrowed else None
        found = _verified(cache, wanted, read_data=read_data)
    else:
        found = _verified_remote(cache, remote or None, which, read_data=read_data)
    rows = [{**dataclasses.asdict(each), "remedy": each.remedy} for each in found.findings]
    output.emit(rows, _FINDINGS, style)
    output.say(_summary(found))
    if found.findings:
        raise typer.Exit(ExitCode.PROBLEMS_FOUND)


def repair(
    *,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read and hash every byte first.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no remote for copies.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Verify the cache, and make it whole again.

    Blobs come back from quarantine/ or trash/ if a copy there is right after
    all, else from the cache's remotes; documents are made from the rows. An
    entry whose bytes are nowhere is released: its scores and record stay, and
    what making it again takes is shown. Whatever cannot be repaired is left
    alone and named.
    """
    from motools.upkeep import repair as upkeep

    cache = Cache.open(cache_dir, create=False)
    found = _verified(cache, None, read_data=read_data, put_aside=not dry_run)
    sources = _remotes(cache) if found.findings and not offline else []
    plan = upkeep.plan(cache, found.findings, sources)
    output.emit(_repairs(plan), _REPAIRS, style)
    output.say(_described(cache, found, plan))
    failed: tuple[str, ...] = ()
    if not dry_run and (plan.copies or plan.records or plan.released or plan.journals):
        get_consent("Repair this?", yes=yes)
        with output.Meter() as meter:
            done = upkeep.execute(
                cache,
                plan,
                sources,
                report=lambda copy: meter.show(lambda: f"{copy.digest[:12]} is back"),
            )
        output.say(
            f"{output.count(done.copies, 'blob')} put back, {output.count(done.records, 'record')} "
            f"written again, {output.count(done.released, 'entry')} released"
        )
        failed = done.failed
    for digest in failed:
        output.say(f"the copy of blob {digest[:12]} was not what it should be: run this again")
    if plan.left or failed:
        raise typer.Exit(ExitCode.PROBLEMS_FOUND)


def _remotes(cache: Cache) -> list[Copies]:
    """Those that have copies; one out of reach is an error, since what it has would be released."""
    from motools.remotes import Copies, open_remote, registry

    return [Copies(open_remote(cache, name)) for name in registry.Registry.of(cache.root).urls]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``motools cache``."""
    for command in (verify, repair):
        app.command(cls=LightCommand)(command)


def _verified(
    cache: Cache, keys: list[str] | None, *, read_data: bool, put_aside: bool = True
) -> Verified:
    from motools.upkeep.verify import verify

    began = time.monotonic()
    with output.Meter() as meter:
        return verify(
            cache,
            keys,
            read_data=read_data,
            put_aside=put_aside,
            report=lambda progress: meter.show(lambda: _line(progress, began)),
        )


def _verified_remote(cache: Cache, name: str | None, which: Which, *, read_data: bool) -> Verified:
    from motools.remotes import open_remote, verify_remote

    place = open_remote(cache, name, damaged=True)
    keys = [e.key for e in which.there(cache, place)] if which.narrowed else None
    began = time.monotonic()
    with output.Meter() as meter:
        return verify_remote(
            cache,
            place,
            keys,
            read_data=read_data,
            report=lambda progress: meter.show(lambda: _line(progress, began)),
        )


def _repairs(plan: RepairPlan) -> list[Row]:
    """What a plan would do, one line each."""
    copied = (("put back", c.digest, None, c.origin, None, None) for c in plan.copies)
    made = (("record", plan.records), ("jobs", plan.journals))
    written = (("write again", None, key, name, None, None) for name, keys in made for key in keys)
    released = (("release", None, e.key, None, e.duration, e.cost) for e in plan.released)
    left = (("leave", each.digest, each.key, each.remedy, None, None) for each in plan.left)
    fields = [column.field for column in _REPAIRS]
    return [dict(zip(fields, row, strict=True)) for row in (*copied, *written, *released, *left)]


def _described(cache: Cache, found: Verified, plan: RepairPlan) -> str:
    """What a plan would do, in a sentence."""
    if not plan.released:
        return _summary(found)
    cost = output.money(plan.cost_to_remake)
    return (
        f"{_summary(found)}; no copy is left of the files of "
        f"{output.count(len(plan.released), 'entry')}: making them again takes "
        f"{output.duration(plan.seconds_to_remake)} and {cost} {cache.settings.currency}, "
        "as far as it is known"
    )


def _line(progress: Progress, began: float) -> str:
    parts = [f"{progress.entries} of {output.count(progress.entries_total, 'entry')}"]
    if progress.bytes:
        rate = progress.bytes / max(time.monotonic() - began, 1e-9)
        parts.append(f"{output.size(progress.bytes)} read, {output.size(int(rate))}/s")
    return ", ".join(parts)


def _summary(found: Verified) -> str:
    """What was looked at and how it went, in a sentence."""
    looked = f"{output.count(found.entries, 'entry')} and {output.count(found.blobs, 'blob')}"
    if found.bytes:
        rate = output.size(int(found.bytes / max(found.seconds, 1e-9)))
        looked += f" ({output.size(found.bytes)} read, {rate}/s)"
    looked = f"looked at {looked} in {output.duration(found.seconds)}"
    if not found.findings:
        return f"{looked}: all is well"
    entries = len({finding.key for finding in found.findings})
    return (
        f"{looked}: {output.count(len(found.findings), 'thing')} wrong with "
        f"{output.count(entries, 'entry')}"
    )
