"""From a live function or class to the syntax tree it was compiled from."""

from __future__ import annotations

import ast
import functools
import linecache
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final, TypeVar

from motools.errors import SourceError
from motools.source.bindings import Function, bindings
from motools.source.normalise import digest
from motools.source.parsing import module_of

_Node = TypeVar("_Node", Function, ast.ClassDef)

_WAY_OUT: Final = "pass version= to describe it by hand"
_FUTURE_FLAGS: Final = 0x1FF0000  # `from __future__` says nothing about the code that follows


@dataclass(frozen=True)
class _File:
    functions: Mapping[str, list[Function]]
    classes: Mapping[str, list[ast.ClassDef]]
    codes: Mapping[str, list[CodeType]]
    names: Mapping[str, list[ast.stmt]]
    """Name -> the statements of the module, outside every block, that bind it."""
    lines: list[str]


def function_node(function: FunctionType) -> Function:
    """The definition of a function.

    The file may have been edited since it was imported. Then what runs is not
    what the file says, so the definition has to compile to the very code that
    is loaded; edits elsewhere, and of comments, do no harm.

    Raises:
        SourceError: the source is out of reach, ambiguous, or not what is loaded.
    """
    code = function.__code__
    label = f"{function.__qualname__} ({code.co_filename}:{code.co_firstlineno})"
    file = _file(code.co_filename, function.__globals__, label)
    name = _name(code)
    nodes = file.functions.get(name, [])
    loader = function.__globals__.get("__loader__")
    if loader is None or type(loader) is SourceFileLoader:
        # Other loaders rewrite what they load, as pytest's does with assertions.
        same = [other for other in file.codes.get(name, []) if _same(code, other)]
        if not same:
            raise SourceError(
                f"{label}: the source on disk is not the code that is loaded; "
                f"restart the process, or {_WAY_OUT}"
            )
        lines = {other.co_firstlineno for other in same}
        nodes = [node for node in nodes if _first_line(node) in lines]
    return _only(_nearest(nodes, code), label)


def class_node(cls: type, filename: str, namespace: Mapping[str, Any]) -> ast.ClassDef | None:
    """The definition of a class, or None if the file has no class of that name.

    Args:
        cls: the class.
        filename: the file that defines it.
        namespace: the globals of its module.

    Raises:
        SourceError: the source is out of reach or ambiguous.
    """
    label = f"class {cls.__qualname__} ({filename})"
    nodes = _file(filename, namespace, label).classes.get(cls.__qualname__, [])
    lines = {
        member.__code__.co_firstlineno
        for member in vars(cls).values()
        if isinstance(member, FunctionType) and member.__code__.co_filename == filename
    }
    if len(nodes) > 1:
        nodes = [
            node
            for node in nodes
            if any(_first_line(node) <= line <= (node.end_lineno or 0) for line in lines)
        ] or nodes
    return _only(nodes, label) if nodes else None


def cells_with(qualname: str) -> list[tuple[str, ast.ClassDef]]:
    """Definitions of a class of this name in notebook cells, whose module has no file."""
    found = []
    for filename in list(linecache.cache):
        if not Path(filename).exists() or "ipykernel_" in filename:
            file = _file(filename, {}, filename)
            found += [(filename, node) for node in file.classes.get(qualname, [])]
    return found


def lines_of(node: Function | ast.ClassDef | ast.stmt, filename: str) -> tuple[int, str]:
    """The number of a definition's first line, and its lines as they stand in the file.

    Args:
        node: from this file, found just now.
        filename: the file that defines it.

    Raises:
        SourceError: the file cannot be read any more.
    """
    first = _first_line(node)
    lines = _file(filename, {}, filename).lines
    return first, "\n".join(lines[first - 1 : node.end_lineno])


def statements_of(name: str, filename: str) -> list[ast.stmt]:
    """The statements of a module that bind a name, none of which is inside a block.

    Raises:
        SourceError: the file cannot be read.
    """
    return _file(filename, {}, filename).names.get(name, [])


def _only(nodes: list[_Node], label: str) -> _Node:
    if not nodes:
        raise SourceError(f"{label}: its source is out of reach; {_WAY_OUT}")
    if len({digest(node) for node in nodes}) > 1:
        lines = ", ".join(str(node.lineno) for node in nodes)
        raise SourceError(
            f"{label}: cannot tell which definition is meant, those on lines {lines} fit; "
            f"put them on lines of their own or name them, or {_WAY_OUT}"
        )
    return nodes[0]


