"""Annotations as expressions, the quoted parts of them included."""

from __future__ import annotations

import ast
from typing import Any, Final

from motools.source.parsing import expression_of

_NO_TYPES: Final = frozenset({"Literal", "LiteralString"})


def unquoted(annotation: ast.expr) -> ast.expr:
    """An annotation in which every quoted type, as in ``list["Row"]``, is an expression.

    What ``Literal`` holds is text, and so is what ``Annotated`` adds to a type. Text
    that is no expression stays as it is.
    """
    found: ast.expr = _Unquoted().visit(annotation)
    return found


class _Unquoted(ast.NodeTransformer):
    # Nodes are shared with the tree that the digest is taken of, so none is changed in place.
    def generic_visit(self, node: ast.AST) -> ast.AST:
        fields = {name: getattr(node, name, None) for name in node._fields}
        copied = type(node)(**{n: list(v) if isinstance(v, list) else v for n, v in fields.items()})
        return super().generic_visit(ast.copy_location(copied, node))

    def visit_Constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, str):
            return node
        try:
            inner = expression_of(node.value.strip()).body
        except (SyntaxError, ValueError):
            return node
        for each in ast.walk(inner):
            if isinstance(each, ast.expr):
                ast.copy_location(each, node)
        return self.visit(inner)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        name = getattr(node.value, "attr", getattr(node.value, "id", None))
        if name in _NO_TYPES:
            return node
        if name == "Annotated" and isinstance(node.slice, ast.Tuple) and node.slice.elts:
            first, *added = node.slice.elts
            inner = ast.Tuple([self.visit(first), *added], node.slice.ctx)
            changed = ast.Subscript(node.value, ast.copy_location(inner, node.slice), node.ctx)
            return ast.copy_location(changed, node)
        return self.generic_visit(node)
