"""``motools cache checkout``: files where a person wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, Key


def checkout(
    key: Key,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty directory for the files.")
    ],
    cache_dir: CacheDir = None,
) -> None:
    """Copy the files of an entry into a directory, for you to own.

    Bytes are checked on the way. Where the file system can share blocks, copies
    take no space.
    """
    from motools.cache.rejection import rejections

    cache = Cache.open(cache_dir, create=False)
    entry = catalogue.find(cache, key)
    if (said := rejections(cache.database).get(entry.key)) is not None:
        raise said.error(entry.kind, entry.key)
    total, copied = entry.size, 0

    def report(size: int) -> None:
        nonlocal copied
        copied += size
        meter.show(lambda: f"{output.size(copied)} of {output.size(total)}")

    with output.Meter() as meter:
        entry.checkout(directory, report=report)
    output.emit_lines([str(directory.absolute())])
    files = output.count(len(entry.file_rows), "file")
    output.say(f"{entry.kind} {entry.key[:12]}: {files}, {output.size(total)}")


def add_to(app: typer.Typer) -> None:
    """Add the command to ``motools cache``."""
    app.command(cls=LightCommand)(checkout)
