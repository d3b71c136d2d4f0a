"""What a class keeps from when it was made: defaults, members, the classes of its descriptors."""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from motools.digest import Value, canonical_json, hash_bytes
from motools.errors import CanonicalError
from motools.source.body import Body, Kept
from motools.source.files import function_node
from motools.source.names import Unit
from motools.source.objects import GONE, class_origin, functions_in, name_of, stands_in
from motools.source.origin import Origin, of_file
from motools.tags import SOURCED, encode

if TYPE_CHECKING:
    from motools.source.reach import Walk

_SPECIFIERS: Final = frozenset({"field", "Field", "PrivateAttr", "ib", "attrib"})
_NO_DEFAULTS: Final = frozenset({"_MISSING_TYPE", "_Nothing", "PydanticUndefinedType"})
PLAIN: Final = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset)


def describe_kept(walk: Walk, cls: type, unit: Unit, holder: str) -> dict[str, Value]:
    """What a class and the classes in it keep, where their source does not say it.

    Args:
        walk: the walk that led to the class.
        cls: the class.
        unit: its definition.
        holder: what to call it in an error.
    """
    return _described(walk, cls, unit, holder, is_inner=False)


def is_readable(value: Any) -> bool:
    """Whether a value has a canonical form, with what has source by its source."""

    def reach(inner: Any, path: str) -> Value:
        if isinstance(inner, SOURCED) or class_origin(type(inner)) is Origin.OWN:
            return None
        raise CanonicalError(path, "cannot be read")

    try:
        encode(value, "", reach)
    except CanonicalError:
        return False
    return True


def _described(
    walk: Walk, cls: type, unit: Unit, holder: str, *, is_inner: bool
) -> dict[str, Value]:
    body, found = Body(unit), {}
    _watch(walk, cls, body)
    for kept in everything_kept(cls, body, is_inner):
        if not body.says(kept) and is_readable(kept.value):
            found[kept.label] = value = walk.value(kept.value, holder, kept.label)
            walk.parts[f"{name_of(cls)}.{kept.label}"] = hash_bytes(canonical_json(value)).hex
    for attribute, member in sorted(vars(cls).items(), key=lambda item: item[0]):
        node = body.definition(attribute)
        if isinstance(member, type) and node is not None and _is_inside(member, cls, attribute):
            inner = dataclasses.replace(unit, node=node)
            described = _described(walk, member, inner, holder, is_inner=True)
            found |= {f"{attribute}.{label}": value for label, value in described.items()}
    return found


def _is_inside(member: type, cls: type, attribute: str) -> bool:
    return member.__qualname__ == f"{cls.__qualname__}.{attribute}"


def _watch(walk: Walk, cls: type, body: Body) -> None:
    for attribute, member in list(vars(cls).items()):
        functions = functions_in(member)
        if functions or body.binds(attribute):
            walk.watch.item(vars(cls), attribute, member)
        for function in functions:
            walk.watch.attribute(function, "__defaults__", function.__defaults__)
            walk.watch.attribute(function, "__kwdefaults__", function.__kwdefaults__)


def everything_kept(cls: type, body: Body, is_inner: bool) -> Iterator[Kept]:
    """What a class keeps, whether or not its source says it.

    Args:
        cls: the class.
        body: of a definition of it.
        is_inner: also its plain attributes, which are described elsewhere for other classes.
    """
    yield from _defaults(cls)
    yield from _fields(cls, body)
    yield from _annotated(cls, body)
    if issubclass(cls, enum.Enum):
        yield from _members(cls, body)
    for attribute, member in sorted(vars(cls).items(), key=lambda item: item[0]):
        if attribute.startswith("_") and attribute.endswith("_"):
            yield from _hidden(cls, body, attribute, member)
        elif isinstance(member, functools.partialmethod):
            yield body.kept(attribute, attribute, (member.args, member.keywords))
        elif _is_own_descriptor(member):
            yield from _class_of_descriptor(body, attribute, member)
        elif is_inner and (body.binds(attribute) or type(cls) is type):
            yield from _of_inner(cls, body, attribute, member)


