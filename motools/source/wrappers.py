"""What stands for a library's function: its name, and what a call made it of, as with wrappers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from motools.digest import Value, canonical_json
from motools.source.files import function_node
from motools.source.names import is_motools
from motools.source.objects import (
    GONE,
    content_of,
    is_of_library,
    is_own_callable,
    is_plain,
    is_published,
    leads_to_own,
    name_of,
    wrapped_by,
)
from motools.source.origin import Origin, of_module

if TYPE_CHECKING:
    from motools.source.reach import Walk


def describe_foreign(walk: Walk, function: FunctionType) -> Value:
    """A library's function: by name, with what it was made from if it was made by a call.

    Raises:
        SourceError: it holds something that cannot be read.
    """
    module = function.__globals__.get("__name__", "")
    name = function.__code__.co_qualname
    if is_published(function):
        return {"by": walk.external(module, name)}

    def inner() -> Value:
        found = [item for item in wrapped_by(function) if is_own_callable(item)]
        if any(map(is_of_library, found)) and _is_decorated(inspect.unwrap(function)):
            found = [item for item in found if not is_of_library(item)]
        return [walk.refer(item) for item in found]

    wrapped = inner()
    walk.watch.value(inner, canonical_json(wrapped))
    # A decorator's arguments stand in the source of what it decorates, so of its wrapper
    # only plain values need to be read; whatever else a package made must be read whole.
    decorates = any(map(leads_to_own, wrapped_by(function)))
    holder, held = f"{name_of(function)}, made by {module}.{name},", {}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for free, cell in sorted(cells, key=lambda pair: pair[0]):
        content = content_of(cell)
        walk.watch.attribute(cell, "cell_contents", content)
        if content is GONE or isinstance(content, ModuleType):
            continue
        if is_plain(content) or not (decorates or of_module(module) is Origin.STDLIB):
            held[free] = walk.value(content, holder, free, is_named=True)
    return {"wrapped": wrapped, "by": walk.external(module, name), "held": held}


def _is_decorated(function: Any) -> bool:
    """Whether a function of one's own stands below a decorator that is none of motools."""
    if not isinstance(function, FunctionType) or not leads_to_own(function):
        return False
    node = without_tasks(function_node(function), function.__globals__)
    return bool(getattr(node, "decorator_list", ()))


def without_tasks(node: Any, namespace: Mapping[str, Any]) -> Any:
    """A definition without the task decorators of motools."""
    decorators = getattr(node, "decorator_list", [])
    kept = [decorator for decorator in decorators if not is_motools(decorator, namespace)]
    if len(kept) < len(decorators):
        node = copy.copy(node)
        node.decorator_list = kept
    return node
