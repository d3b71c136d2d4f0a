"""Dataclasses, pydantic models and artifacts: taken apart and put together again.

Instances are rebuilt from their fields without calling ``__init__`` or
validators: those ran when the value was made, and running them again could
change it.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from functools import cached_property
from typing import Any, Final

from motools.errors import ResultError
from motools.source.objects import module_name

_RUNNING: Final = "__main__"
_SPAWNED: Final = "__mp_main__"
"""What multiprocessing calls the script in a process that it spawned."""

AGAIN = "run it again with refresh_cache=True, or clear the entry"


def is_artifact(cls: type) -> bool:
    """Whether ``cls`` is one of motools' own artifacts."""
    return cls.__module__.startswith("motools.") and hasattr(cls, "from_json")


def is_pydantic(cls: type) -> bool:
    """Whether ``cls`` is a pydantic model (without importing pydantic)."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def importable(cls: type, path: str) -> str:
    """``module:name`` of a class.

    Raises:
        ResultError: no class of this name is found there with the same fields.
    """
    module = _RUNNING if cls.__module__ == _SPAWNED else cls.__module__
    name = f"{module_name(module)}:{cls.__qualname__}"
    try:
        found = find(name, path)
    except ResultError:
        raise ResultError(
            f"{path}: class {name} cannot be imported again; define it at the top of a module"
        ) from None
    if found is not cls and field_names(found) != field_names(cls):
        raise ResultError(
            f"{path}: {name} is another class by now; return an instance of the current one"
        )
    return name


def find(name: str, path: str) -> type:
    """The class called ``module:name``.

    Raises:
        ResultError: the module or the class is not there any more.
    """
    module, _, qualified = name.partition(":")
    try:
        # A script's classes are recorded as if it were imported, and found in both.
        running = module in (_SPAWNED, module_name(_RUNNING))
        found: Any = importlib.import_module(_RUNNING if running else module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as problem:
        raise ResultError(f"{path}: class {name} is gone ({problem}); {AGAIN}") from problem
    if not isinstance(found, type):
        raise ResultError(f"{path}: {name} is no longer a class; {AGAIN}")
    return found


def field_names(cls: type) -> frozenset[str]:
    """The declared fields of a dataclass or pydantic model; empty for other classes."""
    if is_pydantic(cls):
        return frozenset(cls.model_fields)  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(cls):
        return frozenset(field.name for field in dataclasses.fields(cls))
    return frozenset()


def dataclass_state(value: Any, path: str) -> dict[str, Any]:
    """Field name to value.

    Raises:
        ResultError: the instance carries attributes besides its fields, or lacks some.
    """
    names = field_names(type(value))
    extra = {
        name
        for name in getattr(value, "__dict__", {}).keys() - names
        if not isinstance(getattr(type(value), name, None), cached_property)
        and name != "__orig_class__"  # how typing marks instances of Generic[int]
    }
    if extra:
        raise ResultError(f"{path}: {_list(extra)} would be lost: not declared as fields")
    if missing := {name for name in names if not hasattr(value, name)}:
        raise ResultError(f"{path}: fields {_list(missing)} have no value")
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def new_dataclass(name: str, fields: dict[str, Any], path: str) -> Any:
    """An instance of the dataclass ``name`` with these field values.

    Raises:
        ResultError: the class is gone, or has other fields now.
    """
    cls = find(name, path)
    if not dataclasses.is_dataclass(cls):
        raise ResultError(f"{path}: {name} is no longer a dataclass; {AGAIN}")
    _same_fields(cls, name, fields.keys(), path)
    instance = object.__new__(cls)
    for key, value in fields.items():
        object.__setattr__(instance, key, value)
    return instance


def pydantic_state(value: Any, path: str) -> dict[str, Any]:
    """Field name to value, extra fields included.

    Raises:
        ResultError: the model has private attributes, or is a generic's specialisation.
    """
    if value.__pydantic_private__:
        raise ResultError(
            f"{path}: private attributes {_list(value.__pydantic_private__)} would be lost"
        )
    return {
        **{name: getattr(value, name) for name in type(value).model_fields},
        **(value.__pydantic_extra__ or {}),
    }


def dump_field(value: Any, name: str, problem: ResultError) -> Any:
    """A pydantic field as pydantic writes it, if it reads back as the same.

    Raises:
        ResultError: ``problem``, when it does not.
    """
    item = getattr(value, name)
    if name not in type(value).model_fields:
        raise problem
    try:
        form = _adapter(type(value), name).dump_python(item, mode="json", round_trip=True)
        back = _adapter(type(value), name).validate_python(form, strict=False)
    except Exception as refusal:
        raise problem from refusal
    if type(back) is not type(item) or back != item:
        raise problem
    return form


def load_field(name: str, field: str, form: Any, path: str) -> Any:
    """The value that :func:`dump_field` wrote."""
    cls = find(name, path)
    if field not in field_names(cls):
        raise ResultError(f"{path}: {name} has no field {field!r} any more; {AGAIN}")
    try:
        return _adapter(cls, field).validate_python(form)
    except ValueError as problem:
        raise ResultError(f"{path}: {name}.{field} has changed: {problem}; {AGAIN}") from problem


def new_pydantic(name: str, fields: dict[str, Any], given: list[str], path: str) -> Any:
    """An instance of the pydantic model ``name`` with these field values.

    Raises:
        ResultError: the class is gone, or has other fields now.
    """
    cls: Any = find(name, path)
    if not is_pydantic(cls):
        raise ResultError(f"{path}: {name} is no longer a pydantic model; {AGAIN}")
    declared = frozenset(cls.model_fields)
    extra = fields.keys() - declared
    allowed = frozenset() if cls.model_config.get("extra") != "allow" else extra
    _same_fields(cls, name, fields.keys() - allowed, path)
    instance = cls.__new__(cls)
    # In the order of the class, as pydantic makes them, and extra ones in that they were given in.
    values = {key: fields[key] for key in cls.model_fields if key in fields}
    object.__setattr__(instance, "__dict__", values)
    object.__setattr__(instance, "__pydantic_fields_set__", set(given))
    object.__setattr__(
        instance,
        "__pydantic_extra__",
        {key: item for key, item in fields.items() if key in extra}
        if cls.model_config.get("extra") == "allow"
        else None,
    )
    object.__setattr__(instance, "__pydantic_private__", None)
    return instance


def _adapter(cls: Any, field: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls.model_fields[field].annotation)


def _same_fields(cls: type, name: str, stored: Any, path: str) -> None:
    added, removed = field_names(cls) - stored, stored - field_names(cls)
    if added or removed:
        changes = [f"added {_list(added)}"] * bool(added) + [f"removed {_list(removed)}"] * bool(
            removed
        )
        raise ResultError(
            f"{path}: the fields of {name} have changed ({', '.join(changes)}); {AGAIN}"
        )


def _list(names: Any) -> str:
    return ", ".join(map(repr, sorted(names)))
