"""Lists by pages: SQL for what comes after something, up to a limit."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from motools.cache.database import Database
from motools.server.errors import RequestError

T = TypeVar("T")

ID_LENGTH: Final = 24


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list.

    Attributes:
        data: what is on it.
        has_more: whether there is more after it.
    """

    data: list[T]
    has_more: bool


@dataclass(frozen=True)
class Turn:
    """Which page is wanted.

    Attributes:
        after: id of what came last on the page before; None: from the start.
        limit: most items on it.
        order: ``desc``: what is newest comes first.
    """

    after: str | None
    limit: int
    order: Literal["asc", "desc"] = "desc"


def new_id(prefix: str) -> str:
    """An id that nobody guesses."""
    return f"{prefix}-{secrets.token_hex(ID_LENGTH // 2)}"


def now() -> int:
    """Seconds since 1970, whole ones as OpenAI has them."""
    return int(time.time())


def page(
    database: Database,
    table: str,
    columns: str,
    where: str,
    parameters: Sequence[Any],
    *,
    turn: Turn,
    make: Callable[[Any], T],
    name: str = "id",
) -> Page[T]:
    """A part of a table.

    Args:
        database: where it is.
        table: its name; its column ``number`` rises with time.
        columns: to read.
        where: a condition with question marks; what it holds for makes the list.
        parameters: for the question marks.
        turn: which part.
        make: an item of a row.
        name: the column that items are named by.

    Raises:
        RequestError: what it should come after is not in the list.
    """
    parameters = list(parameters)
    if turn.after is not None:
        found = database.read(
            f"SELECT number FROM {table} WHERE {name} = ? AND {where}", [turn.after, *parameters]
        )
        if not found:
            raise RequestError(f"after: {turn.after!r} is not in this list", param="after")
        where += f" AND number {'<' if turn.order == 'desc' else '>'} ?"
        parameters.append(found[0][0])
    rows = database.read(
        f"SELECT {columns} FROM {table} WHERE {where} ORDER BY number {turn.order} LIMIT ?",
        [*parameters, turn.limit + 1],
    )
    return Page([make(row) for row in rows[: turn.limit]], len(rows) > turn.limit)
