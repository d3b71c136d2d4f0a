"""Values of any type as canonical ones: what differs gets different bytes.

A key tells ``1`` from ``1.0`` and ``True``, a tuple from a list, an enum member
from its value and a dataclass from a dict. So whatever is not plainly a JSON
value is tagged: a dict with keys that start with ``$``. A dict that could be
taken for a tag is written as a list of items, under a tag itself. The order of
a dict's keys and of a set's members does not count.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import math
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, cast

from motools.configs import Config
from motools.digest import Value, canonical_json, hash_bytes
from motools.errors import CanonicalError

Reach: TypeAlias = Callable[[Any, str], Value]
"""Describes a value that has source code, or raises: ``reach(value, path)``."""

PLAIN: Final = frozenset({int, str, bool, type(None)})
"""Types whose values are canonical as they are."""

_LONGEST_PATH: Final = 40

SOURCED: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    type,
    functools.partial,
)
"""Types whose values are described by their source."""


def encode(value: Any, path: str, reach: Reach) -> Value:
    """A value as a canonical one that no different value shares.

    Args:
        value: what to encode.
        path: what to call it in an error.
        reach: describes functions, classes and objects of types unknown here.

    Raises:
        CanonicalError: NaN, a secret, or a container that contains itself.
    """
    kind = type(value)
    if kind in PLAIN:
        return cast("Value", value)
    try:
        if (simple := _SIMPLE.get(kind)) is not None:
            return simple(value)
        if (encoder := _ENCODERS.get(kind)) is not None:
            return cast("Value", encoder(value, path, reach))
        return _by_protocol(value, path, reach)
    except RecursionError:
        raise CanonicalError(_short(path), "it contains itself, or is nested too deeply") from None


def instance(value: Any, state: Mapping[str, Any], path: str, reach: Reach) -> Value:
    """An instance as its class and its state."""
    fields = {name: encode(inner, _at(path, name), reach) for name, inner in state.items()}
    return {"$type": reach(type(value), path), "$fields": fields}


def state_of(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """The fields of an instance that have a value, and what was set on it besides.

    A ``cached_property`` that has been computed is left out: asking changes nothing.
    """
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    extra = {
        name: inner
        for name, inner in getattr(value, "__dict__", {}).items()
        if name not in fields
        and name != "__orig_class__"  # how typing marks instances of Generic[int]
        and not isinstance(getattr(type(value), name, None), functools.cached_property)
    }
    return {**fields, **extra}


def _short(path: str) -> str:
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _by_protocol(value: Any, path: str, reach: Reach) -> Value:
    kind = type(value)
    if not isinstance(value, type) and (method := getattr(kind, "__motools_digest__", None)):
        return {"$type": f"{kind.__module__}.{kind.__qualname__}", "$digest": str(method(value))}
    for applies, encoder in _PROTOCOLS:
        if applies(value):
            return cast("Value", encoder(value, path, reach))
    # Here, because most values need none of it.
    from motools.tags.libraries import by_library

    tagged = by_library(value, path, reach)
    return reach(value, path) if tagged is None else tagged


def _float(value: float, path: str, _reach: Reach) -> Value:
    if not math.isfinite(value):
        raise CanonicalError(path, f"{value} is not a finite number")
    return {"$float": value.hex()}


def _list(value: list[Any], path: str, reach: Reach) -> Value:
    return [encode(item, f"{path}[{index}]", reach) for index, item in enumerate(value)]


def _dict(value: dict[Any, Any], path: str, reach: Reach) -> Value:
    if all(type(key) is str and key[:1] != "$" for key in value):
        return {key: encode(value[key], _at(path, key), reach) for key in sorted(value)}
    items = [
        [encode(key, f"{path} key {key!r}", reach), encode(value[key], f"{path}[{key!r}]", reach)]
        for key in sorted(value, key=named)
    ]
    return {"$dict": sorted(items, key=lambda item: canonical_json(item[0], path))}


def _set(value: frozenset[Any], path: str, reach: Reach) -> Value:
    members = [encode(item, f"{path} member", reach) for item in _in_order(value, reach)]
    return {f"${type(value).__name__}": sorted(members, key=lambda m: canonical_json(m, path))}


def _in_order(value: frozenset[Any], reach: Reach) -> Iterable[Any]:
    """A set's members in an order for what `reach` may number, as sets keep none themselves."""
    plain, groups = [], dict[tuple[str, ...], list[Any]]()
    for item in value:
        if type(item) in PLAIN:
            plain.append(item)
        else:
            groups.setdefault(named(item), []).append(item)
    yield from plain
    for _, alike in sorted(groups.items()):
        if len(alike) > 1:
            # Here, because most sets need none of it.
            from motools.tags.alike import in_order

            yield from in_order(alike, reach)
        else:
            yield from alike


