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
from dataclasses import MISSING, Field, dataclass
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
        for name, field in self._declared().items():
            given = getattr(self, name)
            if type(given) not in field.exact:
                object.__setattr__(self, name, coerce(given, field.hint, field.path))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values, as read from YAML or JSON.

        Raises:
            ConfigError: an unknown name (with the nearest known one), a missing
                or a wrong value.
        """
        declared = cls._declared()
        for name in values:
            if name not in declared:
                path = f"{cls.__name__}.{name}"
                raise ConfigError(unknown_name(path, str(name), list(declared)))
        if missing := [n for n, field in declared.items() if field.required and n not in values]:
            raise ConfigError(f"{cls.__name__}: missing {', '.join(missing)}")
        return cls(**values)

    @classmethod
    def _declared(cls) -> dict[str, _Declared]:
        return _declared(cast("Any", cls))

    def resolved(self) -> dict[str, Value]:
        """Every hashed field as a canonical value, for the key.

        Raises:
            ConfigError: a hashed field whose type cannot be in a key (a secret, say).
        """
        values: dict[str, Value] = {}
        for name, field in self._declared().items():
            if field.hashed:
                value = getattr(self, name)
                if type(value) not in _EXACT:
                    value = _plain(value, field.hint, field.path)
                if field.absent is None or canonical_json(value) != field.absent:
                    values[name] = value
        return values

    def changed(self) -> dict[str, Value]:
        """The fields that differ from their defaults, as canonical values."""
        declared = self._declared()
        return {
            name: value
            for name, value in self.resolved().items()
            if canonical_json(value) != declared[name].canonical(_default(declared[name].spec))
        }

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        values = {name: getattr(self, name) for name in self._declared()}
        return type(self).from_mapping({**values, **changes})


@dataclass(frozen=True)
class _Declared:
    """A field of a config.

    Attributes:
        spec: its declaration.
        path: what to call it in an error.
        hint: its declared type.
        exact: types of values that are in their one form as they are given.
        hashed: whether it is part of a key.
    """

    spec: Field[Any]
    path: str
    hint: Any
    exact: frozenset[type]
    hashed: bool

    @functools.cached_property
    def required(self) -> bool:
        """Whether it has no default."""
        return _default(self.spec) is MISSING

    @functools.cached_property
    def absent(self) -> bytes | None:
        """Canonical form of the value at which it is left out of a key; None: never."""
        return self.canonical(self.spec.metadata.get(_ABSENT, MISSING))

    def canonical(self, value: Any) -> bytes | None:
        """The canonical form of a value as it is in the declaration; None: there is none."""
        if value is MISSING:
            return None
        return canonical_json(_plain(coerce(value, self.hint, self.path), self.hint, self.path))


@functools.cache
def _declared(cls: Any) -> dict[str, _Declared]:
    """The fields of a config by name, each checked for what a key can hold.

    Raises:
        ConfigError: a hashed field of a type, a secret say, that no key can hold.
    """
    hints = typing.get_type_hints(cls)
    found = {}
    for spec in dataclasses.fields(cls):
        hint, path = hints[spec.name], f"{cls.__name__}.{spec.name}"
        hashed = spec.metadata.get(_HASHED, True)
        if hashed:
            _check_hint(hint, path)
        exact = _EXACT.intersection(_choices(hint))
        found[spec.name] = _Declared(spec, path, hint, exact, hashed)
    return found


def unknown_name(path: str, name: str, known: list[str]) -> str:
    """The sentence for a name that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"{path}: no such field; {hint}"


def _plain(value: Any, hint: Any, path: str) -> Value:
    """A coerced value as a canonical one, told by its declared type."""
    if type(value) is float and value.is_integer() and _takes_both(hint):
        # Where both may stand, 1 and 1.0 can mean a number of steps and a share of them.
        return {"$float": str(int(value))}
    if value is None or type(value) in _SCALARS:
        return cast("Value", value)
    if isinstance(value, enum.Enum):
        return _plain(value.value, Any, path)
    if isinstance(value, Config):
        return _plain_config(value, hint)
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
    if [choice for choice in _choices(hint) if choice is not type(None)] == [type(value)]:
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
    return next((choice for choice in _choices(hint) if get_origin(choice) in origins), None)


def _choices(hint: Any) -> tuple[Any, ...]:
    """The types that a union is of; another type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _not_hashable(path: str, kind: str) -> str:
    return (
        f"{path}: {kind} cannot be part of a key; use plain values, "
        "or declare the field with option(hashed=False) if it cannot change the result"
    )


_SCALARS: Final = frozenset({bool, int, float, str})
_EXACT: Final[frozenset[type]] = frozenset({bool, int, str, type(None)})


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


def _default(spec: Field[Any]) -> Any:
    return spec.default_factory() if spec.default_factory is not MISSING else spec.default
