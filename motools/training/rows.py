"""Rows to train on, one JSON object a line, each checked before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from motools.errors import DatasetError

Row: TypeAlias = dict[str, Any]

_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_ANSWERS: Final = ("chosen", "rejected")
_UNHONOURED: Final = ("weight", "train")
"""Fields by which others say that a message is not to be learnt from."""


def read_rows(path: Path, method: str) -> Iterator[Row]:
    """The rows of a file, each checked as it is read.

    For ``supervised`` a row is ``{"messages": [{"role": …, "content": …}, …]}``
    with at least one message of the assistant; for ``dpo`` it is ``{"prompt":
    […], "chosen": […], "rejected": […]}``, three lists of messages, the answers
    beginning with the assistant. Either may have ``tools``.

    Raises:
        DatasetError: a row is wrong, with its number and field; or there is none.
    """
    check, number = _CHECKS[method], 0
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            with in_row(number) as where:
                row = _parse(line, where)
                check(row, where)
                if not isinstance(row.get("tools", []), list):
                    raise DatasetError(f"{where}, tools: {_kind(row['tools'])} instead of a list")
            yield row
    if number == 0:
        raise DatasetError("there is no row to train on")


@contextmanager
def in_row(number: int) -> Iterator[str]:
    """Have errors know their row; they begin with what the block is given."""
    try:
        yield f"row {number}"
    except DatasetError as problem:
        problem.row = number
        raise


def check_rows(path: Path, method: str) -> int:
    """Read every row of a file, and return how many there are.

    Raises:
        DatasetError: as :func:`read_rows`.
    """
    return sum(1 for _ in read_rows(path, method))


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as problem:
        raise DatasetError(f"{where}: not JSON: {problem}") from None
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: a row is an object, not {_kind(row)}")
    return row


def _check_conversation(row: Row, where: str) -> None:
    messages = _messages(row, "messages", where)
    if not any(message["role"] == "assistant" for message in messages):
        raise DatasetError(f"{where}, messages: no message of the assistant to learn from")


def _check_preference(row: Row, where: str) -> None:
    _messages(row, "prompt", where)
    for name in _ANSWERS:
        first = _messages(row, name, where)[0]
        if first["role"] != "assistant":
            raise DatasetError(
                f"{where}, {name}[0].role: {first['role']!r}, but an answer is the assistant's"
            )
    if row["chosen"] == row["rejected"]:
        raise DatasetError(f"{where}, rejected: the same as chosen, so nothing is preferred")


def _messages(row: Row, name: str, where: str) -> list[Row]:
    if name not in row:
        fields = ", ".join(map(repr, row)) or "nothing"
        raise DatasetError(f"{where}: no field {name!r}; the row has {fields}")
    messages = row[name]
    if not isinstance(messages, list) or not messages:
        raise DatasetError(f"{where}, {name}: a list with at least one message is needed")
    for index, message in enumerate(messages):
        _check_message(message, f"{where}, {name}[{index}]")
    return messages


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise DatasetError(f"{where}: {_kind(message)} instead of an object")
    role = message.get("role")
    if role not in _ROLES:
        raise DatasetError(f"{where}.role: {role!r} is not one of {', '.join(_ROLES)}")
    for name in _UNHONOURED:
        if name in message:
            raise DatasetError(f"{where}.{name}: cannot be honoured; leave the message out instead")
    content = message.get("content")
    calls = role == "assistant" and bool(message.get("tool_calls"))
    if not isinstance(content, str) and not (content is None and calls):
        raise DatasetError(f"{where}.content: {_kind(content)} instead of text")
    if role == "assistant" and not content and not calls:
        raise DatasetError(f"{where}.content: the assistant says nothing")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


_CHECKS: Final[Mapping[str, Callable[[Row, str], None]]] = {
    "supervised": _check_conversation,
    "dpo": _check_preference,
}