def named(value: Any) -> tuple[str, ...]:
    """An order for what `reach` may number; the rest is sorted when it has been encoded."""
    return tuple(
        str(getattr(owner, name, ""))
        for owner in (type(value), value)
        for name in ("__module__", "__qualname__")
    )


def _decimal(value: decimal.Decimal, path: str, _reach: Reach) -> Value:
    if not value.is_finite():
        raise CanonicalError(path, f"{value} is not a finite number")
    return {"$decimal": str(value)}


def _time(value: dt.datetime | dt.time) -> Value:
    zone: str | None = None
    if isinstance(value.tzinfo, (dt.timezone, zoneinfo.ZoneInfo)):
        zone = str(value.tzinfo)
    elif value.tzinfo is not None:
        zone = f"{type(value.tzinfo).__module__}.{type(value.tzinfo).__qualname__} {value.tzname()}"
    return {f"${type(value).__name__}": [value.isoformat(), value.fold, zone]}


def _complex(value: complex, path: str, reach: Reach) -> Value:
    return {"$complex": [_float(value.real, path, reach), _float(value.imag, path, reach)]}


def _pattern(value: re.Pattern[Any], path: str, reach: Reach) -> Value:
    return {"$regex": [encode(value.pattern, path, reach), int(value.flags)]}


def _path(value: pathlib.PurePath, _path: str, _reach: Reach) -> Value:
    return {"$path": value.as_posix()}


def _config(value: Config, path: str, reach: Reach) -> Value:
    return {"$config": reach(type(value), path), "$fields": value.resolved()}


def _enum(value: enum.Enum, path: str, reach: Reach) -> Value:
    # The name of a combination of flags differs between Python versions.
    name = None if isinstance(value, enum.Flag) else value.name
    return {"$enum": reach(type(value), path), "$member": [name, encode(value.value, path, reach)]}


def _named_tuple(value: Any, path: str, reach: Reach) -> Value:
    return instance(value, state_of(value, value._fields), path, reach)


def _dataclass(value: Any, path: str, reach: Reach) -> Value:
    if isinstance(value, _ITEMS):
        raise CanonicalError(path, f"{type(value).__qualname__} holds items besides its fields")
    names = [spec.name for spec in dataclasses.fields(value)]
    return instance(value, state_of(value, names), path, reach)


def _attrs(value: Any, path: str, reach: Reach) -> Value:
    names = [spec.name for spec in type(value).__attrs_attrs__]
    return instance(value, state_of(value, names), path, reach)


_ITEMS: Final = (dict, list, tuple, set, frozenset, str, bytes, int, float)

_Encoder: TypeAlias = Callable[[Any, str, Reach], Any]

_SIMPLE: Final[dict[type, Callable[[Any], Value]]] = {
    bytes: lambda value: {"$bytes": hash_bytes(value).hex},
    bytearray: lambda value: {"$bytearray": hash_bytes(value).hex},
    range: lambda value: {"$range": [value.start, value.stop, value.step]},
    uuid.UUID: lambda value: {"$uuid": str(value)},
    dt.datetime: _time,
    dt.time: _time,
    dt.date: lambda value: {"$date": value.isoformat()},
    dt.timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    type(Ellipsis): lambda _: {"$ellipsis": None},
}

_ENCODERS: Final[dict[type, _Encoder]] = {
    float: _float,
    complex: _complex,
    decimal.Decimal: _decimal,
    list: _list,
    tuple: lambda value, path, reach: {"$tuple": _list(value, path, reach)},
    dict: _dict,
    set: _set,
    frozenset: _set,
    re.Pattern: _pattern,
}

_PROTOCOLS: Final[tuple[tuple[Callable[[Any], bool], _Encoder], ...]] = (
    (lambda value: isinstance(value, SOURCED), lambda value, path, reach: reach(value, path)),
    (lambda value: isinstance(value, enum.Enum), _enum),
    (lambda value: isinstance(value, pathlib.PurePath), _path),
    (lambda value: isinstance(value, Config), _config),
    (lambda value: isinstance(value, tuple) and hasattr(value, "_fields"), _named_tuple),
    (dataclasses.is_dataclass, _dataclass),
    (lambda value: hasattr(type(value), "__attrs_attrs__"), _attrs),
)
