"""What stands for code whose source a version stands for: its name, and what no source holds."""

from __future__ import annotations

import functools
from types import FunctionType, MethodType
from typing import Any

from motools.digest import Value
from motools.errors import CanonicalError, SourceError
from motools.source.files import function_node
from motools.source.normalise import digest
from motools.source.objects import content_of, is_plain, name_of
from motools.tags import SOURCED, encode, instance, state_of


def stated(obj: Any, version: str) -> dict[str, Value]:
    """The name of a function or class and its version, with what sets it apart from its like.

    That is what a partial or a method is bound to, the state of an object that is
    called, and the plain values that a function captured.

    Raises:
        SourceError: it is bound to an object that cannot be read.
    """
    name = name_of(obj)
    try:
        given = _given(obj, version)
    except CanonicalError as problem:
        raise SourceError(f"{name} is bound to {problem}; bind it to plain values") from problem
    if isinstance(obj, FunctionType) and obj.__name__ == "<lambda>":
        given = [given, _text(obj)]  # all lambdas of a module have one name
    return {"name": name, "version": version, **({"given": given} if given else {})}


def _given(obj: Any, version: str) -> Value:
    if isinstance(obj, functools.partial):
        bound = _encoded(obj.args, "args"), _encoded(obj.keywords, "keywords")
        return [stated(obj.func, version), *bound]
    if isinstance(obj, MethodType):
        return _encoded(obj.__self__, "self")
    if isinstance(obj, FunctionType):
        cells = zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True)
        captured = {name: content_of(cell) for name, cell in cells}
        return _encoded({n: one for n, one in captured.items() if is_plain(one)}, "captured")
    return None if isinstance(obj, SOURCED) else _encoded(obj, "object")


def _text(function: FunctionType) -> Value:
    try:
        return digest(function_node(function))
    except SourceError:
        return None


def _encoded(value: Any, path: str) -> Value:
    return encode(value, path, _by_name)


def _by_name(value: Any, path: str) -> Value:
    if isinstance(value, functools.partial | MethodType):
        return {"$type": _given(value, "")}
    if isinstance(value, SOURCED):
        return {"$name": name_of(value)}
    if not hasattr(value, "__dict__"):
        raise CanonicalError(path, f"an object of {name_of(value)}, which cannot be read")
    return instance(value, state_of(value, ()), path, _by_name)
