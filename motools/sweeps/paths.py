"""Dot paths into a recipe: which there are, and the values below them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

from motools.configs import Config, unknown_name
from motools.errors import ConfigError
from motools.evals.config import EvalConfig
from motools.steps.options import RunOptions
from motools.training.config import FineTuneConfig

Recipe: TypeAlias = Mapping[str, Any]
"""What a cell does, as nested plain values."""

Tree: TypeAlias = "dict[str, Tree | None]"
"""Names, and what is below each: further names, or None for a value of any shape."""

DATASET: Final = "dataset"
MODEL: Final = "model"
BACKEND: Final = "backend"
FINE_TUNE: Final = "fine_tune"
EVALUATE: Final = "evaluate"
OPTIONS: Final = "options"
GROUPS: Final = (FINE_TUNE, EVALUATE, OPTIONS)
"""What has paths below it."""

MODELS: Final = "models"
EVALS: Final = "evals"
STEPS: Final = (MODELS, EVALS, FINE_TUNE)
"""What stands for steps of every sweep where some of them are chosen."""

_KINDS: Final[Mapping[str, Any]] = {
    FINE_TUNE: FineTuneConfig,
    EVALUATE: EvalConfig,
    OPTIONS: RunOptions,
}

_SIGNS: Final = (".", "=", ",")
"""What paths and choices are made of."""


def known(recipe: Recipe) -> Tree:
    """Every path that a recipe may have; its evaluations are named by itself.

    Raises:
        ConfigError: the evaluations have no names, or one that they cannot have.
    """
    evaluations = recipe.get(EVALUATE) or {}
    if not isinstance(evaluations, Mapping):
        raise ConfigError(
            f"{EVALUATE}: name each evaluation, as in 'evaluate: {{greets: {{task: …}}}}'"
        )
    for name in evaluations:
        _check_name(name)
    return {
        DATASET: None,
        MODEL: None,
        BACKEND: None,
        FINE_TUNE: _fields(FineTuneConfig),
        EVALUATE: {name: _fields(EvalConfig) for name in evaluations},
        OPTIONS: _fields(RunOptions),
    }


def _check_name(name: Any) -> None:
    """Refuse a name of an evaluation that stands for something else, or cannot be in a path."""
    if not isinstance(name, str):
        raise ConfigError(f"{EVALUATE}: the name {name!r} is no text; put it in quotes")
    if name in STEPS:
        raise ConfigError(f"{EVALUATE}.{name}: {name} stands for steps of every sweep; rename it")
    if not name or any(sign in name for sign in _SIGNS):
        raise ConfigError(f"{EVALUATE}: {name!r} is empty or has one of {' '.join(_SIGNS)}")


def check(tree: Tree, values: Mapping[str, Any], below: str = "") -> None:
    """Refuse a name that no recipe has, in nested values or in dot paths.

    Raises:
        ConfigError: with the path, and the nearest name that there is.
    """
    for path, value in values.items():
        at, whole = tree, below
        for part in str(path).split("."):
            whole = f"{whole}.{part}" if whole else part
            if part not in at:
                raise ConfigError(unknown_name(whole, part, list(at)))
            inner = at[part]
            if inner is None:
                break
            at = inner
        else:
            if isinstance(value, Mapping):
                check(at, value, whole)


def get(recipe: Recipe, path: str) -> Any:
    """The value at a path; None where there is none."""
    value: Any = recipe
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def effective(recipe: Recipe, path: str) -> Any:
    """The value that counts at a path: what is given, or else the field's default.

    None in a group that is not there, as below ``fine_tune`` where nothing is trained.
    """
    group, *names = path.split(".")
    value, kind = recipe.get(group), _KINDS.get(group)
    if group == BACKEND:
        return "local" if value is None else value
    if group == EVALUATE and names:
        value, names = get(recipe, f"{group}.{names[0]}"), names[1:]
    elif group == OPTIONS and value is None:
        value = {}
    for name in names:
        if not isinstance(value, Mapping):
            value = getattr(value, name, None)
        elif kind is None or name in value:
            value = value.get(name)
        else:
            value = _defaults(kind).get(name)
        kind = None if kind is None else _configs(kind).get(name)
    return value


@cache
def _defaults(kind: Any) -> Mapping[str, Any]:
    found = {}
    for each in dataclasses.fields(kind):
        if each.default is not dataclasses.MISSING:
            found[each.name] = each.default
        elif each.default_factory is not dataclasses.MISSING:
            found[each.name] = each.default_factory()
    return found


def differing(group: str, values: Iterable[Any]) -> list[str]:
    """The paths below a group in which some values for the whole of it differ.

    Args:
        group: one of :data:`GROUPS`.
        values: each for the whole group; what has no fields counts for nothing.
    """
    found = [dict(_leaves(group, value, 1 + (group == EVALUATE))) for value in values]
    there = [each for each in found if each]
    names = dict.fromkeys(path for each in there for path in each)
    return [path for path in names if any(each.get(path) != there[0].get(path) for each in there)]


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Every path so far below a value, and what is there."""
    if isinstance(value, Config):
        value = value.changed()
    if not depth:
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}", inner, depth - 1)


class Putting:
    """Puts values into recipes.

    Parts that two recipes have in common are one object: the same value at the
    same path of the same recipe is put there once.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, str, int], tuple[Recipe, Any, Recipe]] = {}

    def put(self, recipe: Recipe, path: str, value: Any) -> Recipe:
        """A recipe with another value at a path; everything else is shared with it.

        Raises:
            ConfigError: something above the path is a value with nothing below it.
        """
        at = id(recipe), path, id(value)
        if at not in self._made:
            # Kept along, so that nothing else can come to have their ids.
            self._made[at] = recipe, value, self._put(recipe, path, value)
        return self._made[at][2]

    def _put(self, recipe: Recipe, path: str, value: Any) -> Recipe:
        first, _, rest = path.partition(".")
        if not rest:
            return {**recipe, first: value}
        inner = recipe.get(first)
        if inner is None:
            inner = _NOTHING
        if not isinstance(inner, Mapping):
            raise ConfigError(f"{path}: there is nothing below {first}, which is {inner!r}")
        return {**recipe, first: self.put(inner, rest, value)}


_NOTHING: Final[Recipe] = {}


@cache
def _fields(config: Any) -> Tree:
    below = _configs(config)
    return {
        field.name: _fields(below[field.name]) if field.name in below else None
        for field in dataclasses.fields(config)
    }


@cache
def _configs(config: Any) -> Mapping[str, Any]:
    """The fields that hold configs, and of which type."""
    return {
        name: choice
        for name, hint in typing.get_type_hints(config).items()
        for choice in (hint, *typing.get_args(hint))
        if isinstance(choice, type) and issubclass(choice, Config)
    }