def _nearest(nodes: list[Function], code: CodeType) -> list[Function]:
    """The definitions on the code's own line; several lambdas on it are told by their columns."""
    nodes = [node for node in nodes if _first_line(node) == code.co_firstlineno] or nodes
    if len(nodes) > 1:
        span = _span(code)
        nodes = [
            node
            for node in nodes
            if isinstance(node, ast.Lambda)
            and (_place(node.body) == span if span else _same(code, _compiled(node)))
        ] or nodes
    return nodes


def _span(code: CodeType) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """From where to where the expression of a lambda reaches; some constants have no place."""
    starts, ends = [], []
    for line, end_line, column, end_column in code.co_positions():
        if line is None or end_line is None or column is None or not end_column:
            continue
        starts.append((line, column))
        ends.append((end_line, end_column))
    return (min(starts), max(ends)) if starts else None


def _place(node: ast.expr) -> tuple[tuple[int, int], tuple[int | None, int | None]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _compiled(node: ast.Lambda) -> CodeType:
    module = compile(ast.Expression(node), "<lambda>", "eval", dont_inherit=True)
    return next(_codes(module))


def _first_line(node: Function | ast.ClassDef | ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _same(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do the same, wherever they stand in a file."""
    return _substance(one) == _substance(other)


def _substance(code: CodeType) -> tuple[Any, ...]:
    return (
        code.co_name,
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & ~_FUTURE_FLAGS,
        code.co_exceptiontable,
        tuple(map(_constant, code.co_consts)),
    )


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _substance(value)
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    if isinstance(value, frozenset):
        return frozenset(map(_constant, value))
    return type(value), repr(value)  # 1 == 1.0 == True, and 0.0 == -0.0


def _file(filename: str, namespace: Mapping[str, Any], label: str) -> _File:
    try:
        status = Path(filename).stat()
    except OSError:
        # Some versions keep the text of `python -c` under the name that all of exec() shares.
        shared = filename in ("<string>", "<stdin>")
        text = "" if shared else "".join(linecache.getlines(filename, dict(namespace)))
        if not text:
            raise SourceError(f"{label}: its source is out of reach; {_WAY_OUT}") from None
        return _parsed(filename, text)
    return _parsed_file(filename, status.st_mtime_ns, status.st_size, status.st_ino)


@functools.lru_cache(maxsize=256)
def _parsed_file(filename: str, *_stat: int) -> _File:
    try:
        with tokenize.open(filename) as stream:
            return _parsed(filename, stream.read())
    except (OSError, UnicodeDecodeError) as problem:
        raise SourceError(f"{filename}: cannot be read: {problem}; {_WAY_OUT}") from problem


@functools.lru_cache(maxsize=256)
def _parsed(filename: str, text: str) -> _File:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if filename.startswith("<") else 0
    try:
        tree = module_of(text, filename, flags)
        module = compile(tree, filename, "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError) as problem:
        raise SourceError(
            f"{filename}: cannot be read as Python: {problem}; {_WAY_OUT}"
        ) from problem
    functions: dict[str, list[Function]] = defaultdict(list)
    classes: dict[str, list[ast.ClassDef]] = defaultdict(list)
    for name, node in _definitions(tree, ""):
        if isinstance(node, ast.ClassDef):
            classes[name].append(node)
        else:
            functions[name].append(node)
    codes: dict[str, list[CodeType]] = defaultdict(list)
    for code in _codes(module):
        codes[_name(code)].append(code)
    names: dict[str, list[ast.stmt]] = defaultdict(list)
    for statement in tree.body:
        for name in bindings([statement]).bound:
            names[name].append(statement)
    return _File(dict(functions), dict(classes), dict(codes), dict(names), text.splitlines())


def _name(code: CodeType) -> str:
    # Comprehensions are part of a lambda's qualified name on some versions only.
    return "<lambda>" if code.co_name == "<lambda>" else code.co_qualname


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Any]]:
    for field, value in ast.iter_fields(node):
        inner = prefix
        if isinstance(node, ast.ClassDef) and field == "body":
            inner = f"{prefix}{node.name}."
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and field == "body":
            inner = f"{prefix}{node.name}.<locals>."
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Lambda):
                yield "<lambda>", child
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield inner + child.name, child
            if isinstance(child, ast.AST):
                yield from _definitions(child, inner)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
