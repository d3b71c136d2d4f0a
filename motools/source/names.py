"""From a name in the source to what it leads to, and whether a digest can vouch for that."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import sys
from collections.abc import (
    Callable,
    Container,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
)
from dataclasses import dataclass
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NoReturn, TypeAlias

from motools.errors import CanonicalError, SourceError
from motools.source import rules
from motools.source.bindings import Import
from motools.source.bindings import Unit as Node
from motools.source.objects import GONE, class_origin, content_of, name_of
from motools.source.origin import Origin, of_file, of_live_module, of_module
from motools.source.scopes import Use, path_of

Watch: TypeAlias = Callable[[Mapping[str, Any], str, Any], None]
"""Told of every look-up that has to stay as it is: mapping, name, what was found."""

_CONTAINERS: Final = (MutableMapping, MutableSequence, MutableSet)
_ACCESSORS: Final = frozenset({"setter", "getter", "deleter"})
_BY_NAME: Final = {"functools": ("register",), "inspect_ai": ("tool",), "prefect": ("flow",)}
"""Decorators that read annotations, of the libraries most of whose decorators do not."""
_FUNCTIONS: Final = (FunctionType, BuiltinFunctionType, MethodType)
_MODULE_FACTS: Final = frozenset({"__name__", "__package__", "__doc__", "__debug__", "__spec__"})


@dataclass(frozen=True, eq=False)
class External:
    """A name in a library, as in ``numpy.linalg.norm``; the library need not be imported."""

    name: str


@dataclass(frozen=True, eq=False)
class Unit:
    """A function or class whose names are being followed.

    Attributes:
        name: what to call it in an error.
        filename: file that defines it.
        node: its definition.
        namespace: the globals it sees.
        cells: the names it captured.
        is_local: True for a class inside a function, whose body saw names that are gone.
    """

    name: str
    filename: str
    node: Node
    namespace: Mapping[str, Any]
    cells: Mapping[str, CellType]
    is_local: bool = False

    def refuse(self, line: int, reason: str) -> NoReturn:
        """Say that what stands on a line cannot be pinned by source.

        Raises:
            SourceError: always.
        """
        raise SourceError(
            f"{self.name} ({self.filename}:{line}) {reason}, which source alone does not pin. "
            'Pass it as an argument, or describe the function by hand with version="..."'
        )


def resolve(use: Use, unit: Unit, watch: Watch) -> tuple[str, Any]:
    """The part of a path that leads to something, and what that is.

    Returns:
        the path in dots, and an object, an :class:`External` or ``GONE``.

    Raises:
        SourceError: the path is a whole module, any name of which may be meant.
    """
    target, length = _in_modules(_root(use, unit, watch), 1, use, unit, watch)
    if isinstance(target, FunctionType) and use.path[length:]:
        name = use.path[length]
        watch(vars(target), name, vars(target).get(name, GONE))
        if name in vars(target):
            found = vars(target)[name]
            target, length = _in_modules(found, length + 1, use, unit, watch)
    if isinstance(target, ModuleType):
        target = External(target.__name__)
    if isinstance(target, External):
        return ".".join(use.path), External(".".join((target.name, *use.path[length:])))
    path = ".".join(use.path[:length])
    if target is GONE and unit.is_local and not use.lenient:
        unit.refuse(use.line, f"takes {path} from a scope that is gone")
    return path, target


def _in_modules(target: Any, length: int, use: Use, unit: Unit, watch: Watch) -> tuple[Any, int]:
    """What a path leads to through modules of one's own, and how much of it does.

    Raises:
        SourceError: the path is a whole module, any name of which may be meant.
    """
    while isinstance(target, ModuleType) and of_live_module(target) is Origin.OWN:
        if length == len(use.path):
            if use.lenient:
                return GONE, length
            unit.refuse(use.line, f"uses the whole module {'.'.join(use.path)}")
        name = use.path[length]
        found = getattr(target, name, GONE)
        if name in vars(target) or found is GONE:
            watch(vars(target), name, found)
        target, length = found, length + 1
    return target, length


def streams(found: Iterable[tuple[Use, str, Any]]) -> set[int]:
    """The ids of the calls that make a stream in memory, whichever branch runs.

    Args:
        found: uses of names, with what each leads to, as :func:`resolve` says.
    """
    made: dict[int, bool] = {}
    for use, path, target in found:
        if use.call is not None:
            name = target.name if isinstance(target, External) else None
            if isinstance(target, type) and _is_of_library(target) and path == ".".join(use.path):
                name = name_of(target)
            makes = name is not None and rules.makes_stream(name)
            made[id(use.call)] = made.get(id(use.call), True) and makes
    return {call for call, makes in made.items() if makes}


def check(use: Use, path: str, target: Any, unit: Unit, made: Container[int] = ()) -> None:
    """Refuse a use that source does not pin.

    Args:
        use: of a name.
        path: the part of it that leads to something.
        target: what that is.
        unit: where it stands.
        made: the :func:`streams` there.

    Raises:
        SourceError: it reads files or the environment, looks names up at run time,
            or changes what outlives the call.
    """
    reason = None
    if "__subclasses__" in use.path:
        reason = f"uses {rules.SUBCLASSES}"
    elif isinstance(target, External):
        module, _, name = target.name.partition(".")
        if module == "builtins":
            reason = rules.of_builtin(name.partition(".")[0], use.call)
        else:
            reason = rules.of_dotted(target.name, use.call, made)
    elif use.writes and (use.mutator is None or isinstance(target, _CONTAINERS)):
        reason = f"changes {path}, which outlives the call"
    elif path == "__file__":
        reason = "reads __file__, and so depends on files beside it"
    elif _is_of_library(target):
        rest = use.path[path.count(".") + 1 :]
        reason = rules.of_object(target, ".".join((name_of(target), *rest)), use.call, made)
    if reason is not None:
        unit.refuse(use.line, reason)


def check_held(value: Any, path: str) -> None:
    """Refuse a library's function that is held as a value, where it is not seen what is called.

    Args:
        value: what is held.
        path: what to call it in an error.

    Raises:
        CanonicalError: it is one that reads files or the environment, or looks names up.
    """
    if isinstance(value, _FUNCTIONS) and _is_of_library(value):
        name = name_of(value)
        module, _, rest = name.partition(".")
        builtin = module == "builtins"
        reason = rules.of_builtin(rest, None) if builtin else rules.of_object(value, name, None)
        if reason is not None:
            raise CanonicalError(path, f"it {reason}")


def _is_of_library(target: Any) -> bool:
    if isinstance(target, MethodType):
        target = target.__func__
    if isinstance(target, FunctionType):
        return of_file(target.__code__.co_filename) is not Origin.OWN
    return class_origin(target if isinstance(target, type) else type(target)) is not Origin.OWN


def library_of(target: Any) -> str:
    """The name of the library that a class or a name is of; empty for what is of none."""
    named = target.name if isinstance(target, External) else getattr(target, "__module__", None)
    return str(named or "").partition(".")[0]


def check_methods(
    calls: list[ast.Call], known: set[int], unit: Unit, libraries: Container[str]
) -> None:
    """Refuse calls of methods that read files, of objects that are not known.

    Args:
        calls: of methods.
        known: ids of those that are checked by what is called.
        unit: where they stand.
        libraries: those that it uses.

    Raises:
        SourceError: there is one.
    """
    for call in calls:
        if id(call) not in known and (reason := rules.of_method(call, libraries)):
            unit.refuse(call.lineno, reason)


def is_known(target: Any) -> bool:
    """Whether what a call's name leads to is itself described, so that its name says nothing."""
    return isinstance(target, (External, FunctionType, type))


