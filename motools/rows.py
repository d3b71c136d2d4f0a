"""Rows of datasets in canonical form: equal rows, equal bytes.

The keys of a row and of its messages are in no order; everything below
``tools``, ``arguments`` and fields not known here keeps the order and the
number spelling of its source, because chat templates print them.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring as _quote
from pathlib import Path
from typing import Any, Final

from motools.errors import DatasetError

_CONVERSATIONS: Final = frozenset(
    {
        "messages",
        "prompt",
        "completion",
        "chosen",
        "rejected",
        "input",
        "preferred_output",
        "non_preferred_output",
    }
)
"""Fields whose value may be a list of messages."""

_MARK: Final = b"\xef\xbb\xbf"


class _Number(str):
    """A number as it was spelled."""


def canonical_lines(path: Path) -> Iterator[bytes]:
    """The canonical lines of a JSON Lines file, one at a time.

    Blank lines and a byte order mark are passed over.

    Raises:
        DatasetError: a line is not a JSON object, has a key twice, a NaN or
            text that is not Unicode; with the file and the line. Or there is no row.
    """
    count = 0
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                line = raw.removeprefix(_MARK) if number == 1 else raw
                if line.strip():
                    count += 1
                    yield canonical_line(line, f"{path}, line {number}")
    except OSError as problem:
        raise DatasetError(f"{path}: {problem.strerror}") from problem
    if not count:
        raise DatasetError(f"{path}: there is no row in it")


def row_offsets(path: Path) -> array[int]:
    """Where the rows of a JSON Lines file start, in bytes, and where the file ends.

    Nothing is parsed: a line that is not blank is a row. Takes eight bytes a row.

    Raises:
        DatasetError: the file cannot be read.
    """
    offsets, at = array("Q"), 0
    try:
        with path.open("rb") as lines:
            for line in lines:
                if (line.removeprefix(_MARK) if at == 0 else line).strip():
                    offsets.append(at)
                at += len(line)
    except OSError as problem:
        raise DatasetError(f"{path}: {problem.strerror}") from problem
    offsets.append(at)
    return offsets


def line_number(path: Path, row: int) -> int:
    """In which line of a JSON Lines file a row stands; both count from 1, blank lines are no rows.

    Raises:
        DatasetError: the file cannot be read.
    """
    start = row_offsets(path)[row - 1]
    with path.open("rb") as stream:
        return sum(1 for line in iter(stream.readline, b"") if stream.tell() <= start) + 1


def lines_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """The canonical lines of rows in memory.

    Raises:
        DatasetError: as :func:`canonical_lines`, with the row's number from 1.
    """
    for number, row in enumerate(rows, 1):
        try:
            text = json.dumps(row, allow_nan=False)
        except (ValueError, TypeError) as problem:
            raise DatasetError(f"row {number}: {problem}") from problem
        yield canonical_line(text.encode(), f"row {number}")


def canonical_line(line: bytes, where: str) -> bytes:
    """One row in canonical form, with its newline.

    Raises:
        DatasetError: it is not a row; the message starts with ``where``.
    """
    try:
        row = _DECODER.decode(line.decode().strip())
        if type(row) is not dict:
            raise ValueError("not a JSON object")
        parts: list[str] = []
        _write_row(row, parts)
        return "".join(parts).encode() + b"\n"
    except UnicodeEncodeError as problem:
        raise DatasetError(f"{where}: a lone surrogate is not Unicode text") from problem
    except RecursionError as problem:
        raise DatasetError(f"{where}: nested too deeply") from problem
    except ValueError as problem:
        raise DatasetError(f"{where}: {problem}") from problem


def _write_row(row: dict[str, Any], parts: list[str]) -> None:
    separator = "{"
    for name in sorted(row):
        parts.append(f"{separator}{_quote(name)}:")
        value = row[name]
        if name in _CONVERSATIONS and type(value) is list:
            _write_messages(value, parts)
        else:
            _write_as_is(value, parts)
        separator = ","
    parts.append("{}" if separator == "{" else "}")


def _write_messages(messages: list[Any], parts: list[str]) -> None:
    separator = "["
    for message in messages:
        parts.append(separator)
        if type(message) is dict:
            _write_as_is({name: message[name] for name in sorted(message)}, parts)
        else:
            _write_as_is(message, parts)
        separator = ","
    parts.append("[]" if separator == "[" else "]")


def _write_as_is(value: Any, parts: list[str]) -> None:
    kind = type(value)
    if kind is _Number:
        parts.append(value)
    elif kind is str:
        parts.append(_quote(value))
    elif kind is dict:
        separator = "{"
        for name, inner in value.items():
            parts.append(f"{separator}{_quote(name)}:")
            _write_as_is(inner, parts)
            separator = ","
        parts.append("{}" if separator == "{" else "}")
    elif kind is list:
        separator = "["
        for inner in value:
            parts.append(separator)
            _write_as_is(inner, parts)
            separator = ","
        parts.append("[]" if separator == "[" else "]")
    else:
        parts.append("null" if value is None else "true" if value else "false")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} is there twice")
    return made


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_Number, parse_int=_Number, parse_constant=_constant
)
