"""``motools cache export`` and ``import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motools.cache.cache import Cache
from motools.cache.selection import Selection
from motools.cli import output, transfer
from motools.cli.exits import ExitCode
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, Everything, Style
from motools.cli.output import Column, Format
from motools.cli.which import Which, expanded
from motools.errors import RemoteError


def add_to(app: typer.Typer) -> None:
    """Give a group of commands these."""
    app.command("export", cls=LightCommand)(export_entries)
    app.command("import", cls=LightCommand)(import_entries)


@expanded
def export_entries(
    which: Which,
    *,
    file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The bundle; a new file.")
    ],
    everything: Everything = False,
    cache_dir: CacheDir = None,
) -> None:
    """Write entries, and all that they need, into one file.

    An entry whose files are not here is named; if it was asked for by its key, the
    exit code is 4.
    """
    from motools.remotes import export_bundle

    cache = Cache.open(cache_dir, create=False)
    keys = frozenset(entry.key for entry in which.some(cache, everything=everything))
    with transfer.shown() as progress:
        pushed = export_bundle(cache, file, Selection(keys=keys), progress=progress)
    output.say(
        f"{file}: {output.count(len(pushed.entries), 'entry')}, {output.size(file.stat().st_size)}"
    )
    for key, why in pushed.problems.items():
        output.say(f"{key[:12]}: {why}")
    if pushed.problems and which.keys:
        raise typer.Exit(ExitCode.PROBLEMS_FOUND)


def import_entries(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all of it, say what would come, and stop.")
    ] = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Take over all entries of a bundle, or none. Every byte is checked first."""
    from motools.remotes import import_bundle

    if not file.is_file():  # before a cache is made for it
        raise RemoteError(f"there is no file {file}: nothing was imported")
    with transfer.shown() as progress:
        pulled = import_bundle(Cache.open(cache_dir), file, dry_run=dry_run, progress=progress)
    rows = [{"key": key, "diverged": False} for key in pulled.entries]
    rows += ({"key": diverged.key, "diverged": True} for diverged in pulled.diverged)
    columns = (
        Column("key", output.short),
        Column("diverged", lambda it_is: "diverged" if it_is else "", " "),
    )
    output.emit(rows, columns, style)
    verb = "would import" if dry_run else "imported"
    count = output.count(len(pulled.entries), "entry")
    output.say(f"{file}: {verb} {count}{transfer.in_trash(pulled.cleared)}")
    if pulled.diverged:
        raise typer.Exit(ExitCode.PROBLEMS_FOUND)
