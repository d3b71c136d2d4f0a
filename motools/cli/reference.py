"""The reference of the command line, from the application itself.

``python -m motools.cli.reference > docs/reference/cli.md`` writes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from motools.cli.application import app
from motools.cli.exits import MEANING
from motools.cli.output import emit_lines


def reference() -> str:
    """Every command with its arguments and options, and the exit codes, as Markdown."""
    codes = [f"| {code.value} | {meaning} |" for code, meaning in MEANING.items()]
    return "\n".join(
        [
            "# Command line",
            "",
            "Data goes to stdout, everything else to stderr. Wherever a key is asked for, its",
            "beginning is enough if no other key begins so.",
            *_described("motools", get_command(app)),
            "",
            "## Exit codes",
            "",
            "| code | meaning |",
            "| --- | --- |",
            *codes,
            "",
        ]
    )


def _described(name: str, command: Any) -> Iterator[str]:
    inner = getattr(command, "commands", {})
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    yield from ("", f"## `{' '.join([name, *map(_usage, arguments)])}`", "")
    yield inspect.cleandoc(command.help or "")
    if arguments or options:
        yield from ("", "| | |", "| --- | --- |")
    for parameter in (*arguments, *options):
        yield f"| `{_spelled(parameter)}` | {parameter.help} |"
    for word, part in inner.items():
        yield from _described(f"{name} {word}", part)


def _usage(argument: Any) -> str:
    text = f"{argument.metavar}..." if argument.nargs == -1 else str(argument.metavar)
    return text if argument.required else f"[{text}]"


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return ", ".join(parameter.opts) + value


if __name__ == "__main__":
    emit_lines([reference().rstrip("\n")])
