"""Commands that start quickly.

Of some forty commands only the one that is named is made: to make them all takes
longer than a listing.

From 0.29 on Typer has pydantic check every value, even one that was not given,
and importing pydantic takes longer than all else that a listing does. Values
whose meaning is plain are therefore taken here as they are; all others, and
every error, are left to Typer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer import Typer
    from typer.models import CommandInfo

_NOT_PLAIN: Final = object()
_COUNT: Final = re.compile("[1-9][0-9]{0,8}")


class LightCommand(TyperCommand):
    """A command that starts quickly."""

    def get_params(self, ctx: Any) -> Any:
        """Every parameter, the ones for help and completion included."""
        return _lightened(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give options whose value may be left out an empty one: ``[NAME]`` in their help."""
        may_be_left_out = {
            spelled
            for parameter in self.params
            if parameter.param_type_name == "option" and (parameter.metavar or "").startswith("[")
            for spelled in parameter.opts
        }
        whole: list[str] = []
        for place, word in enumerate(args):
            whole.append(word)
            following = args[place + 1 : place + 2]
            if word in may_be_left_out and (not following or following[0].startswith("-")):
                whole.append("")
        return super().parse_args(ctx, whole)


class LightGroup(TyperGroup):
    """A group of commands that starts quickly."""

    def get_params(self, ctx: Any) -> Any:
        """Every parameter, the ones for help and completion included."""
        return _lightened(super().get_params(ctx))


def keep_named(app: Typer, words: Sequence[str]) -> None:
    """Have an application know no more than the command that some words begin with.

    Where they name none it keeps all that it has, for help and for suggestions.
    """
    if not words:
        return
    word = words[0]
    groups = [group for group in app.registered_groups if group.name == word]
    commands = [each for each in app.registered_commands if _name(each) == word]
    if groups or commands:
        app.registered_groups, app.registered_commands = groups, commands
    for group in groups:
        if group.typer_instance is not None:
            keep_named(group.typer_instance, words[1:])


def _name(command: CommandInfo) -> str:
    called = getattr(command.callback, "__name__", "")
    return command.name or called.lower().replace("_", "-")


def _lightened(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        descriptor = getattr(parameter, "type_descriptor", None)
        # Typer before 0.29 has none, and needs no help.
        if descriptor is not None and "process_value" not in vars(parameter):
            parsed = descriptor.parameter_info.parser is not None
            annotation = None if parsed else descriptor.annotation
            parameter.process_value = _processor(parameter, annotation)
    return parameters


def _processor(parameter: Any, annotation: Any) -> Any:
    typers = parameter.process_value
    many = parameter.multiple or parameter.nargs == -1

    def process_value(ctx: Any, value: Any) -> Any:
        _require_text(annotation, value, parameter)
        found = () if many and value is None else _plain(annotation, value)
        if found is _NOT_PLAIN or (parameter.required and not found):
            return typers(ctx, value)
        return found if parameter.callback is None else parameter.callback(ctx, parameter, found)

    return process_value


def _require_text(annotation: Any, value: Any, parameter: Any) -> None:
    """Refuse bytes that are no text, which no key, name or note has, and paths of no letters."""
    given = [value] if isinstance(value, str) else value
    if annotation is Path and value == "":
        raise typer.BadParameter("it is empty: give a path", param=parameter)
    if annotation in (str, list[str]) and isinstance(given, (list, tuple)):
        for word in given:
            if isinstance(word, str) and any("\ud800" <= each <= "\udfff" for each in word):
                raise typer.BadParameter(f"{word!r} has bytes that are no text", param=parameter)


def _plain(annotation: Any, value: Any) -> Any:  # noqa: PLR0911 - one return a type
    """The value as its parameter declares it, where that needs no thought."""
    if value is None:
        return None
    if annotation == list[str] and isinstance(value, (list, tuple)):
        return list(value) if all(isinstance(item, str) for item in value) else _NOT_PLAIN
    if annotation in (str, bool) and isinstance(value, annotation):
        return value
    if annotation is Path and isinstance(value, str):
        return Path(value)
    if annotation is int and isinstance(value, str) and _COUNT.fullmatch(value):
        return int(value)
    if (
        isinstance(annotation, type)
        and issubclass(annotation, StrEnum)
        and value in set(annotation)
    ):
        return annotation(value)
    return _NOT_PLAIN
