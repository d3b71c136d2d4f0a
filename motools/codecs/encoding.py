"""From a value to JSON and files."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from motools.artifacts import Dataset
from motools.codecs import classes, tables
from motools.errors import ResultError

JSON: TypeAlias = Any

TAG: Final = "@"
INLINE: Final = 256 * 1024
"""Characters of JSON from which it goes to a file, so that the index stays small."""

_DEEPEST: Final = 200
_MOST_DIGITS: Final = sys.int_info.default_max_str_digits
_MOST_BITS: Final = (10**_MOST_DIGITS).bit_length() - 1
_AS_IT_IS: Final = (type(None), bool, int)
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
        if type(value) in _AS_IT_IS:
            _check_size(value, path)
            return value
        if depth >= _DEEPEST:
            raise ResultError(f"{path}: nested deeper than {_DEEPEST}, or contains itself")
        for applies, write in _FORMS:
            if applies(value):
                return write(self, value, path, depth)
        raise ResultError(f"{path}: {_name(value)} cannot be stored; {_advice(value)}")

    def number(self, value: float, _path: str, _depth: int) -> JSON:
        return value if math.isfinite(value) else {"@float": repr(value)}

    def text(self, value: str, path: str, _depth: int) -> JSON:
        return _text(value, path)

    def items(self, values: Any, path: str, depth: int) -> list[JSON]:
        return [self.form(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(values)]

    def tuple_(self, value: Any, path: str, depth: int) -> JSON:
        return {"@tuple": self.items(value, path, depth)}

    def mapping(self, value: dict[Any, Any], path: str, depth: int) -> JSON:
        for key in value:
            if type(key) not in _KEYS:
                raise ResultError(f"{path}: key {key!r} is {_name(key)}; {_advice(key)}")
            _check_size(key, f"{path} key")
        pairs = [
            (key, self.form(item, f"{path}[{key!r}]", depth + 1)) for key, item in value.items()
        ]
        if all(type(key) is str for key in value):
            return {_escaped(_text(key, path)): item for key, item in pairs}
        return {
            "@dict": [[self.form(k, f"{path} key {k!r}", depth + 1), item] for k, item in pairs]
        }

    def array(self, value: Any, path: str, _depth: int) -> JSON:
        target = self.names.new(path, ".npy")
        tables.write_array(value, target, path)
        return {"@array": target.name}

    def scalar(self, value: Any, path: str, _depth: int) -> JSON:
        return {"@scalar": tables.scalar(value, path)}

    def frame(self, value: Any, path: str, _depth: int) -> JSON:
        target = self.names.new(path, ".parquet")
        frequencies = tables.write_frame(value, target, path)
        if any(frequencies):
            return {"@dated_frame": [target.name, frequencies]}
        return {"@frame": target.name}

    def artifact(self, value: Any, path: str, _depth: int) -> JSON:
        return {"@artifact": [classes.importable(type(value), path), value.to_json()]}

    def dataset(self, value: Dataset, path: str, _depth: int) -> JSON:
        # A dataset in files is only as lasting as those files, so the rows are kept.
        identified = value.identify()
        target = self.names.new(path, ".jsonl")
        if value.write(target).hex != identified.digest:
            raise ResultError(f"{path}: its file has changed since the dataset was made of it")
        kept = dataclasses.replace(identified, path=None, parts=(), choice=None)
        return {"@dataset": [target.name, kept.to_json()]}

    def dataclass(self, value: Any, path: str, depth: int) -> JSON:
        name = classes.importable(type(value), path)
        state = classes.dataclass_state(value, path)
        fields = {key: self.form(v, f"{path}.{key}", depth + 1) for key, v in state.items()}
        return {"@dataclass": [name, fields]}

    def pydantic(self, value: Any, path: str, depth: int) -> JSON:
        name = classes.importable(type(value), path)
        fields: dict[str, JSON] = {}
        for key, item in classes.pydantic_state(value, path).items():
            try:
                fields[key] = self.form(item, f"{path}.{key}", depth + 1)
            except ResultError as problem:
                # Pydantic can write more leaves than we can (dates, enums, sets);
                # it is asked only where we cannot, and must read back the same.
                fields[key] = {"@field": classes.dump_field(value, key, problem)}
        return {"@pydantic": [name, fields, sorted(value.model_fields_set)]}

    def file(self, value: Path, path: str, _depth: int) -> JSON:
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
                _copy_tree(value, target, path)
            name = target.relative_to(self.directory).as_posix()
            return {"@directory": [name, *_empty_directories(target)]}
        found = "is neither a file nor a directory" if value.exists() else "does not exist"
        raise ResultError(f"{path}: {value} {found}; a returned path names a result to keep")


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _is_in(module: str, name: str, *, subclasses: bool = False) -> Callable[[Any], bool]:
    """Whether a value is of a library's type; a library not imported yet has no values."""

    def applies(value: Any) -> bool:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is None:
            return False
        return isinstance(value, kind) if subclasses else type(value) is kind

    return applies


def _is_dataset_in_files(value: Any) -> bool:
    return type(value) is Dataset and value.data is None


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


# The first that applies; subclasses of the plain types are no plain values.
_FORMS: Final[list[tuple[Callable[[Any], bool], Callable[[_Encoder, Any, str, int], JSON]]]] = [
    (_is(float), _Encoder.number),
    (_is(str), _Encoder.text),
    (_is(list), _Encoder.items),
    (_is(tuple), _Encoder.tuple_),
    (_is(dict), _Encoder.mapping),
    (lambda value: isinstance(value, Path), _Encoder.file),
    (_is_in("numpy", "ndarray"), _Encoder.array),
    (_is_in("numpy", "generic", subclasses=True), _Encoder.scalar),
    (_is_in("pandas", "DataFrame"), _Encoder.frame),
    (_is_dataset_in_files, _Encoder.dataset),
    (lambda value: classes.is_artifact(type(value)), _Encoder.artifact),
    (lambda value: classes.is_pydantic(type(value)), _Encoder.pydantic),
    (_is_dataclass, _Encoder.dataclass),
]


def _check_size(value: Any, path: str) -> None:
    """Refuse integers that other processes could not read: Python limits their digits in text."""
    if type(value) is int and value.bit_length() > _MOST_BITS:
        raise ResultError(
            f"{path}: an integer of more than {_MOST_DIGITS} digits cannot be stored; "
            "return its hex()"
        )


def _copy_tree(source: Path, target: Path, path: str) -> None:
    try:
        shutil.copytree(source, target)
    except shutil.Error as problem:
        name, _, reason = problem.args[0][0]
        raise ResultError(f"{path}: {name} in {source} cannot be copied: {reason}") from problem


def _empty_directories(root: Path) -> list[str]:
    """Those below a directory; a store keeps files only."""
    inner = (path for path in root.rglob("*") if path.is_dir() and not any(path.iterdir()))
    return sorted(path.relative_to(root).as_posix() for path in inner)


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
