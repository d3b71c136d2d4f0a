"""What a digest was read from, so that it is known whether that still holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from types import FunctionType
from typing import Any, Final

from motools.digest import Value, canonical_json
from motools.source.objects import GONE

_FIXED: Final = (int, float, str, bytes, complex, type(None), re.Pattern, PurePath, Enum)


class Watch:
    """Look-ups that led somewhere, and values as they were."""

    def __init__(self) -> None:
        self._attributes: list[tuple[Any, str, Any]] = []
        self._items: list[tuple[Mapping[str, Any], str, Any]] = []
        self._values: list[tuple[Callable[[], Value], bytes]] = []

    def attribute(self, owner: Any, name: str, found: Any) -> None:
        """``owner.name`` was ``found``."""
        self._attributes.append((owner, name, found))

    def item(self, mapping: Mapping[str, Any], name: str, found: Any) -> None:
        """``mapping[name]`` was ``found``, or was not there."""
        self._items.append((mapping, name, found))

    def value(self, again: Callable[[], Value], canonical: bytes) -> None:
        """What ``again()`` returns had this canonical form."""
        self._values.append((again, canonical))

    def holds(self) -> bool:
        """Whether every name still leads where it led, and every value is as it was."""
        for owner, name, found in self._attributes:
            if getattr(owner, name, GONE) is not found:
                return False
        for mapping, name, found in self._items:
            if mapping.get(name, GONE) is not found:
                return False
        return all(canonical_json(again()) == before for again, before in self._values)


def may_change(value: Any, encoded: Value) -> bool:
    """Whether a value can change in place; objects with a number of their own are watched there."""
    if isinstance(value, _FIXED) or (isinstance(encoded, dict) and "$node" in encoded):
        return False
    if isinstance(value, (tuple, frozenset)):
        return any(may_change(item, None) for item in value)
    return not isinstance(value, (FunctionType, type))
