"""One text for one meaning: a function's syntax tree, written the same on every Python.

The tree has no comments, layout, redundant brackets or spellings of numbers and
strings, so none of these can change a digest. `ast.dump` differs between Python
versions; here every node's fields are listed, and those that are empty are left
out, so that a field which a later version adds changes nothing until it is used.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final

from blake3 import blake3

from motools.errors import SourceError

_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    name: tuple(fields.split())
    for name, fields in (
        line.partition(" ")[::2]
        for line in """\
Module body
FunctionDef name type_params args returns body decorator_list
AsyncFunctionDef name type_params args returns body decorator_list
ClassDef name type_params bases keywords body decorator_list
Lambda args body
Return value
Delete targets
Assign targets value
AnnAssign target annotation value simple
AugAssign target op value
TypeAlias name type_params value
TypeVar name bound default_value
ParamSpec name default_value
TypeVarTuple name default_value
For target iter body orelse
AsyncFor target iter body orelse
While test body orelse
If test body orelse
With items body
AsyncWith items body
withitem context_expr optional_vars
Match subject cases
match_case pattern guard body
MatchValue value
MatchSequence patterns
MatchMapping keys patterns rest
MatchClass cls patterns kwd_attrs kwd_patterns
MatchStar name
MatchAs pattern name
MatchOr patterns
Raise exc cause
Try body handlers orelse finalbody
TryStar body handlers orelse finalbody
ExceptHandler type name body
Assert test msg
Import names
ImportFrom module names level
alias name asname
Global names
Nonlocal names
Expr value
Pass
Break
Continue
BoolOp op values
NamedExpr target value
BinOp left op right
UnaryOp op operand
IfExp test body orelse
Dict keys values
Set elts
List elts
Tuple elts
ListComp elt generators
SetComp elt generators
DictComp key value generators
GeneratorExp elt generators
comprehension target iter ifs is_async
Await value
Yield value
YieldFrom value
Compare left ops comparators
Call func args keywords
keyword arg value
FormattedValue value conversion format_spec
JoinedStr values
Attribute value attr
Subscript value slice
Starred value
Name id
Slice lower upper step
arguments posonlyargs args vararg kwonlyargs kw_defaults kwarg defaults
arg arg annotation
And
Or
Add
Sub
Mult
MatMult
Div
Mod
Pow
LShift
RShift
BitOr
BitXor
BitAnd
FloorDiv
Invert
Not
UAdd
USub
Eq
NotEq
Lt
LtE
Gt
GtE
Is
IsNot
In
NotIn
""".splitlines()
    )
}

_DOCUMENTED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def normalised(node: ast.AST) -> str:
    """The text of a syntax tree that is equal wherever the meaning is.

    Args:
        node: a function, class, lambda or expression.

    Raises:
        SourceError: the tree has syntax newer than this version of motools knows,
            or is nested too deeply.
    """
    parts: list[str] = []
    try:
        _write(node, parts.append)
    except RecursionError:
        raise SourceError(
            f"line {getattr(node, 'lineno', '?')}: an expression is nested too deeply to be read; "
            "split it, or pass version="
        ) from None
    return "".join(parts)


def digest(node: ast.AST) -> str:
    """The BLAKE3-256 of :func:`normalised` text, in hex."""
    return blake3(normalised(node).encode()).hexdigest()


def _write(value: Any, emit: Callable[[str], None]) -> None:
    if isinstance(value, ast.Constant):
        emit(_constant(value.value))
    elif isinstance(value, ast.MatchSingleton):
        emit(f"MatchSingleton({_constant(value.value)})")
    elif isinstance(value, ast.AST):
        _write_node(value, emit)
    elif isinstance(value, list):
        emit("[")
        for item in value:
            _write(item, emit)
            emit(",")
        emit("]")
    else:  # an identifier, a number that belongs to the grammar, or None in a list
        emit(ascii(value))


def _write_node(node: ast.AST, emit: Callable[[str], None]) -> None:
    kind = type(node).__name__
    if kind not in _FIELDS:
        raise SourceError(
            f"line {getattr(node, 'lineno', '?')}: {kind} is syntax that this version of motools "
            "cannot normalise; pass version="
        )
    emit(f"{kind}(")
    for name in _FIELDS[kind]:
        value = getattr(node, name, None)
        if name == "body" and isinstance(node, _DOCUMENTED):
            value = _with_plain_docstring(node, value)
        elif isinstance(node, ast.JoinedStr):
            value = _joined(node.values)
        if value is None or value == []:
            continue
        emit(f"{name}=")
        _write(value, emit)
        emit(";")
    emit(")")


def _constant(value: object) -> str:
    # The spelling must tell 1 from 1.0 and True, and 0.0 from -0.0. ascii() also
    # tells a pair of surrogates from the character that they would encode.
    if isinstance(value, float):
        return f"float {value.hex()}"
    if isinstance(value, complex):
        return f"complex {value.real.hex()} {value.imag.hex()}"
    if type(value) is int:
        return f"int {value:x}"  # decimal is limited to 4,300 digits
    return f"{type(value).__name__} {value!a}"


def _with_plain_docstring(node: Any, body: Any) -> Any:
    """The body with its docstring free of the indentation it shares with the code."""
    if not body or not isinstance(body, list) or ast.get_docstring(node, clean=False) is None:
        return body
    text: str = body[0].value.value
    first, *rest = text.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip(" ")) for line in rest if line.strip()), default=0)
    lines = [first.strip(), *(line[margin:].rstrip() for line in rest)]
    plain = ast.Expr(ast.Constant("\n".join(lines).strip("\n")))
    return [plain, *body[1:]]


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts as one: parsers cut them differently."""
    parts: list[ast.expr] = []
    for value in values:
        if not isinstance(value, ast.Constant):
            parts.append(value)
        elif parts and isinstance(last := parts[-1], ast.Constant):
            parts[-1] = ast.Constant(str(last.value) + str(value.value))
        elif value.value:
            parts.append(value)
    return parts
