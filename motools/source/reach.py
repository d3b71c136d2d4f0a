"""Everything a function's result depends on, as far as source can say.

From the root the walk follows names to functions, classes and constants of
one's own, and numbers them in the order in which they are met. A digest covers
each one's normalised source and, by those numbers, which name leads to which;
so neither a module's name nor the place of a file is part of it.
"""

from __future__ import annotations

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
from motools.source.classes import describe_class
from motools.source.files import function_node
from motools.source.instances import describe_instance, describe_method
from motools.source.names import (
    External,
    Unit,
    check,
    check_held,
    check_methods,
    evaluates,
    is_known,
    library_of,
    resolve,
    says_itself,
    stem,
    streams,
)
from motools.source.normalise import digest
from motools.source.objects import (
    GONE,
    content_of,
    module_name,
    name_of,
    owner_of,
)
from motools.source.origin import (
    Origin,
    extension_content,
    of_file,
    of_live_module,
    of_module,
    packages,
    public_name,
)
from motools.source.scopes import Use, uses
from motools.source.text import Text, text_of, text_of_constant
from motools.source.watch import Watch, may_change
from motools.source.wrappers import describe_foreign, without_tasks
from motools.tags import SOURCED, encode

SCHEMA: Final = "motools.source/1"

_STATELESS: Final = (
    logging.Logger,
    logging.LoggerAdapter,
    type(threading.Lock()),
    type(threading.RLock()),
)
_TYPE_NAMES: Final = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple)
_TYPE_ALIAS: Final[Any] = getattr(typing, "TypeAliasType", typing.NewType)  # from Python 3.12
_RECIPES: Final = (operator.attrgetter, operator.itemgetter, operator.methodcaller)


