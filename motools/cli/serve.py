"""``motools serve``: the fine-tuning server."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.options import CacheDir

if TYPE_CHECKING:
    from motools.server.models import Base

_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@-]{0,127}")
_MEGABYTE: Final = 10**6


def serve(
    *,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where the server listens.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="NUMBER", help="0: any that is free.")
    ] = 8000,
    tokens: Annotated[
        Path | None,
        typer.Option(
            "--tokens",
            metavar="FILE",
            help='Callers and their API keys: lines of name = "token". By default '
            "$MOTOOLS_SERVE_TOKENS; without, everybody on this machine may call.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A base model besides tiny: org/name of the Hub, or NAME=DIRECTORY. "
            "May be repeated.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Trainings at once.")] = 1,
    queue: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Jobs that may wait or run.")
    ] = 1000,
    max_upload: Annotated[
        int, typer.Option(min=1, metavar="MB", help="Size of the largest file, in megabytes.")
    ] = 2048,
    save_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Between two checkpoints of a training, to go on from after a pause or a restart.",
        ),
    ] = 60.0,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="For HTTPS, with --private-key."),
    ] = None,
    private_key: Annotated[
        Path | None,
        typer.Option("--private-key", metavar="FILE", help="Of the certificate."),
    ] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Serve OpenAI's fine-tuning API on this machine, until interrupted.

    Any program written for OpenAI's SDK uses it with the address that is
    printed as its base_url. Jobs go through the cache: what was trained before
    is not trained again. What waits or runs when the server ends goes on when
    it is started again.
    """
    if (certificate is None) != (private_key is None):
        raise typer.BadParameter("--certificate and --private-key belong together")
    bases = [_base(name) for name in ("tiny", *(model or ()))]
    names = [base.name for base in bases]
    if twice := [name for name in names if names.count(name) > 1]:
        raise typer.BadParameter(f"--model {twice[0]} is given twice, or is there anyway")
    from motools.server.accounts import load
    from motools.server.service import Options
    from motools.server.serving import Address
    from motools.server.serving import serve as serve_until_end

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("motools.server").setLevel(logging.INFO)
    options = Options(
        accounts=load(tokens, host),
        bases=bases,
        jobs=jobs,
        queue=queue,
        max_upload=max_upload * _MEGABYTE,
        save_seconds=save_seconds,
    )
    address = Address(host, port, certificate, private_key)
    cache = Cache.open(cache_dir)
    serve_until_end(cache, options, address, lambda url: output.emit_lines([url]))
    output.say("ended; jobs that wait or run go on when it is started again")


def _base(text: str) -> Base:
    from motools.server.models import Base

    name, given, source = text.partition("=")
    if not _MODEL.fullmatch(name) or (given and not source):
        raise typer.BadParameter(f"--model {text}: give org/name, or NAME=DIRECTORY")
    return Base(name, source or name)
