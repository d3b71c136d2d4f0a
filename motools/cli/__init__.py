"""The command line. ``app`` is the Typer application, ``main`` what ``motools`` runs.

Start-up is what a user of a shell notices first, so the application is imported
when it is first needed, and ``--version`` does not need it.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Final

from motools.version import __version__

if TYPE_CHECKING:
    from typer import Typer

    app: Typer

__all__ = ["app", "main"]

_COMPLETING: Final = "_MOTOOLS_COMPLETE"
"""Set by a shell that asks for what may come next."""


def main() -> None:
    """Run the command line with the arguments of this process."""
    _have_streams()
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"{__version__}\n")
        return
    from motools.cli.application import app
    from motools.cli.light import keep_named

    if _COMPLETING not in os.environ:
        keep_named(app, sys.argv[1:])
    app(prog_name="motools")


def _have_streams() -> None:
    """See to it that there are streams, which take every letter.

    A process may be started with some of them closed; the next file that it opened
    would then be the one that it prints into.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from motools.cli.application import app

    return app