def _defaults(cls: type) -> Iterator[Kept]:
    """The defaults of the functions that stand in the body."""
    for attribute, member in sorted(vars(cls).items(), key=lambda item: item[0]):
        for function in functions_in(member):
            if stands_in(cls, attribute, function):
                for name, value, expression in _defaults_of(function):
                    sources = () if expression is None else (expression,)
                    yield Kept(f"{attribute}({name})", value, sources, expression)


def _defaults_of(function: FunctionType) -> Iterator[tuple[str, Any, ast.expr | None]]:
    given, named = function.__defaults__ or (), function.__kwdefaults__ or {}
    if not given and not named:
        return
    arguments = function_node(function).args
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    expressions = _to_the_last(positional, arguments.defaults)
    for argument, expression in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if expression is not None:
            expressions[argument.arg] = expression
    for name, value in sorted((_to_the_last(positional, given) | named).items()):
        yield name, value, expressions.get(name)


def _to_the_last(names: list[str], values: Sequence[Any]) -> dict[str, Any]:
    """Values by the last of the names, as defaults belong to the last parameters."""
    return dict(zip(names[len(names) - len(values) :], values, strict=False))


def _fields(cls: type, body: Body) -> Iterator[Kept]:
    """The fields of a dataclass, of attrs and of pydantic."""
    for name, field in field_objects(cls):
        if body.binds(name) or name in body.annotations():
            yield from _field(cls, body, name, field)


def field_objects(cls: type) -> Iterator[tuple[str, Any]]:
    """What dataclasses, attrs and pydantic know of each field of a class, by its name."""
    kept = vars(cls)
    yield from kept.get("__dataclass_fields__", {}).items()
    yield from ((field.name, field) for field in kept.get("__attrs_attrs__", ()))
    yield from kept.get("__pydantic_fields__", {}).items()
    yield from (kept.get("__private_attributes__") or {}).items()


def _field(cls: type, body: Body, name: str, field: Any) -> Iterator[Kept]:
    default, expression = getattr(field, "default", GONE), body.expression(name)
    # A default that is an attribute of the class is described as one.
    has_default = is_default(default) and vars(cls).get(name, GONE) is not default
    if isinstance(expression, ast.Call) and specifies(expression):
        for argument, source in arguments_of(expression):
            found: Any = default if argument == "default" else getattr(field, argument, GONE)
            direct: ast.expr | None = source
            if found is GONE:  # what pydantic and attrs keep in a place of their own
                found, direct = [default, getattr(field, "metadata", None)], None
            elif argument == "metadata" and isinstance(found, Mapping):
                found = dict(found)
            elif argument == "metadata":  # pydantic's own list of what it was given in other ways
                direct = None
            if argument != "default" or has_default:
                yield Kept(f"{name} {argument}", found, (source,), direct, converted=True)
    elif has_default:
        kept = body.kept(name, name, default, converted=True)
        annotation = body.annotations().get(name)
        if expression is None and annotation is not None:  # a default may stand in Annotated[]
            kept = dataclasses.replace(kept, sources=(*kept.sources, annotation))
        yield kept


def is_default(value: Any) -> bool:
    """Whether what a field has in place of a default is one."""
    return value is not GONE and type(value).__name__ not in _NO_DEFAULTS


