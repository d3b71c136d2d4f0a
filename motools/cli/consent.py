"""Asking before something goes."""

from __future__ import annotations

import typer

from motools.cli import output
from motools.cli.exits import ExitCode
from motools.errors import RemovalError


def get_consent(question: str, *, yes: bool) -> None:
    """Go on only if a person agrees, or has agreed with ``--yes``.

    Raises:
        RemovalError: nobody can be asked.
        Exit: the answer is no.
    """
    if yes:
        return
    if not output.can_ask():
        raise RemovalError(
            "nobody can be asked without a terminal: pass --yes to go on. Nothing was changed"
        )
    if not output.confirmed(question):
        output.say("nothing was changed")
        raise typer.Exit(ExitCode.ERROR)
