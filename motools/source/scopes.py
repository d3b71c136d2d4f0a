"""What a piece of source reads and writes beyond its own names.

The scoping rules of Python, applied to the syntax tree alone, so that the
answer is the same on every Python version. Where the rules depend on what
happens at run time, more is reported, never less.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from motools.source.annotations import unquoted
from motools.source.bindings import Function, Import, Scope, Unit, bindings

MUTATORS: Final = frozenset(
    {"append", "appendleft", "extend", "extendleft", "insert", "add", "update", "setdefault"}
    | {"pop", "popleft", "popitem", "remove", "discard", "clear", "sort", "reverse", "rotate"}
    | {"__setitem__", "__delitem__"}
)
"""Methods that change a container."""

_MAY_NOT_BIND: Final = (ast.If, ast.For, ast.While, ast.Try, ast.TryStar, ast.With, ast.Match)


@dataclass(frozen=True, slots=True)
class Use:
    """A name from outside, with the attributes taken from it, as in ``helpers.rows.load``.

    Attributes:
        path: the name and its attributes.
        line: line in the file.
        writes: True when what the path leads to is changed.
        mutator: the container method by which it is changed, if by a method.
        call: the call, when the path is what is called.
        imported: the import statement that binds the name, if inside the function.
        lenient: True in annotations and decorators, where a name may belong to a
            scope that is gone.
    """

    path: tuple[str, ...]
    line: int
    writes: bool = False
    mutator: str | None = None
    call: ast.Call | None = None
    imported: Import | None = None
    lenient: bool = False


def uses(
    unit: Unit, evaluates: Callable[[ast.expr], bool] = lambda _: False
) -> tuple[list[Use], list[ast.Call]]:
    """The names from outside that a function or class uses, and every call of a method.

    The defaults of the function itself are left out: they were evaluated when it
    was defined, so their values count, not their source.

    Args:
        unit: the function or class.
        evaluates: whether a decorator reads the quoted annotations of what it decorates.
    """
    reader = _Reader(evaluates)
    reader.visit_unit(unit)
    return reader.uses, reader.method_calls


class _Reader(ast.NodeVisitor):
    def __init__(self, evaluates: Callable[[ast.expr], bool]) -> None:
        self._evaluates = evaluates
        self.uses: list[Use] = []
        self.method_calls: list[ast.Call] = []
        self._scopes: list[Scope] = []
        self._lenient = False
        self._functions = 0  # around what is being read

    def visit_unit(self, unit: Unit) -> None:
        if isinstance(unit, ast.ClassDef):
            self.visit_ClassDef(unit)
        else:
            self._function(unit, defaults=False)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        with self._leniently():
            self._visit_all(node.decorator_list)
        types = _type_names(node)
        with self._scope(Scope(types)):
            self._visit_all([*getattr(node, "type_params", []), *node.bases, *node.keywords])
            scope = bindings(node.body, is_class=True)
            with self._scope(scope):
                for statement in node.body:
                    self.visit(statement)
                    if not isinstance(statement, _MAY_NOT_BIND) and not _declares(statement):
                        scope.surely |= bindings([statement]).bound

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        # Inside functions, annotations of variables are never evaluated.
        if self._scopes and self._scopes[-1].is_class:
            with self._leniently():
                self.visit(unquoted(node.annotation))
        if node.value is not None:
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if self._scopes[-1].is_class and isinstance(node.target, ast.Name):
            self._use((node.target.id,), node.lineno)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node.generators, [node.elt])

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node.generators, [node.elt])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node.generators, [node.elt])

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, [node.key, node.value])

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use((node.id,), node.lineno)
        elif any(node.id in scope.globals | scope.nonlocals for scope in self._scopes):
            self._use((node.id,), node.lineno, writes=True)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._write_through(node.value, node.lineno)
        path = path_of(node)
        if path is None:
            self.visit(node.value)
        else:
            self._use(path, node.lineno)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._write_through(node.value, node.lineno)
        self.visit(node.value)
        self.visit(node.slice)

    def visit_Call(self, node: ast.Call) -> None:
        path = path_of(node.func)
        if isinstance(node.func, ast.Attribute):
            self.method_calls.append(node)
            if node.func.attr in MUTATORS:
                self._write_through(node.func.value, node.lineno, node.func.attr)
        elif path in (("setattr",), ("delattr",)) and node.args:
            self._write_through(node.args[0], node.lineno)
        if path is None:
            self.visit(node.func)
        else:
            self._use(path, node.lineno, call=node)
        self._visit_all([*node.args, *node.keywords])

    def _function(self, node: Function, defaults: bool = True) -> None:
        arguments = node.args
        if defaults:
            self._visit_all([*arguments.defaults, *filter(None, arguments.kw_defaults)])
        parameters = _parameters(arguments)
        annotations = [parameter.annotation for parameter in parameters]
        if not isinstance(node, ast.Lambda):
            with self._leniently():
                self._visit_all(node.decorator_list)
            annotations.append(node.returns)
            if any(map(self._evaluates, node.decorator_list)):
                annotations = [unquoted(each) for each in annotations if each is not None]
        with self._scope(Scope(_type_names(node))):
            with self._leniently():
                self._visit_all(getattr(node, "type_params", []))
                self._visit_all(filter(None, annotations))
            body = [node.body] if isinstance(node, ast.Lambda) else node.body
            scope = bindings(body)
            scope.bound |= {parameter.arg for parameter in parameters}
            with self._scope(scope):
                self._functions += 1
                self._visit_all(body)
                self._functions -= 1

    def _comprehension(self, generators: list[ast.comprehension], results: list[ast.expr]) -> None:
        self.visit(generators[0].iter)
        targets = {
            name.id
            for generator in generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        }
        with self._scope(Scope(targets)):
            for index, generator in enumerate(generators):
                if index:
                    self.visit(generator.iter)
                self._visit_all([generator.target, *generator.ifs])
            self._visit_all(results)

    def _write_through(self, target: ast.expr, line: int, mutator: str | None = None) -> None:
        while isinstance(target, (ast.Subscript, ast.Attribute, ast.Starred)):
            if (path := path_of(target)) is not None:
                return self._use(path, line, writes=True, mutator=mutator)
            target = target.value
        if isinstance(target, ast.Name):
            self._use((target.id,), line, writes=True, mutator=mutator)
        return None

    def _use(
        self,
        path: tuple[str, ...],
        line: int,
        *,
        writes: bool = False,
        mutator: str | None = None,
        call: ast.Call | None = None,
    ) -> None:
        bound_by: list[Import | None] = [None]
        for depth, scope in enumerate(reversed(self._scopes)):
            if path[0] in scope.globals:
                break
            if path[0] in scope.bound and (depth == 0 or not scope.is_class):
                bound_by = [*scope.imports.get(path[0], ())]
                if self._functions and scope.is_class and path[0] not in scope.surely:
                    # Until the body of a class binds a name, the name is a global's.
                    self.uses.append(Use(path, line, writes, mutator, call, lenient=True))
                break
        for imported in bound_by:  # each, as either branch of an if may be the one that runs
            self.uses.append(Use(path, line, writes, mutator, call, imported, self._lenient))

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    @contextmanager
    def _scope(self, scope: Scope) -> Iterator[None]:
        self._scopes.append(scope)
        yield
        self._scopes.pop()

    @contextmanager
    def _leniently(self) -> Iterator[None]:
        before, self._lenient = self._lenient, True
        yield
        self._lenient = before


def path_of(node: ast.AST) -> tuple[str, ...] | None:
    """The names of a dotted expression, as in ``a.b.c``, or None for any other."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else None


def _declares(statement: ast.stmt) -> bool:
    """Whether a statement gives a name a type and no value."""
    return isinstance(statement, ast.AnnAssign) and statement.value is None


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return every + [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]


def _type_names(node: Unit) -> set[str]:
    return {parameter.name for parameter in getattr(node, "type_params", [])}
