"""What a class body came to when it ran, where neither its source nor its names' values say so.

A default that was read from a global stays when the global is bound anew, as it
is in a notebook by a cell that runs again. So whatever a class keeps is compared
with what its source comes to now; what differs, or cannot be told, counts by value.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

from motools.digest import canonical_json
from motools.errors import CanonicalError
from motools.source.annotations import unquoted
from motools.source.bindings import FUNCTIONS, bindings
from motools.source.names import Unit
from motools.source.objects import GONE, class_origin, content_of
from motools.source.origin import Origin, of_file, of_live_module
from motools.source.scopes import path_of
from motools.tags import encode

_BUILT: Final[dict[type[ast.expr], Any]] = {ast.Tuple: tuple, ast.List: list, ast.Set: set}


@dataclass(frozen=True)
class Kept:
    """Something a class has kept since its body ran.

    Attributes:
        label: what to call it, as in ``ask(scale)``.
        value: what it is.
        sources: what in the class body it came from; empty when it was put there later.
        expression: the expression whose value it is, if it is just that.
        converted: True when the class may have made another value of the expression's.
    """

    label: str
    value: Any
    sources: Sequence[ast.AST] = ()
    expression: ast.expr | None = None
    converted: bool = False


class Body:
    """The body of a class, and what its names lead to now.

    Args:
        unit: the class; its node is its definition.
    """

    def __init__(self, unit: Unit) -> None:
        assert isinstance(unit.node, ast.ClassDef)
        self.node = unit.node
        self._unit = unit
        self._statements: dict[str, list[ast.stmt]] = {}
        for statement in unit.node.body:
            for name in bindings([statement], is_class=True).bound:
                self._statements.setdefault(name, []).append(statement)

    def kept(self, label: str, name: str, value: Any, *, converted: bool = False) -> Kept:
        """What the class keeps under a name that its body binds."""
        statements = self._statements.get(name, [])
        return Kept(label, value, statements, _assigned(statements), converted)

    def binds(self, name: str) -> bool:
        """Whether a statement of the body binds a name."""
        return name in self._statements

    def defines(self, name: str) -> bool:
        """Whether what the body binds to a name in the end is a function it defines."""
        return isinstance(self._statements.get(name, [None])[-1], FUNCTIONS)

    def definition(self, name: str) -> ast.ClassDef | None:
        """The class of this name inside the body."""
        last = self._statements.get(name, [None])[-1]
        return last if isinstance(last, ast.ClassDef) else None

    def expression(self, name: str) -> ast.expr | None:
        """What the body assigns to a name, if it just assigns it."""
        return _assigned(self._statements.get(name, []))

    def literal(self, expression: ast.expr) -> Any:
        """What an expression without names comes to.

        Raises:
            LookupError: it has names, or calls something.
        """
        if any(isinstance(node, ast.Name) for node in ast.walk(expression)):
            raise LookupError
        return self.now(expression)

    def annotations(self) -> dict[str, ast.expr]:
        """The annotated names of the body, with their annotations free of quotes."""
        return {
            statement.target.id: unquoted(statement.annotation)
            for statement in self.node.body
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        }

    def targets(self, expression: ast.expr) -> list[Any]:
        """What the dotted names in an expression lead to now."""
        found = []
        for node in ast.walk(expression):
            if (path := path_of(node)) is not None:
                with suppress(LookupError):
                    found.append(self.target(path))
        return found

    def makers(self, name: str) -> list[Any]:
        """What is named where the body makes what it binds to a name: decorators, or a value."""
        expressions: list[ast.expr] = []
        for statement in self._statements.get(name, []):
            expressions += getattr(statement, "decorator_list", [])
            expressions += filter(None, [getattr(statement, "value", None)])
        return [found for each in expressions for found in self.targets(each)]

    def says(self, kept: Kept) -> bool:
        """Whether the source, and what its names lead to now, say what is kept."""
        if kept.expression is not None:
            try:
                if same(self.now(kept.expression), kept.value):
                    return True
                if not kept.converted:
                    return False
            except LookupError:
                pass
        return bool(kept.sources) and all(map(self._is_fixed, kept.sources))

    def now(self, expression: ast.expr, within: frozenset[str] = frozenset()) -> Any:
        """What a simple expression comes to now.

        Args:
            expression: from the class body.
            within: names of the body whose own expressions this one is part of.

        Raises:
            LookupError: it calls something, or takes a name that is not known here.
        """
        match expression:
            case ast.Constant(value=value):
                return value
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
                return _built(_BUILT[type(expression)], (self.now(each, within) for each in items))
            case ast.Dict(keys=keys, values=values):
                pairs = [(k, v) for k, v in zip(keys, values, strict=True) if k is not None]
                if len(pairs) == len(values):
                    return _built(
                        dict, ((self.now(k, within), self.now(v, within)) for k, v in pairs)
                    )
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.Name(id=name) if name in self._statements and name not in within:
                found = self.expression(name)
                if found is None or len(self._statements[name]) > 1:
                    raise LookupError
                return self.now(found, within | {name})
        path = path_of(expression)
        if path is None or path[0] in self._statements.keys() - within:
            raise LookupError
        return self.target(path)

    def target(self, path: tuple[str, ...]) -> Any:
        """What a dotted name leads to now.

        Raises:
            LookupError: it leads to nothing, or through an object that may do anything.
        """
        found: Any = self._root(path[0])
        for name in path[1:]:
            offers = isinstance(found, (ModuleType, type))  # others may do anything when asked
            found = getattr(found, name, GONE) if offers else GONE
        if found is GONE:
            raise LookupError
        return found

    def _root(self, name: str) -> Any:
        if name in self._unit.cells:
            return content_of(self._unit.cells[name])
        return self._unit.namespace.get(name, getattr(builtins, name, GONE))

    def _is_fixed(self, source: ast.AST, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a piece of source comes to the same thing whenever it runs."""
        return all(self._leads_to_fixed(name, seen) for name in _names_read(source))

    def _leads_to_fixed(self, name: str, seen: frozenset[str]) -> bool:
        if name in self._statements:
            inner = seen | {name}
            return name not in seen and all(
                self._is_fixed(statement, inner) for statement in self._statements[name]
            )
        found = self._root(name)
        if isinstance(found, ModuleType):
            return of_live_module(found) is not Origin.OWN
        if isinstance(found, type):
            return class_origin(found) is not Origin.OWN
        if isinstance(found, FunctionType):
            return of_file(found.__code__.co_filename) is not Origin.OWN
        return found is GONE or isinstance(found, BuiltinFunctionType)


