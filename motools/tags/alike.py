"""An order for members of a set that are named alike, as functions of one name are.

A set keeps no order, and `reach` may number what it is given. So such members are
told apart by their places and by what they hold, however that is nested: what each
object holds is read once a round, with a rank from the round before for every other.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any, Final

from motools.digest import Value, canonical_json
from motools.errors import CanonicalError
from motools.tags import Reach, encode, named

_ROUNDS: Final = 4
"""How many functions and objects deep to look, as some contain themselves."""


class Ranks:
    """What stands for an object while its like are told apart: its rank among all that were met."""

    def __init__(self) -> None:
        self._met: dict[int, Any] = {}
        self._ranks: dict[int, int] = {}

    def __call__(self, value: Any, _path: str) -> Value:
        """The rank of an object, as text that sorts as numbers do."""
        self._met.setdefault(id(value), value)
        return f"{self._ranks.get(id(value), 0):09}"

    def refine(self) -> bool:
        """Rank what was met by what it holds.

        Returns:
            Whether another round can tell more apart.
        """
        before = len(self._met), len(set(self._ranks.values()))
        texts = {key: _held(value, self) for key, value in list(self._met.items())}
        places = {text: place for place, text in enumerate(sorted(set(texts.values())), start=1)}
        self._ranks = {key: places[text] for key, text in texts.items()}
        return before != (len(self._met), len(places))


def in_order(members: Iterable[Any], reach: Reach) -> list[Any]:
    """Members of a set that are named alike, in an order that each run of a program has."""
    found = list(members)
    if isinstance(reach, Ranks):  # which numbers nothing
        return found
    ranks = Ranks()
    for each in found:
        _text(each, ranks)
    for _ in range(_ROUNDS):
        if not ranks.refine():
            break
    return sorted(found, key=lambda each: _text(each, ranks))


def _text(value: Any, ranks: Ranks) -> str:
    try:
        return canonical_json(encode(value, "", ranks)).decode()
    except CanonicalError:
        return ""  # raised again when the value itself is encoded


def _held(value: Any, ranks: Ranks) -> str:
    """Text to sort by: an object's names, its place in a file and what it holds."""
    parts: list[Any] = [*named(value)]
    if isinstance(value, functools.partial):
        parts += [value.func, value.args, value.keywords]
    elif isinstance(value, types.MethodType):
        parts += [value.__func__, value.__self__]
    elif isinstance(value, types.FunctionType):
        code = value.__code__
        constants = [each for each in code.co_consts if not isinstance(each, types.CodeType)]
        # What has no column is no part of an expression; a line has as many digits as any.
        places = [f"{p[0]:09} {p[2]:09}" for p in code.co_positions() if None not in p and p[3]]
        parts += [f"{code.co_firstlineno:09}", min(places, default=""), repr(constants)]
        parts += [value.__defaults__, value.__kwdefaults__]
        parts += [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    elif not isinstance(value, type):
        parts.append(getattr(value, "__dict__", None))
    return canonical_json([_text(part, ranks) for part in parts]).decode()


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
