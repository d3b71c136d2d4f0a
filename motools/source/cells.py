"""Which file defines a class, where that is one of several cells of a notebook.

A cell that was edited and run again leaves its former text behind, and one that
ran twice stays in its first place: neither says which made the class that is
alive. What the class itself shows does: its fields, their types, its values.
"""

from __future__ import annotations

import ast
import enum
import inspect
import operator
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any, Final

from motools.errors import SourceError
from motools.source.bindings import FUNCTIONS, bindings
from motools.source.body import Body, same
from motools.source.files import cells_with
from motools.source.kept import (
    PLAIN,
    arguments_of,
    everything_kept,
    field_objects,
    is_default,
    specifies,
)
from motools.source.names import Unit
from motools.source.normalise import digest
from motools.source.objects import GONE, name_of
from motools.source.parsing import expression_of

_PARAMETERS: Final = {
    **dict.fromkeys(("init", "repr", "eq"), True),
    **dict.fromkeys(("order", "unsafe_hash", "frozen"), False),
}
"""What a dataclass remembers of how it was decorated, and what each is unless given."""


def class_file(cls: type, members: list[FunctionType], namespace: Mapping[str, Any]) -> str:
    """The file that defines a class, a notebook's cell included.

    Args:
        cls: the class.
        members: its functions.
        namespace: the globals of its module.

    Raises:
        SourceError: there is none, or it cannot be told which of several cells it is.
    """
    for member in members:
        if member.__qualname__.startswith(f"{cls.__qualname__}."):
            return member.__code__.co_filename
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is not None:
        return str(file)
    cells = cells_with(cls.__qualname__)
    if not cells:
        raise SourceError(f"class {name_of(cls)}: its source is out of reach; pass version=")
    if len({digest(node) for _, node in cells}) > 1:
        cells = [(name, node) for name, node in cells if _may_have_made(name, node, cls, namespace)]
    if len({digest(node) for _, node in cells}) != 1:
        which = "several cells define it" if cells else "no cell that defines it is as it is now"
        raise SourceError(
            f"class {name_of(cls)}: {which}, and which of them made it cannot be told. Restart the "
            "kernel and run one of them, give the class a method, or pass version="
        )
    return cells[-1][0]


def _may_have_made(
    filename: str, node: ast.ClassDef, cls: type, namespace: Mapping[str, Any]
) -> bool:
    """Whether nothing that a definition says is otherwise in a class that is alive."""
    body = Body(Unit(cls.__qualname__, filename, node, namespace, {}))
    return (
        _has_its_names(body, cls)
        and all(_is_of_type(body, annotation, live) for annotation, live in _types(body, cls))
        and _has_its_values(body, cls)
        and _has_its_text(node, cls)
        and all(_is_decorated_so(decorator, body, cls) for decorator in node.decorator_list)
        and _has_its_bases(body, cls)
    )


def _has_its_names(body: Body, cls: type) -> bool:
    annotated = _annotations(cls)
    bound = [name for name in _assigned(body.node) if name not in annotated]
    if issubclass(cls, enum.Enum):
        members = [name for name in bound if not name.startswith("_")]
        return members == list(cls.__members__)
    if list(body.annotations()) != list(annotated):
        return False
    fields = dict(field_objects(cls))
    defined = [each.name for each in body.node.body if isinstance(each, FUNCTIONS[:2])]
    added = {
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and type(value) in PLAIN and not body.binds(name)
    }
    return {*bound, *defined} <= vars(cls).keys() | fields.keys() and not added - {"model_config"}


def _assigned(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            yield from sorted(bindings([statement]).bound)


def _annotations(cls: type) -> dict[str, Any]:
    return dict(vars(cls).get("__annotations__", {}))


def _types(body: Body, cls: type) -> Iterator[tuple[ast.expr, Any]]:
    written = {
        statement.target.id: statement.annotation
        for statement in body.node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    for name, live in _annotations(cls).items():
        yield written[name], live


def _is_of_type(body: Body, annotation: ast.expr, live: Any) -> bool:
    if isinstance(live, str):
        text = annotation.value if isinstance(annotation, ast.Constant) else annotation
        return live == text or _dumped(live) == ast.dump(annotation)
    try:
        return repr(_type_now(body, annotation)) == repr(live)
    except (LookupError, TypeError):
        return True  # it cannot be told


def _dumped(text: str) -> str:
    try:
        return ast.dump(expression_of(text).body)
    except SyntaxError:
        return text


def _type_now(body: Body, annotation: ast.expr) -> Any:
    match annotation:
        case ast.Subscript(value=generic, slice=given):
            return operator.getitem(_type_now(body, generic), _type_now(body, given))
        case ast.Tuple(elts=items):
            return tuple(_type_now(body, item) for item in items)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return operator.or_(_type_now(body, left), _type_now(body, right))
    return body.now(annotation)


def _has_its_values(body: Body, cls: type) -> bool:
    found = [
        (kept.expression, kept.value, kept.converted)
        for kept in everything_kept(cls, body, is_inner=True)
    ]
    for name, default in _defaults(cls).items():
        expression = body.expression(name)
        if isinstance(expression, ast.Call) and specifies(expression):
            found += [
                (source, default, True)
                for argument, source in arguments_of(expression)
                if argument == "default"
            ]
        elif name in body.annotations():
            annotated = "Annotated" in ast.dump(body.annotations()[name])
            if is_default(default) != (expression is not None) and not annotated:
                return False
            found.append((expression, default, True))
    return all(_may_be(body, *each) for each in found)


def _defaults(cls: type) -> dict[str, Any]:
    """The default of each field; what makes one stands for it."""
    found = dict(vars(cls).get("_field_defaults", {}))
    if issubclass(cls, tuple):
        return {name: found.get(name, GONE) for name in _annotations(cls)}
    for name, field in field_objects(cls):
        factory = getattr(field, "default_factory", None)
        found[name] = factory if callable(factory) else getattr(field, "default", GONE)
    return found


def _may_be(body: Body, expression: ast.expr | None, value: Any, converted: bool) -> bool:
    if expression is None:
        return True
    try:
        written = body.literal(expression)
    except LookupError:
        return True  # it cannot be told
    return same(written, value) or (converted and type(written) is not type(value))


def _has_its_text(node: ast.ClassDef, cls: type) -> bool:
    written, live = ast.get_docstring(node), vars(cls).get("__doc__")
    made = isinstance(live, str) and live.startswith(f"{cls.__name__}(")  # by dataclass
    if written is None or live is None:
        return written == live or made
    return written == inspect.cleandoc(live)


def _is_decorated_so(decorator: ast.expr, body: Body, cls: type) -> bool:
    made = vars(cls).get("__dataclass_params__")
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if getattr(called, "attr", getattr(called, "id", None)) != "dataclass":
        return True
    given = {}
    for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
        if not isinstance(keyword.value, ast.Constant):
            return True
        given[keyword.arg] = keyword.value.value
    slotted = bool(given.get("slots")) or body.binds("__slots__")
    return slotted == ("__slots__" in vars(cls)) and all(
        getattr(made, name, default) == given.get(name, default)
        for name, default in _PARAMETERS.items()
    )


def _has_its_bases(body: Body, cls: type) -> bool:
    if body.node.keywords or issubclass(cls, tuple):
        return True
    live = vars(cls).get("__orig_bases__", cls.__bases__)
    try:
        bases = [_type_now(body, base) for base in body.node.bases] or [object]
    except (LookupError, TypeError):
        return True
    return list(map(repr, bases)) == list(map(repr, live))