def _built(kind: Any, items: Iterable[Any]) -> Any:
    try:
        return kind(items)
    except TypeError as problem:  # members that cannot be hashed
        raise LookupError from problem


def _assigned(statements: Sequence[ast.stmt]) -> ast.expr | None:
    match statements[-1:]:
        case [ast.Assign(targets=targets, value=value)] if all(
            isinstance(target, ast.Name) for target in targets
        ):
            return value
        case [ast.AnnAssign(value=value)]:
            return value
    return None


def _names_read(source: ast.AST) -> Iterator[str]:
    """The names that are read when a statement of a class body runs."""
    pending, own = [source], set()
    found = []
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.append(node.id)
        elif isinstance(node, ast.comprehension):
            own |= {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
        if isinstance(node, FUNCTIONS):
            # What the function itself reads is looked up whenever it runs.
            pending += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            pending += getattr(node, "decorator_list", [])
        elif isinstance(node, ast.AnnAssign):
            pending += [node.value] if node.value is not None else []
        else:
            pending += ast.iter_child_nodes(node)
    return (name for name in found if name not in own)


def same(one: Any, other: Any) -> bool:
    """Whether two values are one, or would be written alike."""
    if one is other:
        return True
    try:
        return _identified(one) == _identified(other)
    except CanonicalError:
        return False


def _identified(value: Any) -> bytes:
    return canonical_json(encode(value, "", lambda inner, _path: {"$id": id(inner)}))
