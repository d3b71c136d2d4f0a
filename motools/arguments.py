"""The arguments of a call as canonical values, for the key of a function's result."""

from __future__ import annotations

import functools
import inspect
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

from motools.configs import unknown_name
from motools.digest import Value
from motools.errors import CanonicalError, ConfigError, SourceError
from motools.tags import PLAIN, SOURCED, Reach, encode

Equivalent: TypeAlias = Mapping[str, Sequence[Sequence[str]]]
"""Distribution -> classes of versions that count as one."""

_NONE: Final[Equivalent] = {}


def tagged(value: Any, path: str) -> Value:
    """An argument as a canonical value that no different argument shares.

    Functions, classes and the classes of instances enter by their source, and other
    objects of one's own classes by their attributes.
    Objects with a method ``__motools_digest__() -> str`` enter by what it returns.

    Args:
        value: JSON values; tuples, sets, bytes, paths, dates, enums, dataclasses,
            pydantic and attrs models, NumPy arrays, data frames, functions.
        path: what to call it in an error.

    Raises:
        CanonicalError: NaN, a secret, an open file, a generator or any other
            object; the message has the path and the type.
        SourceError: the source of a function or class is out of reach.
    """
    return encode(value, path, _by_source)


def bind(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    unhashed: Collection[str] = (),
    equivalent: Equivalent = _NONE,
) -> dict[str, Value]:
    """The arguments of a call by parameter, defaults applied, as :func:`tagged` values.

    ``f(1)``, ``f(x=1)`` and ``f(1, default)`` are one.

    Args:
        function: what is called.
        args: its positional arguments.
        kwargs: its keyword arguments.
        unhashed: parameters that cannot change the result, to leave out.
        equivalent: as for :func:`motools.source.describe`.

    Raises:
        TypeError: the arguments do not fit the function.
        ConfigError: ``unhashed`` names a parameter that does not exist.
        CanonicalError: as :func:`tagged`, with the parameter's name as the path.
    """
    signature, hashed = _signature(function, frozenset(unhashed))
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = bound.arguments
    reach = functools.partial(_by_source, equivalent=equivalent) if equivalent else _by_source
    return {
        name: value if type(value := arguments[name]) in PLAIN else encode(value, name, reach)
        for name in hashed
    }


@functools.lru_cache(maxsize=4096)
def _signature(
    function: Callable[..., Any], unhashed: frozenset[str]
) -> tuple[inspect.Signature, tuple[str, ...]]:
    signature = inspect.signature(function)
    names = list(signature.parameters)
    for name in sorted(unhashed - set(names)):
        label = getattr(function, "__qualname__", repr(function))
        raise ConfigError(unknown_name(f"unhashed parameter {name!r} of {label}", name, names))
    return signature, tuple(name for name in names if name not in unhashed)


def _by_source(value: Any, path: str, equivalent: Equivalent = _NONE) -> Value:
    if (encoder := _COLLECTIONS.get(type(value))) is not None:
        return encoder(value, path, functools.partial(_by_source, equivalent=equivalent))
    # Only here: plain arguments are told apart without reading any source.
    from motools.source import describe
    from motools.source.given import describe_given, is_own_object

    def described(inner: Any) -> str:
        return describe(inner, equivalent=equivalent).digest

    if isinstance(value, SOURCED):
        return {"$source": described(value)}
    try:
        if is_own_object(value):
            return describe_given(value, path, described, _COLLECTIONS)
    except (SourceError, CanonicalError) as problem:
        raise _refused(value, path, f" ({str(problem).partition('. ')[0]})") from problem
    if hasattr(value, "__wrapped__"):
        return {"$source": described(value)}
    raise _refused(value, path)


def _ordered(value: OrderedDict[Any, Any], path: str, reach: Reach) -> Value:
    # Unlike that of other dicts, its order is part of what it equals.
    return {"$OrderedDict": encode([(k, value[k]) for k in value], path, reach)}


def _defaults(value: defaultdict[Any, Any], path: str, reach: Reach) -> Value:
    factory = encode(value.default_factory, f"{path}.default_factory", reach)
    return {"$defaultdict": [factory, encode(dict(value), path, reach)]}


def _bare(encoder: Callable[[Any, str, Reach], Value]) -> Callable[[Any, str, Reach], Value]:
    def encoded(value: Any, path: str, reach: Reach) -> Value:
        if getattr(value, "__dict__", {}).keys() - {"__orig_class__"}:  # typing's own mark
            raise _refused(value, path, " (it has attributes besides its items)")
        return encoder(value, path, reach)

    return encoded


_COLLECTIONS: Final[dict[type, Callable[[Any, str, Reach], Value]]] = {
    OrderedDict: _bare(_ordered),
    defaultdict: _bare(_defaults),
    Counter: _bare(lambda value, path, reach: {"$Counter": encode(dict(value), path, reach)}),
}


def _refused(value: Any, path: str, why: str = "") -> CanonicalError:
    kind = type(value)
    return CanonicalError(
        path,
        f"{kind.__module__}.{kind.__qualname__} cannot be part of a key{why}; pass plain values, "
        "give its class a method __motools_digest__() -> str, or declare the parameter unhashed",
    )
