"""``motools view``: Inspect's viewer over the logs of a cache."""

from __future__ import annotations

import os
import sys
from typing import Annotated
from urllib.parse import quote

import typer

from motools.cache import catalogue, logs
from motools.cache.cache import Cache
from motools.cache.layout import EVALS
from motools.cli import output
from motools.cli.completion import complete_key
from motools.cli.options import CacheDir
from motools.errors import KeyNotFoundError

_HOST = "127.0.0.1"


def view(
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            help="The key of an evaluation, or the beginning of it. By default all are shown.",
            autocompletion=complete_key,
        ),
    ] = None,
    *,
    port: Annotated[
        int, typer.Option(min=1, max=65535, metavar="NUMBER", help="Where the viewer listens.")
    ] = 7575,
    cache_dir: CacheDir = None,
) -> None:
    """Open Inspect's viewer, on this machine only, until interrupted.

    It shows the logs of all evaluations, and the address of one.
    """
    cache = Cache.open(cache_dir, create=False)
    chosen = None if key is None else catalogue.find(cache, key)
    if chosen is not None and chosen.kind != "eval":
        raise KeyNotFoundError(f"{chosen.key[:12]} is a {chosen.kind}, not an evaluation")
    evaluations = cache.entries("eval") if chosen is None else [chosen]
    copies = [copy for entry in evaluations if (copy := logs.copy(entry)) is not None]
    if not copies:
        raise KeyNotFoundError("there is no log of an evaluation to show in this cache")
    page = "" if chosen is None else f"/#/logs/{quote(copies[0].name)}"
    output.say(f"http://{_HOST}:{port}{page}")
    directory = str(cache.root / EVALS)
    cache.close()
    arguments = ["view", "start", "--log-dir", directory, "--host", _HOST, "--port", str(port)]
    sys.stderr.flush()
    # In place of this process, so that signals and the terminal are the viewer's own.
    os.execv(sys.executable, [sys.executable, "-m", "inspect_ai", *arguments])  # noqa: S606