def says_itself(target: Any, use: Use, path: str) -> bool:
    """Whether source says all there is about a name: builtins, facts about the module."""
    if target is GONE:
        return use.lenient
    if isinstance(target, External):
        return target.name.startswith("builtins.")
    return path in _MODULE_FACTS


def stem(target: External, use: Use) -> External:
    """What the first name of a path stands for; the attributes are in the source."""
    attributes = "".join(f".{name}" for name in use.path[1:])
    return External(target.name.removesuffix(attributes) or target.name)


def evaluates(decorator: ast.expr, unit: Unit) -> bool:
    """Whether a decorator may do something with the types that annotations name in quotes.

    Args:
        decorator: as it is written.
        unit: the function or class that it stands in.
    """
    path = path_of(getattr(decorator, "func", decorator)) or ("",)
    found = unit.cells.get(path[0])
    target: Any = unit.namespace.get(path[0], getattr(builtins, path[0], None))
    target = target if found is None else content_of(found)
    for name in path[1:]:
        target = getattr(target, name, None)
    library = str(getattr(target, "__module__", "")).partition(".")[0]
    if path[-1] in _ACCESSORS or library in ("motools", "torch"):
        return False
    if library in sys.stdlib_module_names or library in _BY_NAME:
        return getattr(target, "__name__", path[-1]) in _BY_NAME.get(library, ())
    return True


def is_motools(decorator: ast.expr, namespace: Mapping[str, Any]) -> bool:
    """Whether a decorator is one of motools, whose arguments do not change the work."""
    path = path_of(getattr(decorator, "func", decorator))
    target: Any = None if path is None else namespace.get(path[0])
    for name in (path or ())[1:]:
        target = getattr(target, name, None)
    module = getattr(target, "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] == "motools"


def _root(use: Use, unit: Unit, watch: Watch) -> Any:
    name = use.path[0]
    if use.imported is not None:
        return _imported(use.imported, unit.namespace, watch)
    if name in unit.cells:
        return content_of(unit.cells[name])
    target = unit.namespace.get(name, GONE)
    watch(unit.namespace, name, target)
    if target is GONE and hasattr(builtins, name):
        return External(f"builtins.{name}")
    return target


def _imported(imported: Import, namespace: Mapping[str, Any], watch: Watch) -> Any:
    module = imported.module
    if imported.level:
        package = namespace.get("__package__") or ""
        module = importlib.util.resolve_name("." * imported.level + module, package)
    top = module.partition(".")[0]
    try:
        origin = of_module(module)
    except SourceError:
        return GONE  # an optional module that is not installed here
    if origin is not Origin.OWN:
        if imported.name is not None:
            return External(f"{module}.{imported.name}")
        return External(module if imported.aliased else top)
    found = importlib.import_module(module)
    watch(sys.modules, module, found)
    if imported.name is None:
        return found if imported.aliased else sys.modules[top]
    if not hasattr(found, imported.name) and hasattr(found, "__path__"):
        importlib.import_module(f"{module}.{imported.name}")
    target = getattr(found, imported.name, GONE)
    if imported.name in vars(found) or target is GONE:
        watch(vars(found), imported.name, target)
    return target