class Walk:
    """One walk from a root, with what must stay as it is for the digest to stay true.

    Attributes:
        parts: qualified name of each part -> digest of its source or value.
        texts: qualified name -> its lines, of the parts whose file is within reach.
        packages: distribution -> version.
        watch: what must stay as it is.
    """

    def __init__(self, root: Any) -> None:
        self.parts: dict[str, str] = {}
        self.texts: dict[str, Text] = {}
        self.packages: dict[str, str] = {}
        self.watch = Watch()
        self._objects: list[Any] = []
        self._places: list[str] = []  # for errors: who led to each object, by what name
        self._holder = ""
        self._labels: dict[int, int] = {}
        self.refer(root)
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

    def refer(self, value: Any, path: str = "") -> Value:
        """The number of an object, which is described in its turn."""
        label = self._labels.setdefault(id(value), len(self._objects))
        if label == len(self._objects):
            self._objects.append(value)
            self._places.append(f"{self._holder} depends on {path}: " if path else "")
        return {"$node": label}

    def value(self, value: Any, holder: str, name: str, *, is_named: bool = False) -> Value:
        """A value that source leads to, watched if it can change in place.

        Args:
            value: the value.
            holder: whose source leads to it.
            name: by what name.
            is_named: whether each use of it stands in source, where it is checked.
        """

        def reach(inner: Any, path: str) -> Value:
            if not (is_named and inner is value):
                check_held(inner, path)
            return self.refer(inner, path)

        def again() -> Value:
            return encode(value, name, reach)

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

    def encoded(self, value: Any, name: str) -> Value:
        """A value in canonical form; functions, classes and objects by their number."""
        return encode(value, name, self.refer)

    def show(self, name: str, text: Text | None) -> None:
        """Keep the lines of a part for people."""
        if text is not None:
            self.texts[name] = text

    def place_of(self, value: Any) -> str:
        """Who led to an object, and by what name, to begin an error with."""
        return self._places[self._labels[id(value)]]

    def _describe(self, value: Any) -> Value:  # noqa: PLR0911 - one return for each kind
        holder = name_of(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type) and not isinstance(value, types.GenericAlias):
            return describe_class(self, value)
        if isinstance(value, MethodType):
            return describe_method(self, value)
        if isinstance(value, functools.partial):
            given: Value = [self.part(value.args, holder), self.part(value.keywords, holder)]
            func = value.func
            called = self.part(func, holder) if isinstance(func, SOURCED) else self.refer(func)
            return {"partial": called, "arguments": given}
        if isinstance(value, ModuleType):
            return self._held_module(value)
        if isinstance(value, (*_STATELESS, *_TYPE_NAMES)) or type(value) is object:
            return {"named": [type(value).__qualname__, getattr(value, "__name__", "")]}
        if isinstance(value, (typing.NewType, _TYPE_ALIAS)):
            of = "__supertype__" if isinstance(value, typing.NewType) else "__value__"
            named = [type(value).__qualname__, value.__name__]
            return {"named": named, "of": self.part(getattr(value, of), holder)}
        if isinstance(value, _RECIPES):
            return {"made": [type(value).__qualname__, self.part(value.__reduce__()[1:], holder)]}
        if (origin := typing.get_origin(value)) is not None:
            arguments = [self.part(item, holder) for item in typing.get_args(value)]
            return {"alias": [self.part(origin, holder), arguments]}
        return describe_instance(self, value)

    def part(self, value: Any, holder: str) -> Value:
        """:meth:`value` for what has no name of its own."""
        return self.value(value, holder, type(value).__qualname__)

    def external(self, module: str, name: str) -> Value:
        """A name of a library: by its distribution, or where the standard library offers it.

        What one compiled oneself enters by its file's content.
        """
        if of_module(module) is Origin.PACKAGE:
            self.packages |= packages(module)
            return {"external": f"{module}.{name}"}
        if (content := extension_content(module)) is not None:
            self.parts[module] = content
            return {"external": public_name(module, name), "content": content}
        return {"external": public_name(module, name)}

    def _held_module(self, module: ModuleType) -> Value:
        """A module that is a value, as in ``{"fast": fast}``: any name of it may be used."""
        name = module.__name__
        if of_live_module(module) is not Origin.OWN:
            return self._module(name)
        if (content := extension_content(name)) is not None:
            return {"external": name, "content": content}
        raise SourceError(
            f"{self.place_of(module)}the module {name}, and which of its names are used is known "
            "at run time only. Hold the functions themselves, or describe the function by hand "
            'with version="..."'
        )

    def _module(self, name: str) -> Value:
        """A module of a library, or a name in one that need not be imported."""
        if of_module(name.partition(".")[0]) is Origin.PACKAGE:
            self.packages |= packages(name)
        return {"external": name.lstrip("_")}

    def _function(self, function: FunctionType) -> Value:
        code = function.__code__
        if of_file(code.co_filename) is not Origin.OWN:
            return describe_foreign(self, function)
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            self.watch.attribute(function, name, getattr(function, name))
        name, namespace = name_of(function), function.__globals__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        node = without_tasks(function_node(function), namespace)
        unit = Unit(name, code.co_filename, node, namespace, cells)
        holder = f"{name} ({code.co_filename}:{code.co_firstlineno})"
        owner = owner_of(function)
        self.parts[name] = digest(node)
        self.show(name, text_of(node, code.co_filename))
        return {
            "source": digest(node),
            "names": self.names(unit),
            "captured": self.captured(cells, holder),
            "defaults": [
                self.value(function.__defaults__, holder, "defaults"),
                self.value(function.__kwdefaults__, holder, "defaults"),
            ],
            "owner": None if owner is None else self.refer(owner),
        }

    def captured(self, cells: Mapping[str, CellType], holder: str) -> Value:
        """What functions captured from around them."""
        captured: dict[str, Value] = {}
        for name in sorted(cells):
            content = content_of(cells[name])
            self.watch.attribute(cells[name], "cell_contents", content)
            # Each use of a module names what it takes from it, so it is not entered whole.
            if content is not GONE and not isinstance(content, ModuleType):
                captured[name] = self.value(content, holder, name, is_named=True)
        return captured

    def names(self, unit: Unit) -> Value:
        """What each name from outside leads to.

        Raises:
            SourceError: a use that source does not pin.
        """
        found, calls = uses(unit.node, lambda decorator: evaluates(decorator, unit))
        known: set[int] = set()
        names: dict[str, Value] = {}
        libraries: set[str] = set()
        led = [(use, *resolve(use, unit, self.watch.item)) for use in sorted(found, key=_order)]
        made = streams(led)
        for use, path, target in led:
            libraries.add(library_of(target))
            if not use.lenient:
                check(use, path, target, unit, made)
            if use.call is not None and is_known(target):
                known.add(id(use.call))
            name = path if use.imported is None else f"{path} of {use.imported.module}"
            if path not in unit.cells and name not in names and not says_itself(target, use, path):
                names[name] = self._name(target, unit, path, use)
        check_methods(calls, known, unit, libraries)
        return names

    def _name(self, target: Any, unit: Unit, path: str, use: Use) -> Value:
        if target is GONE:
            return {"$undefined": None}
        if isinstance(target, External):
            return self._module(stem(target, use).name)
        encoded = self.value(target, f"{unit.name} ({unit.filename})", path, is_named=True)
        if not (isinstance(encoded, dict) and "$node" in encoded):
            module = module_name(str(unit.namespace.get("__name__", "")), unit.namespace)
            part = f"{module}.{path}"
            self.parts[part] = blake3(canonical_json(encoded)).hexdigest()
            self.show(part, text_of_constant(path, unit.filename, unit.namespace))
        return encoded


def _order(use: Use) -> tuple[Any, ...]:
    imported = use.imported
    return use.path, use.line, (imported.module, imported.name or "") if imported else ("", "")
