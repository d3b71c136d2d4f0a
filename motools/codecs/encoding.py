"""From a value to JSON and files."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias

from motools.codecs import classes, tables
from motools.errors import ResultError

JSON: TypeAlias = Any

TAG: Final = "@"
INLINE: Final = 256 * 1024
"""Characters of JSON from which it goes to a file, so that the index stays small."""

_DEEPEST: Final = 200
_KEYS: Final = (str, int, float, bool, type(None), tuple)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_NAME: Final = 80


def encode(value: object, directory: Path) -> JSON:
    """The JSON form of ``value``; what belongs in files is written below ``directory``.

    Args:
        value: what a function returned.
        directory: where files go. A returned path below it stays where it is.

    Raises:
        ResultError: some part has a type that is not stored; the message names
            the type and where it stands, as in ``result['a'][2]``.
    """
    form = _Encoder(directory).form(value, "result", 0)
    text = json.dumps(form, allow_nan=False)
    if len(text) <= INLINE:
        return form
    target = _Names(directory).new("result", ".json")
    target.write_text(text, encoding="utf-8")
    return {"@json": target.name}


class _Names:
    """Names in a directory that are free, also where case does not count."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def new(self, path: str, suffix: str) -> Path:
        """A free path, called after where the value stands."""
        stem = _UNSAFE.sub("-", path).strip("-.")[:_LONGEST_NAME] or "result"
        taken = {entry.name.casefold() for entry in self.directory.iterdir()}
        name, count = stem + suffix, 1
        while name.casefold() in taken:
            count += 1
            name = f"{stem}-{count}{suffix}"
        return self.directory / name


class _Encoder:
    """One walk over one value."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = _Names(directory)

    def form(self, value: Any, path: str, depth: int) -> JSON:
        """The JSON form of the part of the value at ``path``."""
        kind = type(value)
        if value is None or kind is bool or kind is int:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"@float": repr(value)}
        if kind is str:
            return _text(value, path)
        if depth >= _DEEPEST:
            raise ResultError(f"{path}: nested deeper than {_DEEPEST}, or contains itself")
        if kind is list:
            return self._items(value, path, depth)
        if kind is tuple:
            return {"@tuple": self._items(value, path, depth)}
        if kind is dict:
            return self._mapping(value, path, depth)
        if isinstance(value, Path):
            return self._file(value, path)
        return self._object(value, path, depth)

    def _items(self, values: Any, path: str, depth: int) -> list[JSON]:
        return [self.form(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(values)]

    def _mapping(self, value: dict[Any, Any], path: str, depth: int) -> JSON:
        for key in value:
            if type(key) not in _KEYS:
                raise ResultError(f"{path}: key {key!r} is {_name(key)}; {_advice(key)}")
        pairs = [
            (key, self.form(item, f"{path}[{key!r}]", depth + 1)) for key, item in value.items()
        ]
        if all(type(key) is str for key in value):
            return {_escaped(_text(key, path)): item for key, item in pairs}
        return {
            "@dict": [[self.form(k, f"{path} key {k!r}", depth + 1), item] for k, item in pairs]
        }

    def _object(self, value: Any, path: str, depth: int) -> JSON:
        if numpy := sys.modules.get("numpy"):
            if type(value) is numpy.ndarray:
                target = self.names.new(path, ".npy")
                tables.write_array(value, target, path)
                return {"@array": target.name}
            if isinstance(value, numpy.generic):
                return {"@scalar": tables.scalar(value, path)}
        if (pandas := sys.modules.get("pandas")) and type(value) is pandas.DataFrame:
            target = self.names.new(path, ".parquet")
            tables.write_frame(value, target, path)
            return {"@frame": target.name}
        if classes.is_artifact(type(value)):
            return {"@artifact": [classes.importable(type(value), path), value.to_json()]}
        if classes.is_pydantic(type(value)):
            return {"@pydantic": self._pydantic(value, path, depth)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {"@dataclass": self._dataclass(value, path, depth)}
        raise ResultError(f"{path}: {_name(value)} cannot be stored; {_advice(value)}")

    def _dataclass(self, value: Any, path: str, depth: int) -> JSON:
        name = classes.importable(type(value), path)
        state = classes.dataclass_state(value, path)
        fields = {key: self.form(v, f"{path}.{key}", depth + 1) for key, v in state.items()}
        return [name, fields]

    def _pydantic(self, value: Any, path: str, depth: int) -> JSON:
        name = classes.importable(type(value), path)
        fields: dict[str, JSON] = {}
        for key, item in classes.pydantic_state(value, path).items():
            try:
                fields[key] = self.form(item, f"{path}.{key}", depth + 1)
            except ResultError as problem:
                # Pydantic can write more leaves than we can (dates, enums, sets);
                # it is asked only where we cannot, and must read back the same.
                fields[key] = {"@field": classes.dump_field(value, key, problem)}
        return [name, fields, sorted(value.model_fields_set)]

    def _file(self, value: Path, path: str) -> JSON:
        inside = _inside(value, self.directory)
        if not inside and _inside(self.directory, value):
            raise ResultError(f"{path}: {value} holds the directory that results are written to")
        if value.is_file():
            target = inside or self.names.new(value.stem, value.suffix)
            if not inside:
                shutil.copy2(value, target)
            return {"@file": target.relative_to(self.directory).as_posix()}
        if value.is_dir():
            target = inside or self.names.new(value.name, "")
            if not inside:
                shutil.copytree(value, target)
            return {"@directory": target.relative_to(self.directory).as_posix()}
        found = "is neither a file nor a directory" if value.exists() else "does not exist"
        raise ResultError(f"{path}: {value} {found}; a returned path names a result to keep")


def _inside(value: Path, directory: Path) -> Path | None:
    """``value`` below ``directory``, spelled with it, or None."""
    resolved, root = value.resolve(), directory.resolve()
    return directory / resolved.relative_to(root) if resolved.is_relative_to(root) else None


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        raise ResultError(f"{path}: text with a lone surrogate: {problem.reason}") from None
    return value


def _escaped(key: str) -> str:
    return TAG + key if key.startswith(TAG) else key


def _name(value: object) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _advice(value: object) -> str:
    for kind, advice in _ADVICE.items():
        if isinstance(value, kind):
            return advice
    return (
        "return JSON values, dataclasses, pydantic models, NumPy arrays, data frames or "
        "paths, in lists, tuples and dicts"
    )


_ADVICE: Final[dict[type, str]] = {
    set: "return a sorted list",
    frozenset: "return a sorted list",
    bytes: "write it to a file and return its path",
    bytearray: "write it to a file and return its path",
}
