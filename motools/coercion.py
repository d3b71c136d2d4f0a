"""From a value as it was typed to the one form that its declared type has.

Only changes of form are made, never of meaning: 1 to 1.0 for a float, 1.0 to 1
for an int, lists to tuples, mappings to configs. Text is never parsed.
"""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Mapping
from numbers import Integral
from typing import Any, Literal, Union, get_args, get_origin

from motools.errors import ConfigError


def coerce(value: Any, hint: Any, path: str) -> Any:
    """``value`` as the declared type says, or an error that names the path.

    Args:
        value: what was given.
        hint: a type: bool, int, float, str, Enum, Literal, a config, None, Any, and
            unions, tuples and dicts of these.
        path: what to call it in an error.

    Raises:
        ConfigError: the value is not of the declared type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return _coerce_any(value, path)
    if origin in (Union, types.UnionType):
        return _coerce_union(value, arguments, path)
    if origin is Literal:
        return _coerce_literal(value, arguments, path)
    if origin is tuple or hint is tuple:
        return _coerce_tuple(value, arguments or (Any, ...), path)
    if (origin or hint) in (dict, Mapping):
        return _coerce_dict(value, arguments[1] if arguments else Any, path)
    return _coerce_scalar(value, hint, path)


def _coerce_any(value: Any, path: str) -> Any:
    """A value of no declared type: a copy of what JSON can hold, anything else as it is."""
    if isinstance(value, Mapping):
        return _coerce_dict(value, Any, path)
    if type(value) in (list, tuple):
        return [_coerce_any(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float):
        return _coerce_float(value, path)
    return value


def _coerce_literal(value: Any, choices: tuple[Any, ...], path: str) -> Any:
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return value
    raise ConfigError(f"{path}: {value!r} is not one of {', '.join(map(repr, choices))}")


def _coerce_tuple(value: Any, items: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{path}: {value!r} is not a list")
    if items[-1] is Ellipsis:
        items = (items[0],) * len(value)
    elif len(items) != len(value):
        raise ConfigError(f"{path}: {value!r} has {len(value)} items, not {len(items)}")
    return tuple(
        coerce(item, hint, f"{path}[{index}]")
        for index, (item, hint) in enumerate(zip(value, items, strict=True))
    )


def _coerce_union(value: Any, choices: tuple[Any, ...], path: str) -> Any:
    if value is None and type(None) in choices:
        return None
    # An exact match goes first, so that `int | str` keeps what it is given.
    for choice in choices:
        if isinstance(choice, type) and type(value) is choice:
            return coerce(value, choice, path)
    problems = []
    for choice in choices:
        if choice is not type(None):
            try:
                return coerce(value, choice, path)
            except ConfigError as problem:
                problems.append(str(problem))
    raise ConfigError("; or ".join(problems))


def _coerce_dict(value: Any, item: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: {value!r} is not a mapping")
    for key in value:
        if type(key) is not str:
            raise ConfigError(f"{path}: key {key!r} is {type(key).__name__}, not str")
    return {key: coerce(inner, item, f"{path}.{key}") for key, inner in value.items()}


def _coerce_scalar(value: Any, hint: Any, path: str) -> Any:  # noqa: PLR0911 - one return a kind
    if hint is float and _is_number(value):
        return _coerce_float(value, path)
    if hint is int and _is_number(value) and _is_whole(value, path):
        return int(value)
    if hint is str and isinstance(value, str):
        return str.__str__(value)  # a member of a StrEnum is its text
    if not isinstance(hint, type):
        return value  # only an unhashed field can have such a type
    if hasattr(hint, "from_mapping") and isinstance(value, Mapping):
        return hint.from_mapping(value)
    if issubclass(hint, enum.Enum) and not isinstance(value, hint):
        return _coerce_enum(value, hint, path)
    if hint not in (int, float) and isinstance(value, hint):
        return value
    raise ConfigError(f"{path}: {value!r} is {type(value).__name__}, not {hint.__name__}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (Integral, float)) and not isinstance(value, bool)


def _is_whole(value: Any, path: str) -> bool:
    return isinstance(value, Integral) or _coerce_float(value, path).is_integer()


def _coerce_float(value: Any, path: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{path}: {value!r} is not a finite number")
    if number != value:
        raise ConfigError(f"{path}: {value!r} cannot be held exactly as a float")
    return number + 0.0  # -0.0 becomes 0.0: they are one key, so one value


def _coerce_enum(value: Any, hint: type[enum.Enum], path: str) -> enum.Enum:
    for member in hint:
        if type(value) is type(member.value) and value == member.value:
            return member
    choices = ", ".join(repr(member.value) for member in hint)
    raise ConfigError(f"{path}: {value!r} is not one of {choices}")
