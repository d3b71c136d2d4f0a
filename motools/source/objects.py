"""Live functions and classes: their names, their files, and who answers for them."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CellType, FunctionType, MemberDescriptorType, MethodType
from typing import Any, Final

from motools.errors import SourceError
from motools.source.origin import Origin, extension_content, of_file, of_module

GONE: Final = object()
"""Stands for a name that leads to nothing."""

_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or as if
_FUNCTIONS: Final = ("__func__", "fget", "fset", "fdel", "func")
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict})
_MAIN: Final = ("__main__", "__mp_main__")  # multiprocessing calls a script so in its children
_PYTHON: Final = frozenset({"__dict__", "__slots__"})


def name_of(value: Any) -> str:
    """What to call a value: its module and qualified name, or its type's."""
    named = value if isinstance(getattr(value, "__qualname__", None), str) else type(value)
    module = str(getattr(named, "__module__", None) or "builtins")
    if module in _MAIN:
        # A wrapper has the module of what it wraps, and the globals of whoever made it.
        module = module_name(module, getattr(inspect.unwrap(value), "__globals__", None))
    return f"{module}.{named.__qualname__}"


def module_name(name: str, namespace: Mapping[str, Any] | None = None) -> str:
    """A module's name; a script's is that of its file, as when it is imported."""
    if name not in _MAIN:
        return name
    main = namespace or vars(sys.modules[name])
    spec, file = main.get("__spec__"), main.get("__file__")
    return str(spec.name) if spec is not None else Path(str(file)).stem if file else name


def content_of(cell: CellType) -> Any:
    """What a captured name stands for now, or GONE."""
    try:
        return cell.cell_contents
    except ValueError:
        return GONE


def is_own_callable(value: Any) -> bool:
    """Whether a library's function that holds this may call code of one's own."""
    if isinstance(value, type):
        return class_origin(value) is Origin.OWN
    if isinstance(value, (MethodType, functools.partial)):
        return True
    return isinstance(value, FunctionType) or hasattr(value, "__wrapped__")


def wrapped_by(function: FunctionType) -> list[Any]:
    """What a library's function may call: what it wraps, dispatches to or captured."""
    found: list[Any] = [getattr(function, "__wrapped__", None)]
    found += getattr(function, "registry", {}).values()
    for cell in function.__closure__ or ():
        content = content_of(cell)
        found += content if isinstance(content, (list, tuple)) else [content]
    return found


def is_of_library(value: Any) -> bool:
    """Whether a bound method is a library's, of an object of the library's."""
    return (
        isinstance(value, MethodType)
        and isinstance(value.__func__, FunctionType)
        and of_file(value.__func__.__code__.co_filename) is not Origin.OWN
        and not isinstance(value.__self__, type)
        and class_origin(type(value.__self__)) is not Origin.OWN
    )


def leads_to_own(value: Any) -> bool:
    """Whether a wrapper, however deep, wraps code of one's own."""
    while (inner := getattr(value, "__wrapped__", None)) is not None:
        value = inner
    if isinstance(value, functools.partial):
        return leads_to_own(value.func)
    if isinstance(value, MethodType):
        return leads_to_own(value.__func__)
    if isinstance(value, type):
        return class_origin(value) is Origin.OWN
    return isinstance(value, FunctionType) and of_file(value.__code__.co_filename) is Origin.OWN


def is_published(function: FunctionType) -> bool:
    """Whether a library has this very function under its name, so that its version says all."""
    if of_module(function.__module__) is Origin.OWN:
        return False
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def is_plain(value: Any) -> bool:
    """Whether a value is made of JSON values, tuples and sets alone."""
    if isinstance(value, dict):
        return all(map(is_plain, value.keys())) and all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, bytes))


def owner_of(function: FunctionType) -> type | None:
    """The class a method was defined in, whose other methods it may call."""
    *parents, name = function.__qualname__.split(".")
    if not parents or "<locals>" in parents:
        return None
    owner: Any = function.__globals__.get(parents[0])
    for parent in parents[1:]:
        owner = getattr(owner, parent, None)
    return owner if isinstance(owner, type) and name in vars(owner) else None


def functions_of(cls: type) -> Iterator[FunctionType]:
    """The functions in a class that have source, generated ones excepted."""
    for member in list(vars(cls).values()):
        yield from functions_in(member)


def functions_in(member: Any) -> list[FunctionType]:
    """The functions with source in an attribute of a class: a method, a property's, ..."""
    if type(member) in _PLAIN:
        return []
    names = _names_of_functions(member)
    return [
        part
        for part in (member, *(getattr(member, name, None) for name in names))
        if isinstance(part, FunctionType) and not _is_generated(part)
    ]


def _names_of_functions(member: Any) -> list[str]:
    if type(member) is FunctionType:
        return [name for name in _FUNCTIONS if name in vars(member)]
    # Asking some of pydantic's members for what they lack makes them rebuild their class.
    return [name for name in _FUNCTIONS if inspect.getattr_static(member, name, GONE) is not GONE]


def stands_in(cls: type, attribute: str, function: FunctionType) -> bool:
    """Whether a function is what the class's own source says the attribute is."""
    return function.__code__.co_qualname == f"{cls.__qualname__}.{attribute}"


def cells_of(members: Iterable[FunctionType]) -> dict[str, CellType]:
    """What the methods of a class captured, but for the class itself."""
    cells: dict[str, CellType] = {}
    for member in members:
        cells |= zip(member.__code__.co_freevars, member.__closure__ or (), strict=True)
    cells.pop("__class__", None)
    return cells


def is_made_in_python(cls: type) -> bool:
    """Whether a class keeps its state in attributes, where it can be read."""
    if class_origin(cls) is Origin.OWN:
        return extension_content(cls.__module__) is None
    written = any(isinstance(member, FunctionType) for member in vars(cls).values())
    return bool(cls.__flags__ & _HEAP_TYPE) and (written or bool(_PYTHON & vars(cls).keys()))


def _is_generated(function: FunctionType) -> bool:
    filename = function.__code__.co_filename
    return filename.startswith(("<string>", "<attrs")) or of_file(filename) is not Origin.OWN


def slots_of(cls: type) -> tuple[str, ...]:
    """The names of a class's own slots that hold values."""
    if "__slots__" not in vars(cls):
        return ()
    # Not by what `__slots__` says: a private name is another one there, and it may be used up.
    return tuple(n for n, member in vars(cls).items() if isinstance(member, MemberDescriptorType))


def class_origin(cls: type) -> Origin:
    """Who answers for a class."""
    if any(functions_of(cls)):
        return Origin.OWN
    return of_module(cls.__module__)


def namespace_of(cls: type, members: list[FunctionType]) -> Mapping[str, Any]:
    """The globals of the module that defines a class.

    Raises:
        SourceError: the class has no methods and its module is not in ``sys.modules``.
    """
    if members:
        return members[0].__globals__
    if cls.__module__ not in sys.modules:
        raise SourceError(
            f"class {name_of(cls)}: its module is not in sys.modules, so what it uses is out of "
            "reach; register the module, or pass version="
        )
    return vars(sys.modules[cls.__module__])
