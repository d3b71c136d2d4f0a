"""Everything a function's result depends on, as far as source can say.

From the root the walk follows names to functions, classes and constants of
one's own, and numbers them in the order in which they are met. A digest covers
each one's normalised source and, by those numbers, which name leads to which;
so neither a module's name nor the place of a file is part of it.
"""

from __future__ import annotations

import copy
import functools
import logging
import operator
import threading
import types
import typing
from collections.abc import Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from blake3 import blake3

from motools.digest import Value, canonical_json
from motools.errors import CanonicalError, SourceError
from motools.source.files import class_node, function_node
from motools.source.names import (
    External,
    Unit,
    check,
    check_methods,
    is_known,
    is_motools,
    resolve,
    says_itself,
    stem,
)
from motools.source.normalise import digest
from motools.source.objects import (
    GONE,
    class_file,
    class_origin,
    content_of,
    functions_of,
    is_own_callable,
    is_plain,
    is_published,
    leads_to_own,
    module_name,
    name_of,
    namespace_of,
    owner_of,
    slots_of,
    wrapped_by,
)
from motools.source.origin import Origin, of_file, of_module, packages
from motools.source.scopes import Use, uses
from motools.source.watch import Watch, may_change
from motools.tags import encode

SCHEMA: Final = "motools.source/1"

_STATELESS: Final = (
    logging.Logger,
    logging.LoggerAdapter,
    type(threading.Lock()),
    type(threading.RLock()),
)
_TYPE_NAMES: Final = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple, typing.NewType)
_RECIPES: Final = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
_PLAIN: Final = frozenset({bool, int, float, str, bytes, list, tuple, dict, set, frozenset})


