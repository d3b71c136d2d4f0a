"""The Typer application."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from motools.cli import (
    cache,
    checkout,
    jobs,
    output,
    serve,
    settling,
    sweep,
    sweep_differences,
    sweep_results,
    trust,
    upkeep,
    view,
)
from motools.cli.exits import ExitCode, explained
from motools.cli.light import LightCommand, LightGroup
from motools.errors import KeyNotFoundError, MotoolsError
from motools.version import __version__


class _Commands(LightGroup):
    """Ends what motools raises on purpose with one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MotoolsError as problem:
            output.fail(str(problem))
            missing = isinstance(problem, KeyNotFoundError)
            raise typer.Exit(ExitCode.NOTHING_MATCHED if missing else ExitCode.ERROR) from problem


app = typer.Typer(
    name="motools",
    cls=_Commands,
    help="Fine-tune and evaluate language models without doing the same work twice.",
    epilog=explained(),
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (checkout, upkeep, trust):
    part.add_to(cache.app)
app.add_typer(cache.app, name="cache")
sweep_results.add_to(sweep.app)
sweep_differences.add_to(sweep.app)
app.add_typer(sweep.app, name="sweep")
settling.add_to(jobs.app)
app.add_typer(jobs.app, name="jobs")
app.command(cls=LightCommand)(view.view)
app.command(cls=LightCommand)(serve.serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.emit_lines([__version__])
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that go before any command."""