def arguments_of(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The arguments of a call that makes a field, by name; one without is the default."""
    for keyword in sorted(call.keywords, key=lambda keyword: keyword.arg or ""):
        yield keyword.arg or "", keyword.value
    if call.args:
        yield "default", call.args[0]


def specifies(call: ast.Call) -> bool:
    """Whether a call makes a field, rather than its default."""
    return getattr(call.func, "attr", getattr(call.func, "id", "")) in _SPECIFIERS


def _annotated(cls: type, body: Body) -> Iterator[Kept]:
    """Types that the fields still have, whose names lead to something newer."""
    annotations, live = body.annotations(), dict(vars(cls).get("__annotations__", {}))
    metadata: dict[str, Any] = {}
    for name, field in field_objects(cls):
        if getattr(field, "annotation", None) is not None:
            live[name], metadata[name] = field.annotation, list(field.metadata)
    for name, annotation in sorted(annotations.items()):
        held = list(_own_in([live.get(name), metadata.get(name)]))
        targets = body.targets(annotation)
        now = list(_own_in(targets))
        stale = [
            each
            for each in held
            if not any(each is other for other in now)
            and any(name_of(each) == name_of(other) for other in now)
        ]
        if stale:
            yield Kept(f"{name} type", stale)
        if metadata.get(name) and any(type(target) in PLAIN for target in targets):
            yield Kept(f"{name} metadata", metadata[name])


def _own_in(value: Any) -> Iterator[Any]:
    """The functions and classes of one's own in a type and what it is annotated with."""
    if isinstance(value, FunctionType):
        if of_file(value.__code__.co_filename) is Origin.OWN:
            yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _own_in(item)
    elif inner := typing.get_args(value):
        yield from _own_in([typing.get_origin(value), *inner])
    elif isinstance(value, type):
        generic = vars(value).get("__pydantic_generic_metadata__") or {}
        if generic.get("origin") is not None:
            yield from _own_in([generic["origin"], *generic["args"]])
        elif class_origin(value) is Origin.OWN:
            yield value
    elif dataclasses.is_dataclass(value):
        yield from _own_in([getattr(value, f.name, None) for f in dataclasses.fields(value)])


def _members(cls: type[enum.Enum], body: Body) -> Iterator[Kept]:
    makes = any(
        functions_in(member)
        for base in cls.__mro__
        for name, member in list(vars(base).items())
        if name in ("__init__", "__new__", "__new_member__")
    )
    for name, member in sorted(cls.__members__.items()):
        yield body.kept(name, name, member.value, converted=True)
        added = {key: each for key, each in vars(member).items() if not key.startswith("_")}
        if added and not makes:
            yield Kept(f"{name} attributes", added)


def _hidden(cls: type, body: Body, attribute: str, member: Any) -> Iterator[Kept]:
    """What is named with underscores on both sides, as Python's own names are."""
    functions = functions_in(member)
    yield from _from_elsewhere(cls, body, attribute, functions)
    added = type(cls) is type and not attribute.startswith("__") and type(member) in PLAIN
    if _is_own_descriptor(member):
        yield from _class_of_descriptor(body, attribute, member)
    elif not functions and (body.binds(attribute) or added):
        yield body.kept(attribute, attribute, member)


def _class_of_descriptor(body: Body, attribute: str, member: Any) -> Iterator[Kept]:
    """The class of a descriptor. Its state is left out: one that keeps results changes with use."""
    kept = body.kept(attribute, attribute, type(member))
    if not any(each is type(member) or each is member for each in body.makers(attribute)):
        yield dataclasses.replace(kept, expression=None)


def _is_own_descriptor(member: Any) -> bool:
    return (
        not isinstance(member, (FunctionType, type))
        and hasattr(type(member), "__get__")
        and class_origin(type(member)) is Origin.OWN
    )


def _of_inner(cls: type, body: Body, attribute: str, member: Any) -> Iterator[Kept]:
    """An attribute of a class in a class: the outer one's source stands for both."""
    functions = functions_in(member)
    is_value = type(member) in PLAIN or not hasattr(type(member), "__get__")
    if not functions and is_value and not isinstance(member, (enum.Enum, type)):
        yield body.kept(attribute, attribute, member)
    yield from _from_elsewhere(cls, body, attribute, functions)


def _from_elsewhere(
    cls: type, body: Body, attribute: str, functions: list[FunctionType]
) -> Iterator[Kept]:
    for function in functions:
        # Python offers some functions by a second name, as it does an enum's ``__new__``.
        offered = not body.binds(attribute) and stands_in(cls, function.__name__, function)
        if not offered and not stands_in(cls, attribute, function):
            kept = body.kept(attribute, attribute, function)
            # A definition in the body makes a function that stands there.
            yield dataclasses.replace(kept, sources=()) if body.defines(attribute) else kept
