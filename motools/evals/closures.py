"""What functions of a task captured from around them."""

from __future__ import annotations

from types import FunctionType
from typing import Any


def cells_of(function: FunctionType) -> dict[str, Any]:
    """What a function captured, by name."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a name that the factory never bound
            continue
    return found


def is_data(value: Any) -> bool:
    """Whether a value is plain data."""
    if value is None or type(value) in (bool, int, float, str):
        return True
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(is_data(item) for item in value)
    if type(value) is dict:
        return all(is_data(item) for pair in value.items() for item in pair)
    return isinstance(value, bytes)
