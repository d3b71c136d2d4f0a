"""From a grid and lists of overrides to the overrides of every cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, TypeAlias

from motools.sweeps.paths import Putting, Recipe, effective

Overrides: TypeAlias = Mapping[str, Any]
"""Dot path to value."""


@dataclass(frozen=True)
class Rule:
    """Overrides that hold only for some cells.

    Attributes:
        when: dot path to the value, or the list of values, that a cell must have.
        then: what such a cell has besides.
    """

    when: Overrides
    then: Overrides


def expand(
    recipe: Recipe,
    *,
    grid: Mapping[str, Sequence[Any]],
    variants: Sequence[Overrides],
    also: Sequence[Overrides],
    rules: Sequence[Rule],
    exclude: Sequence[Overrides],
    met: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[dict[str, Any], Recipe]]:
    """The parameters and the recipe of every cell.

    Args:
        recipe: what every cell starts from.
        grid: dot path to values; every combination is a cell.
        variants: overrides that go together, each with every combination of the grid.
        also: further cells, each from the recipe alone.
        rules: what holds for some cells.
        exclude: cells that match one of these are left out.
        met: is told of each rule and exclusion that a cell meets, as in ``exclude[0]``.
    """
    combined = product(*([(path, value) for value in values] for path, values in grid.items()))
    crossed = ({**dict(c), **v} for c, v in product(list(combined), variants or [{}]))
    put = Putting().put
    for overrides in (*crossed, *also):
        parameters, made, put_there = dict(overrides), recipe, [*overrides]
        for path, value in overrides.items():
            made = put(made, path, value)
        for number, rule in enumerate(rules):
            if matches(made, rule.when):
                met(f"rules[{number}]")
                parameters |= rule.then
                put_there += rule.then
                for path, value in rule.then.items():
                    made = put(made, path, value)
        left_out = [number for number, each in enumerate(exclude) if matches(made, each)]
        for number in left_out:
            met(f"exclude[{number}]")
        if not left_out:
            for path in _replaced(tuple(put_there)):
                parameters.pop(path, None)
            yield parameters, made


@cache
def _replaced(put_there: tuple[str, ...]) -> frozenset[str]:
    """The paths of which nothing is left: something above them was put there after them."""
    last = {path: at for at, path in enumerate(put_there)}
    return frozenset(
        path
        for path, at in last.items()
        if any(path.startswith(f"{later}.") for later in put_there[at + 1 :])
    )


def repeated(values: Sequence[Any]) -> Iterator[Any]:
    """The values that equal an earlier one; ``1`` is not ``1.0`` or ``True``, however deep."""
    seen: set[Any] = set()
    for value in values:
        exact = _exact(value)
        if exact in seen:
            yield value
        seen.add(exact)


def _exact(value: Any) -> Any:
    """What is equal only for values that are equal and of the same types; it can be hashed."""
    if isinstance(value, Mapping):
        return dict, frozenset((name, _exact(inner)) for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_exact, value))
    try:
        hash(value)
    except TypeError:
        return type(value), id(value)
    return type(value), value


def matches(recipe: Recipe, wanted: Overrides) -> bool:
    """Whether a recipe has these values, also by default; a list stands for any of its items."""
    return all(_among(effective(recipe, path), value) for path, value in wanted.items())


def _among(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, (list, tuple)) and any(_among(value, item) for item in wanted):
        return True
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)
