"""``motools cache verify`` and ``repair``: whether the cache is whole, and making it whole."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cache.catalogue import Selection
from motools.cli import output
from motools.cli.exits import ExitCode
from motools.cli.light import LightCommand
from motools.cli.options import (
    Backend,
    CacheDir,
    Keys,
    ModelIds,
    Since,
    Style,
    TaskIds,
    Until,
)
from motools.cli.output import Column, Format
from motools.errors import KeyNotFoundError

if TYPE_CHECKING:
    from motools.upkeep.verify import Progress, Verified

_FINDINGS = (
    Column("key", output.short),
    Column("kind"),
    Column("damage"),
    Column("file"),
    Column("digest", output.short),
    Column("reason"),
    Column("remedy", title="next"),
)


def verify(
    keys: Keys = None,
    *,
    model_id: ModelIds = None,
    task_id: TaskIds = None,
    backend: Backend = None,
    since: Since = None,
    until: Until = None,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read and hash every byte, too.")
    ] = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Check that the cache is whole: rows, documents and blobs.

    A blob that is cut short or, with --read-data, has other bytes than its
    digest says is moved to quarantine/. Each line names the next command.
    """
    from motools.upkeep import verify as upkeep

    cache = Cache.open(cache_dir, create=False)
    chosen = Selection(None, model_id, task_id, backend, since, until)
    wanted = _keys(cache, keys, chosen) if keys or chosen.narrowed else None
    began = time.monotonic()
    with output.Meter() as meter:
        found = upkeep.verify(
            cache,
            wanted,
            read_data=read_data,
            report=lambda progress: meter.show(lambda: _line(progress, began)),
        )
    rows = [{**dataclasses.asdict(each), "remedy": each.remedy} for each in found.findings]
    output.emit(rows, _FINDINGS, style)
    output.say(_summary(found))
    if found.findings:
        raise typer.Exit(ExitCode.PROBLEMS_FOUND)


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``motools cache``."""
    for command in (verify,):
        app.command(cls=LightCommand)(command)


def _keys(cache: Cache, keys: list[str] | None, chosen: Selection) -> list[str]:
    entries = catalogue.pick(cache, keys, chosen) if keys else catalogue.select(cache, chosen)
    if not entries:
        raise KeyNotFoundError("no entry fits these filters. Nothing was looked at")
    return [entry.key for entry in entries]


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
