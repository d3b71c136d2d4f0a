"""What stands for an object that a function is given: its class, and the state that it is in.

A class is described once and remembered, as functions are. The state is read at every
call: objects that are reached from it are numbered in the order in which they are met,
so that they may lead to each other in circles.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, Final, TypeAlias

from motools.digest import Value, canonical_json, hash_bytes
from motools.errors import CanonicalError, SourceError
from motools.source.instances import built_in_content, published
from motools.source.objects import GONE, class_origin, name_of, slots_of
from motools.source.origin import Origin
from motools.tags import SOURCED, Reach, encode, state_of

Describe: TypeAlias = Callable[[Any], str]
"""Gives the source digest of a function, a class, or what a library made."""

Items: TypeAlias = Mapping[type, Callable[[Any, str, Reach], Value]]
"""Collections that are no plain containers -> how each is encoded."""

_LONGEST_PATH: Final = 80
_MARK: Final = "__orig_class__"  # what typing notes on instances of Box[int]


def is_own_object(value: Any) -> bool:
    """Whether a value is an object of a class of one's own, which has a state to be read.

    Raises:
        SourceError: nobody answers for its class.
    """
    return not isinstance(value, SOURCED) and class_origin(type(value)) is Origin.OWN


def describe_given(value: Any, path: str, describe: Describe, items: Items) -> Value:
    """An object of a class of one's own in canonical form.

    Args:
        value: the object.
        path: what to call it in an error.
        describe: gives source digests; asked for a class at every object of it.
        items: encoders of collections, asked before anything else.

    Raises:
        CanonicalError: something that it holds has no canonical form.
        SourceError: the source of its class, or of what it holds, is out of reach.
    """
    state = _Graph(describe, items).of(value, path)
    return {"$type": {"$source": describe(type(value))}, "$state": state}


class _Graph:
    """The objects that are reached from one, by the numbers in which they are met."""

    def __init__(self, describe: Describe, items: Items) -> None:
        self._describe = describe
        self._items = items
        self._met: list[tuple[Any, str]] = []
        self._numbers: dict[int, int] = {}

    def of(self, value: Any, path: str) -> str:
        """The digest of the state of an object and of all that it reaches."""
        self._number(value, path)
        nodes: list[Value] = [self._node(value, path)]
        while len(nodes) < len(self._met):
            met, place = self._met[len(nodes)]
            nodes.append([self._describe(type(met)), self._node(met, place)])
        return hash_bytes(canonical_json(nodes, path)).hex

    def _number(self, value: Any, path: str) -> Value:
        number = self._numbers.setdefault(id(value), len(self._met))
        if number == len(self._met):
            self._met.append((value, path[:_LONGEST_PATH]))
        return {"$node": number}

    def _node(self, value: Any, path: str) -> Value:
        content = built_in_content(value)
        if content is GONE:
            raise CanonicalError(path, f"an object of {name_of(value)} cannot be read")
        slots = [name for cls in type(value).__mro__ for name in slots_of(cls)]
        state = state_of(value, slots)
        if _MARK in getattr(value, "__dict__", {}):
            state[_MARK] = value.__orig_class__
        fields = {name: self._encoded(state[name], f"{path}.{name}") for name in sorted(state)}
        return [fields] if content is None else [fields, self._encoded(content, path)]

    def _encoded(self, value: Any, path: str) -> Value:
        return encode(value, path, self._reach)

    def _reach(self, value: Any, path: str) -> Value:
        if (encoder := self._items.get(type(value))) is not None:
            return encoder(value, path, self._reach)
        if isinstance(value, MethodType) and not published(value):
            parts: Sequence[Any] = value.__func__, value.__self__
            return {"$method": [self._encoded(part, path) for part in parts]}
        if isinstance(value, functools.partial):
            parts = value.func, value.args, value.keywords
            return {"$partial": [self._encoded(part, path) for part in parts]}
        try:
            if is_own_object(value):
                return self._number(value, path)
            return {"$source": self._describe(value)}
        except SourceError as problem:
            raise CanonicalError(path, str(problem).partition(". ")[0]) from problem
