"""Rows to train on: conversations, one JSON object a line, checked before anything starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from motools.errors import DatasetError

Row: TypeAlias = dict[str, Any]

_ROLES: Final = ("system", "developer", "user", "assistant", "tool")


def read_conversations(path: Path) -> Iterator[Row]:
    """The rows of a file, each checked as it is read.

    A row is ``{"messages": [{"role": …, "content": …}, …]}``, with ``tools``
    where the assistant has some. At least one message is the assistant's.

    Raises:
        DatasetError: a row is wrong, with its line and field; or there is none.
    """
    number = 0
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path.name}, line {number}"
            row = _parse(line, where)
            _check_row(row, where)
            yield row
    if number == 0:
        raise DatasetError(f"{path.name}: there is no row to train on")


def check_conversations(path: Path) -> int:
    """Read every row of a file, and return how many there are.

    Raises:
        DatasetError: as :func:`read_conversations`.
    """
    return sum(1 for _ in read_conversations(path))


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as problem:
        raise DatasetError(f"{where}: not JSON: {problem}") from None
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: a row is an object with 'messages', not {_kind(row)}")
    return row


def _check_row(row: Row, where: str) -> None:
    if "messages" not in row:
        fields = ", ".join(map(repr, row)) or "nothing"
        raise DatasetError(f"{where}: no field 'messages'; the row has {fields}")
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise DatasetError(f"{where}, messages: a list with at least one message is needed")
    for index, message in enumerate(messages):
        _check_message(message, f"{where}, messages[{index}]")
    if not any(message["role"] == "assistant" for message in messages):
        raise DatasetError(f"{where}, messages: no message of the assistant to learn from")
    if not isinstance(row.get("tools", []), list):
        raise DatasetError(f"{where}, tools: {_kind(row['tools'])} instead of a list")


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise DatasetError(f"{where}: {_kind(message)} instead of an object")
    role = message.get("role")
    if role not in _ROLES:
        raise DatasetError(f"{where}.role: {role!r} is not one of {', '.join(_ROLES)}")
    if "weight" in message:
        raise DatasetError(f"{where}.weight: cannot be honoured; leave the message out instead")
    content = message.get("content")
    calls = role == "assistant" and bool(message.get("tool_calls"))
    if not isinstance(content, str) and not (content is None and calls):
        raise DatasetError(f"{where}.content: {_kind(content)} instead of text")
    if role == "assistant" and not content and not calls:
        raise DatasetError(f"{where}.content: the assistant says nothing")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
