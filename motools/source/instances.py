"""What stands for an object that is no function and no class: its type and its state."""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from types import MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from motools.digest import Value, canonical_json
from motools.errors import SourceError
from motools.source.objects import GONE, class_origin, is_made_in_python, name_of, slots_of
from motools.source.origin import Origin

if TYPE_CHECKING:
    from motools.source.reach import Walk

_CONTENTS: Final[dict[type, Callable[[Any], Any]]] = {
    OrderedDict: lambda value: list(OrderedDict.items(value)),
    defaultdict: lambda value: [value.default_factory, list(dict.items(value))],
    dict: lambda value: list(dict.items(value)),
    list: lambda value: list(list.__iter__(value)),
    tuple: lambda value: list(tuple.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: set(frozenset.__iter__(value)),
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    int: int.__int__,
    float: float.__float__,
    BaseException: lambda value: value.args,
}
"""Types of Python's own that people derive from, and what is in them besides attributes."""

_ERROR_SIZE: Final = BaseException.__basicsize__
_LAYOUTLESS: Final = frozenset({"abc", "typing"})


def describe_instance(walk: Walk, value: Any) -> Value:
    """An object of any other type.

    Raises:
        SourceError: its state, or a part of it, cannot be read.
    """
    holder, own = name_of(value), class_origin(type(value)) is Origin.OWN
    version = getattr(value, "__motools_version__", None)
    if not own and version is not None:
        walk.watch.attribute(value, "__motools_version__", version)
        return {"stated": [holder, version]}
    if not own and (wrapped := getattr(value, "__wrapped__", None)) is not None:
        walk.watch.attribute(value, "__wrapped__", wrapped)
        return {"wrapped": walk.refer(wrapped), "by": walk.refer(type(value))}
    if not own and callable(value) and isinstance(getattr(value, "__qualname__", None), str):
        return _made_in_c(walk, value, holder)
    state = getattr(value, "__dict__", GONE)
    content = built_in_content(value)
    readable = own or state == {} or (state is GONE and type(value) in _CONTENTS)
    if not readable or content is GONE:
        raise SourceError(
            f"{walk.place_of(value)}an object of {holder} has a state that cannot be read. "
            "Pass what it does as an argument, or describe the function by hand with "
            'version="..."'
        )
    fields = _watched_fields(walk, value, state)
    encoded = {name: walk.value(fields[name], holder, name) for name in sorted(fields)}
    described: dict[str, Value] = {"instance": walk.refer(type(value)), "state": encoded}
    if content is not None:
        described["content"] = found = walk.value(content, holder, "content")
        walk.watch.value(
            lambda: walk.encoded(built_in_content(value), "content"), canonical_json(found)
        )
    return described


def published(value: Any) -> bool:
    """Whether a bound method is one that its library offers as a function, as ``random.choice``."""
    module = sys.modules.get(type(value.__self__).__module__)
    return (
        class_origin(type(value.__self__)) is not Origin.OWN
        and getattr(module, value.__name__, None) is value
    )


def describe_method(walk: Walk, value: MethodType) -> Value:
    """A bound method: the function, and what it is bound to."""
    if published(value):
        return walk.external(type(value.__self__).__module__, value.__name__)
    return {"method": walk.refer(value.__func__), "of": walk.part(value.__self__, name_of(value))}


def _made_in_c(walk: Walk, value: Any, holder: str) -> Value:
    """A function that is not written in Python: of the builtins, a ufunc, a bound ``dict.get``."""
    owner = getattr(value, "__self__", None)
    bound = owner is not None and not isinstance(owner, ModuleType)
    if bound and published(value):
        return walk.external(type(owner).__module__, value.__name__)
    holding = getattr(value, "__objclass__", type(owner))
    module = getattr(value, "__module__", None) or holding.__module__
    named = walk.external(module, value.__qualname__)
    return {"method": named, "of": walk.part(owner, holder)} if bound else named


def _watched_fields(walk: Walk, value: Any, state: Any) -> dict[str, Any]:
    names = [name for cls in type(value).__mro__ for name in slots_of(cls)]
    fields = {}
    for name in names:
        found = getattr(value, name, GONE)
        walk.watch.attribute(value, name, found)
        if found is not GONE:
            fields[name] = found
    if isinstance(state, dict):
        fields |= state
        for name, found in state.items():
            walk.watch.item(state, name, found)
        walk.watch.value(lambda: sorted(state), canonical_json(sorted(state)))
    return fields


def built_in_content(value: Any) -> Any:
    """What a ``dict`` or an exception holds besides attributes.

    Returns:
        None for an object that holds nothing else, GONE where it cannot be read.
    """
    for cls in type(value).__mro__:
        known = cls in _CONTENTS or cls is object or cls.__module__ in _LAYOUTLESS
        plain_error = issubclass(cls, BaseException) and cls.__basicsize__ == _ERROR_SIZE
        if not (known or plain_error or is_made_in_python(cls)):
            return GONE
    base = next((base for base in type(value).__mro__ if base in _CONTENTS), None)
    return None if base is None else _CONTENTS[base](value)
