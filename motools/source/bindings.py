"""Which names a scope binds, and which of them by an import."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Unit: TypeAlias = Function | ast.ClassDef

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class Import:
    """A name bound by an import statement inside a function.

    Attributes:
        module: the module as written; empty in ``from . import name``.
        name: what is taken from it, or None for the module itself.
        level: number of leading dots.
        aliased: True when ``import a.b as c`` binds the submodule itself.
    """

    module: str
    name: str | None
    level: int = 0
    aliased: bool = False


@dataclass
class Scope:
    """The names of one scope: bound in it, by imports in it, or declared to be of another.

    What is surely bound is known of classes alone, as far as their body has been read.
    """

    bound: set[str]
    imports: dict[str, list[Import]] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    is_class: bool = False
    surely: set[str] = field(default_factory=set)


def bindings(body: Iterable[ast.AST], is_class: bool = False) -> Scope:
    """The names that statements bind in the scope they stand in."""
    scope = Scope(set(), is_class=is_class)
    pending = list(body)
    while pending:
        node = pending.pop()
        _bind(node, scope)
        if isinstance(node, _COMPREHENSIONS):
            # Only `:=` reaches out of a comprehension.
            scope.bound |= {
                inner.target.id for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)
            }
        elif not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(node))
    scope.bound -= scope.globals | scope.nonlocals
    return scope


def _bind(node: ast.AST, scope: Scope) -> None:  # noqa: C901 - one case for each statement
    match node:
        case ast.Name(id=name) if not isinstance(node.ctx, ast.Load):
            scope.bound.add(name)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            scope.bound.add(name)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            scope.bound.add(name)
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            scope.bound.add(name)
        case ast.Global(names=names):
            scope.globals.update(names)
        case ast.Nonlocal(names=names):
            scope.nonlocals.update(names)
        case ast.Import():
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                scope.bound.add(name)
                found = Import(alias.name, None, 0, alias.asname is not None)
                scope.imports.setdefault(name, []).append(found)
        case ast.ImportFrom():
            for alias in node.names:
                name = alias.asname or alias.name
                scope.bound.add(name)
                found = Import(node.module or "", alias.name, node.level)
                scope.imports.setdefault(name, []).append(found)