class Walk:
    """One walk from a root, with what must stay as it is for the digest to stay true.

    Attributes:
        parts: qualified name of each part -> digest of its source or value.
        packages: distribution -> version.
        watch: what must stay as it is.
    """

    def __init__(self, root: Any) -> None:
        self.parts: dict[str, str] = {}
        self.packages: dict[str, str] = {}
        self.watch = Watch()
        self._objects: list[Any] = []
        self._places: list[str] = []  # for errors: who led to each object, by what name
        self._holder = ""
        self._labels: dict[int, int] = {}
        self._refer(root)
        nodes: list[Value] = []
        while len(nodes) < len(self._objects):
            nodes.append(self._describe(self._objects[len(nodes)]))
        self._nodes: str = blake3(canonical_json(nodes)).hexdigest()

    def digest(self, versions: Mapping[str, str]) -> str:
        """The digest, in hex, of all that was reached.

        Args:
            versions: distribution -> version to hash for it.
        """
        material = {"schema": SCHEMA, "nodes": self._nodes, "packages": versions}
        return blake3(canonical_json(material)).hexdigest()

    def _refer(self, value: Any, path: str = "") -> Value:
        label = self._labels.setdefault(id(value), len(self._objects))
        if label == len(self._objects):
            self._objects.append(value)
            self._places.append(f"{self._holder} depends on {path}: " if path else "")
        return {"$node": label}

    def _value(self, value: Any, holder: str, name: str) -> Value:
        """A value that source leads to, watched if it can change in place."""

        def again() -> Value:
            return encode(value, name, self._refer)

        self._holder = holder
        try:
            encoded = again()
            canonical = canonical_json(encoded, name)
            if may_change(value, encoded):
                self.watch.value(again, canonical)
        except CanonicalError as problem:
            raise SourceError(
                f"{holder} depends on {problem}. Pass it as an argument, or describe the "
                'function by hand with version="..."'
            ) from problem
        return encoded

    def _place(self, value: Any) -> str:
        return self._places[self._labels[id(value)]]

    def _describe(self, value: Any) -> Value:  # noqa: PLR0911 - one return for each kind
        holder = name_of(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type) and not isinstance(value, types.GenericAlias):
            return self._class(value)
        if isinstance(value, MethodType):
            return {"method": self._refer(value.__func__), "of": self._part(value.__self__, holder)}
        if isinstance(value, functools.partial):
            given: Value = [self._part(value.args, holder), self._part(value.keywords, holder)]
            return {"partial": self._refer(value.func), "arguments": given}
        if isinstance(value, ModuleType):
            return self._external(External(value.__name__))
        if isinstance(value, (*_STATELESS, *_TYPE_NAMES)) or type(value) is object:
            return {"named": [type(value).__qualname__, getattr(value, "__name__", "")]}
        if isinstance(value, _RECIPES):
            return {"made": [type(value).__qualname__, self._part(value.__reduce__()[1:], holder)]}
        if (origin := typing.get_origin(value)) is not None:
            arguments = [self._part(item, holder) for item in typing.get_args(value)]
            return {"alias": [self._part(origin, holder), arguments]}
        return self._instance(value, holder)

    def _part(self, value: Any, holder: str) -> Value:
        return self._value(value, holder, type(value).__qualname__)

    def _instance(self, value: Any, holder: str) -> Value:
        own = class_origin(type(value)) is Origin.OWN
        if not own and (wrapped := getattr(value, "__wrapped__", None)) is not None:
            self.watch.attribute(value, "__wrapped__", wrapped)
            return {"wrapped": self._refer(wrapped), "by": self._refer(type(value))}
        if not own and callable(value) and isinstance(getattr(value, "__qualname__", None), str):
            # A function that is not written in Python: of the builtins, a ufunc, ...
            module = getattr(value, "__module__", None) or type(value.__self__).__module__
            return self._external(External(f"{module}.{value.__qualname__}"))
        state = getattr(value, "__dict__", GONE)
        if not own and state != {}:
            raise SourceError(
                f"{self._place(value)}an object of {holder} has a state that cannot be read. "
                "Pass what it does as an argument, or describe the function by hand with "
                'version="..."'
            )
        names = [name for cls in type(value).__mro__ for name in slots_of(cls)]
        fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
        for name, found in fields.items():
            self.watch.attribute(value, name, found)
        if isinstance(state, dict):
            fields |= state
            for name, found in state.items():
                self.watch.item(state, name, found)
            self.watch.value(lambda: sorted(state), canonical_json(sorted(state)))
        encoded = {name: self._value(fields[name], holder, name) for name in sorted(fields)}
        return {"instance": self._refer(type(value)), "state": encoded}

    def _external(self, target: External) -> Value:
        module, _, rest = target.name.partition(".")
        if of_module(module) is Origin.PACKAGE:
            self.packages |= packages(module)
            return {"external": target.name}
        # Where the standard library keeps a name differs between Python versions.
        return {"external": f"{module.lstrip('_')}.{rest.rpartition('.')[2]}"}

    def _function(self, function: FunctionType) -> Value:
        code = function.__code__
        if of_file(code.co_filename) is not Origin.OWN:
            return self._foreign(function)
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            self.watch.attribute(function, name, getattr(function, name))
        name, namespace = name_of(function), function.__globals__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        node = _without_tasks(function_node(function), namespace)
        unit = Unit(name, code.co_filename, node, namespace, cells)
        holder = f"{name} ({code.co_filename}:{code.co_firstlineno})"
        owner = owner_of(function)
        self.parts[name] = digest(node)
        return {
            "source": digest(node),
            "names": self._names(unit),
            "captured": self._captured(cells, holder),
            "defaults": [
                self._value(function.__defaults__, holder, "defaults"),
                self._value(function.__kwdefaults__, holder, "defaults"),
            ],
            "owner": None if owner is None else self._refer(owner),
        }

    def _foreign(self, function: FunctionType) -> Value:
        """A library's function: by name, with what it was made from if it was made by a call."""
        module = function.__globals__.get("__name__", "")
        name = External(f"{module}.{function.__code__.co_qualname}")
        if is_published(function):
            return {"by": self._external(name)}

        def inner() -> Value:
            return [self._refer(item) for item in wrapped_by(function) if is_own_callable(item)]

        wrapped = inner()
        self.watch.value(inner, canonical_json(wrapped))
        # A decorator's arguments stand in the source of what it decorates, so of its wrapper
        # only plain values need to be read; whatever else a package made must be read whole.
        decorates = any(map(leads_to_own, wrapped_by(function)))
        holder, held = f"{name_of(function)}, made by {name.name},", {}
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for free, cell in sorted(cells, key=lambda pair: pair[0]):
            content = content_of(cell)
            self.watch.attribute(cell, "cell_contents", content)
            if content is GONE or isinstance(content, ModuleType):
                continue
            if is_plain(content) or not (decorates or of_module(module) is Origin.STDLIB):
                held[free] = self._value(content, holder, free)
        return {"wrapped": wrapped, "by": self._external(name), "held": held}

    def _class(self, cls: type) -> Value:
        if class_origin(cls) is not Origin.OWN:
            return self._external(External(f"{cls.__module__}.{cls.__qualname__}"))
        members = list(functions_of(cls))
        namespace, filename = namespace_of(cls, members), class_file(cls, members)
        name, holder = name_of(cls), f"{name_of(cls)} ({filename})"
        node = class_node(cls, filename, namespace)
        if node is None:
            return self._made_class(cls, holder)
        cells = _cells(members)
        self.parts[name] = digest(node)
        for attribute, member in vars(cls).items():
            if not _is_internal(attribute):
                self.watch.item(vars(cls), attribute, member)
        return {
            "source": digest(node),
            "names": self._names(
                Unit(name, filename, node, namespace, cells, "<locals>" in cls.__qualname__)
            ),
            "captured": self._captured(cells, holder),
            "bases": [self._refer(base) for base in cls.__bases__ if base is not object],
            "metaclass": None if type(cls) is type else self._refer(type(cls)),
            "values": {
                attribute: self._value(member, holder, attribute)
                for attribute, member in sorted(vars(cls).items())
                if type(member) in _PLAIN and not _is_internal(attribute)
            },
            # Methods that were put there from elsewhere are not in the class's source.
            "added": {
                member.__qualname__: self._refer(member)
                for member in members
                if member.__qualname__.rpartition(".")[0] != cls.__qualname__
            },
        }

    def _made_class(self, cls: Any, holder: str) -> Value:
        """A class that ``namedtuple(...)`` made, which has no source."""
        if cls.__bases__ == (tuple,) and hasattr(cls, "_field_defaults"):
            defaults = self._part(cls._field_defaults, holder)
            self.parts[name_of(cls)] = blake3(canonical_json(list(cls._fields))).hexdigest()
            return {"named_tuple": [cls.__name__, list(cls._fields), defaults]}
        raise SourceError(
            f"{self._place(cls)}the source of class {holder} is out of reach; describe the "
            'function by hand with version="..."'
        )

    def _captured(self, cells: Mapping[str, CellType], holder: str) -> Value:
        captured: dict[str, Value] = {}
        for name in sorted(cells):
            content = content_of(cells[name])
            self.watch.attribute(cells[name], "cell_contents", content)
            # Each use of a module names what it takes from it, so it is not entered whole.
            if content is not GONE and not isinstance(content, ModuleType):
                captured[name] = self._value(content, holder, name)
        return captured

    def _names(self, unit: Unit) -> Value:
        found, calls = uses(unit.node)
        known: set[int] = set()
        names: dict[str, Value] = {}
        for use in sorted(found, key=_order):
            path, target = resolve(use, unit, self.watch.item)
            if not use.lenient:
                check(use, path, target, unit)
            if use.call is not None and is_known(target):
                known.add(id(use.call))
            name = path if use.imported is None else f"{path} of {use.imported.module}"
            if path not in unit.cells and name not in names and not says_itself(target, use, path):
                names[name] = self._name(target, unit, path, use)
        check_methods(calls, known, unit)
        return names

    def _name(self, target: Any, unit: Unit, path: str, use: Use) -> Value:
        if target is GONE:
            return {"$undefined": None}
        if isinstance(target, External):
            return self._external(stem(target, use))
        encoded = self._value(target, f"{unit.name} ({unit.filename})", path)
        if not (isinstance(encoded, dict) and "$node" in encoded):
            module = module_name(str(unit.namespace.get("__name__", "")), unit.namespace)
            self.parts[f"{module}.{path}"] = blake3(canonical_json(encoded)).hexdigest()
        return encoded


def _without_tasks(node: Any, namespace: Mapping[str, Any]) -> Any:
    """The definition without the task decorators of motools."""
    decorators = getattr(node, "decorator_list", [])
    kept = [decorator for decorator in decorators if not is_motools(decorator, namespace)]
    if len(kept) < len(decorators):
        node = copy.copy(node)
        node.decorator_list = kept
    return node


def _order(use: Use) -> tuple[Any, ...]:
    imported = use.imported
    return use.path, use.line, (imported.module, imported.name or "") if imported else ("", "")


def _cells(members: list[FunctionType]) -> dict[str, CellType]:
    """What the methods of a class captured, but for the class itself."""
    cells: dict[str, CellType] = {}
    for member in members:
        cells |= zip(member.__code__.co_freevars, member.__closure__ or (), strict=True)
    cells.pop("__class__", None)
    return cells


def _is_internal(attribute: str) -> bool:
    return attribute.startswith("_") and attribute.endswith("_")
