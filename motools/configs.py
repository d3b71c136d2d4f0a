"""Typed configs: values that are hashed whole, coerced to one form first.

A config is a frozen dataclass that derives from :class:`Config`. Its fields are
coerced to their declared types when it is made, so that ``1``, ``1.0`` and
YAML's ``1`` are one learning rate, and ``"1e-4"`` is an error. What goes into a
key is :meth:`Config.resolved`: every field, walked by its declared type.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field
from typing import Any, Final, Literal, Self, Union, cast, get_args, get_origin

from motools.coercion import coerce
from motools.digest import Value, canonical_json
from motools.errors import ConfigError

__all__ = ["Config", "coerce", "option", "unknown_name"]

_ABSENT: Final = "motools.absent"
_HASHED: Final = "motools.hashed"


def option(default: Any = MISSING, *, absent: Any = MISSING, hashed: bool = True) -> Any:
    """Declare a config field.

    Args:
        default: the value where none is given; without one the field is required.
        absent: for a field added after the first release: the value at which it
            is left out of the key, so that keys made before it stay. Never change it.
        hashed: False for a field that cannot change the result (its type may
            then be a secret).
    """
    metadata = {_HASHED: hashed} | ({} if absent is MISSING else {_ABSENT: absent})
    if isinstance(default, (dict, list)):
        made = default
        return dataclasses.field(default_factory=lambda: type(made)(made), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Config:
    """Base of typed configs. Subclasses are frozen dataclasses."""

    def __post_init__(self) -> None:
        hints = self._hints()
        for spec in _fields(type(self)):
            path = f"{type(self).__name__}.{spec.name}"
            value = coerce(getattr(self, spec.name), hints[spec.name], path)
            object.__setattr__(self, spec.name, value)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values, as read from YAML or JSON.

        Raises:
            ConfigError: an unknown name (with the nearest known one), a missing
                or a wrong value.
        """
        names = [spec.name for spec in _fields(cls)]
        for name in values:
            if name not in names:
                raise ConfigError(unknown_name(f"{cls.__name__}.{name}", str(name), names))
        required = [s.name for s in _fields(cls) if s.default is s.default_factory is MISSING]
        if missing := [name for name in required if name not in values]:
            raise ConfigError(f"{cls.__name__}: missing {', '.join(missing)}")
        return cls(**values)

    @classmethod
    def _hints(cls) -> dict[str, Any]:
        return _hints(cast("Any", cls))

    def resolved(self) -> dict[str, Value]:
        """Every hashed field as a canonical value, for the key.

        Raises:
            ConfigError: a hashed field whose type cannot be in a key (a secret, say).
        """
        hints = self._hints()
        values: dict[str, Value] = {}
        for spec in _fields(type(self)):
            if not spec.metadata.get(_HASHED, True):
                continue
            hint, path = hints[spec.name], f"{type(self).__name__}.{spec.name}"
            value = _plain(getattr(self, spec.name), hint, path)
            if _ABSENT in spec.metadata and _same(value, spec.metadata[_ABSENT], hint, path):
                continue
            values[spec.name] = value
        return values

    def changed(self) -> dict[str, Value]:
        """The fields that differ from their defaults, as canonical values."""
        resolved, hints = self.resolved(), self._hints()
        return {
            spec.name: resolved[spec.name]
            for spec in _fields(type(self))
            if spec.name in resolved
            and not _same(resolved[spec.name], _default(spec), hints[spec.name], spec.name)
        }

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        values = {spec.name: getattr(self, spec.name) for spec in _fields(type(self))}
        return type(self).from_mapping({**values, **changes})


def unknown_name(path: str, name: str, known: list[str]) -> str:
    """The sentence for a name that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"{path}: no such field; {hint}"


def _plain(value: Any, hint: Any, path: str) -> Value:
    """A coerced value as a canonical one, told by its declared type."""
    if isinstance(value, enum.Enum):
        return _plain(value.value, Any, path)
    if isinstance(value, Config):
        return _plain_config(value, hint)
    if type(value) is float and value.is_integer() and _takes_both(hint):
        # Where both may stand, 1 and 1.0 can mean a number of steps and a share of them.
        return {"$float": str(int(value))}
    if value is None or type(value) in _SCALARS:
        return cast("Value", value)
    if isinstance(value, (list, tuple)):
        items = _item_hints(hint, len(value))
        return [
            _plain(item, inner, f"{path}[{index}]")
            for index, (item, inner) in enumerate(zip(value, items, strict=True))
        ]
    if isinstance(value, Mapping):
        inner = _of_origin(hint, (dict, Mapping))
        item = get_args(inner)[1] if get_args(inner) else Any
        # What starts with $ is ours.
        return {
            "$" * key.startswith("$") + key: _plain(each, item, f"{path}.{key}")
            for key, each in value.items()
        }
    raise ConfigError(_not_hashable(path, type(value).__name__))


def _takes_both(hint: Any) -> bool:
    return hint is Any or {int, float} <= set(get_args(hint))


def _plain_config(value: Config, hint: Any) -> Value:
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if [choice for choice in choices if choice is not type(None)] == [type(value)]:
        return value.resolved()
    # Two types with equal fields mean two things.
    return {"$type": type(value).__name__, **value.resolved()}


def _item_hints(hint: Any, count: int) -> tuple[Any, ...]:
    items = get_args(_of_origin(hint, (tuple,)))
    if not items:
        return (Any,) * count
    return (items[0],) * count if items[-1] is Ellipsis else items


def _of_origin(hint: Any, origins: tuple[Any, ...]) -> Any:
    """The hint itself, or the choice of a union, that stands for one of some containers."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((choice for choice in choices if get_origin(choice) in origins), None)


def _same(value: Value, other: Any, hint: Any, path: str) -> bool:
    """Whether a canonical value is that of another, which may not have been coerced yet."""
    if other is MISSING:
        return False
    return canonical_json(value) == canonical_json(_plain(coerce(other, hint, path), hint, path))


def _not_hashable(path: str, kind: str) -> str:
    return (
        f"{path}: {kind} cannot be part of a key; use plain values, "
        "or declare the field with option(hashed=False) if it cannot change the result"
    )


_SCALARS: Final = frozenset({bool, int, float, str})


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """The declared types of a config's fields, each checked for what a key can hold.

    Raises:
        ConfigError: a hashed field of a type, a secret say, that no key can hold.
    """
    hints = typing.get_type_hints(cls)
    for spec in _fields(cls):
        if spec.metadata.get(_HASHED, True):
            _check_hint(hints[spec.name], f"{cls.__name__}.{spec.name}")
    return hints


def _check_hint(hint: Any, path: str) -> None:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType, tuple, dict, Mapping):
        for inner in get_args(hint):
            _check_hint(inner, path)
    elif origin is not Literal and not (
        hint in (Any, Ellipsis, None, type(None), tuple, dict, *_SCALARS)
        or (isinstance(hint, type) and issubclass(hint, (Config, enum.Enum)))
    ):
        raise ConfigError(_not_hashable(path, str(getattr(hint, "__name__", hint))))


def _fields(cls: type) -> tuple[Field[Any], ...]:
    return dataclasses.fields(cls)


def _default(spec: Field[Any]) -> Any:
    return spec.default_factory() if spec.default_factory is not MISSING else spec.default
