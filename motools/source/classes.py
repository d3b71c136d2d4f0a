"""What stands for a class: its source, what its methods reach, and the values it holds now."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from motools.digest import Value, canonical_json
from motools.errors import SourceError
from motools.source.bindings import bindings
from motools.source.cells import class_file
from motools.source.files import class_node, function_node
from motools.source.kept import describe_kept, is_readable
from motools.source.names import Unit
from motools.source.normalise import digest
from motools.source.objects import (
    cells_of,
    class_origin,
    functions_in,
    functions_of,
    name_of,
    namespace_of,
    stands_in,
)
from motools.source.origin import Origin, extension_content
from motools.source.text import text_of

if TYPE_CHECKING:
    from motools.source.reach import Walk

_PLAIN: Final = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset)


def describe_class(walk: Walk, cls: type) -> Value:
    """A class, by its source if it is one's own.

    Raises:
        SourceError: the source is out of reach or not what is loaded, or a value
            that was put on the class later cannot be read.
    """
    if cls.__module__ == "types" and getattr(types, cls.__qualname__, None) is not cls:
        # Before Python 3.12, classes that dataclasses and `types` make call themselves so.
        return _made_class(walk, cls, name_of(cls))
    if class_origin(cls) is not Origin.OWN or extension_content(cls.__module__) is not None:
        return walk.external(cls.__module__, cls.__qualname__)
    members = list(functions_of(cls))
    namespace = namespace_of(cls, members)
    filename = class_file(cls, members, namespace)
    name, holder = name_of(cls), f"{name_of(cls)} ({filename})"
    node = class_node(cls, filename, namespace)
    if node is None:
        return _made_class(walk, cls, holder)
    for attribute, member in list(vars(cls).items()):
        for function in functions_in(member):
            if stands_in(cls, attribute, function):
                function_node(function)  # raises if the file was edited since it was imported
    _watch(walk, cls)
    cells = cells_of(members)
    walk.parts[name] = digest(node)
    walk.show(name, text_of(node, filename))
    unit = Unit(name, filename, node, namespace, cells, "<locals>" in cls.__qualname__)
    described: dict[str, Value] = {
        "source": digest(node),
        "names": walk.names(unit),
        "captured": walk.captured(cells, holder),
        "bases": [walk.refer(base) for base in cls.__bases__ if base is not object],
        "metaclass": None if type(cls) is type else walk.refer(type(cls)),
        "values": {
            attribute: walk.value(member, holder, attribute)
            for attribute, member in _attributes(cls)
            if _is_value(cls, attribute, member, bindings(node.body, is_class=True).bound, holder)
        },
        # Methods that were put there from elsewhere are not in the class's source.
        "added": {
            attribute: [walk.refer(function) for function in functions_in(member)]
            for attribute, member in _attributes(cls)
            if not all(stands_in(cls, attribute, f) for f in functions_in(member))
        },
    }
    kept = describe_kept(walk, cls, unit, holder)
    return {**described, "kept": kept} if kept else described


def _watch(walk: Walk, cls: type) -> None:
    def names() -> Value:
        return [attribute for attribute, _ in _attributes(cls)]

    walk.watch.attribute(cls, "__bases__", cls.__bases__)
    walk.watch.value(names, canonical_json(names()))
    for attribute, member in _attributes(cls):
        walk.watch.item(vars(cls), attribute, member)


def _attributes(cls: type) -> Iterator[tuple[str, Any]]:
    for attribute, member in sorted(vars(cls).items(), key=lambda item: item[0]):
        if not (attribute.startswith("_") and attribute.endswith("_")):
            yield attribute, member


def _is_value(cls: type, attribute: str, member: Any, bound: set[str], holder: str) -> bool:
    """Whether an attribute holds a value to be read, rather than behaviour or a member.

    Raises:
        SourceError: it was put on the class from elsewhere, and cannot be read.
    """
    if isinstance(member, type):
        return not member.__qualname__.startswith(f"{cls.__qualname__}.")
    if issubclass(cls, enum.Enum) and isinstance(member, cls):
        return False
    if type(member) in _PLAIN:
        return True
    if hasattr(type(member), "__get__"):
        return False
    if is_readable(member):
        return True
    # What the class body made is in its source; metaclasses put objects of their own there.
    if attribute not in bound and type(cls) is type:
        raise SourceError(
            f"{holder} was given {attribute}, an object of {name_of(member)} whose state cannot "
            'be read. Describe the function by hand with version="..."'
        )
    return False


def _made_class(walk: Walk, cls: Any, holder: str) -> Value:
    """A class that ``namedtuple(...)`` made, which has no source."""
    if cls.__bases__ == (tuple,) and hasattr(cls, "_field_defaults"):
        defaults = walk.part(cls._field_defaults, holder)
        walk.parts[name_of(cls)] = blake3(canonical_json(list(cls._fields))).hexdigest()
        return {"named_tuple": [cls.__name__, list(cls._fields), defaults]}
    raise SourceError(
        f"{walk.place_of(cls)}the source of class {holder} is out of reach; describe the "
        'function by hand with version="..."'
    )
