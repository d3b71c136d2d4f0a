"""What the tables show: columns by kind, and the rows of figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from motools.cache import sizes
from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cache.marks import NOTE, PIN, TAG
from motools.cache.records import RECORDS, fields_of
from motools.cli import lives
from motools.cli.output import (
    Column,
    Row,
    age,
    day,
    duration,
    fields,
    money,
    short,
    size,
)

Table: TypeAlias = tuple[list[Row], Sequence[Column]]
"""Rows, and the columns that a table shows of them."""


def _config(config: Mapping[str, Any]) -> str:
    """What differs from the defaults, without the base model: it has a column of its own."""
    return fields({name: value for name, value in config.items() if name != "base_model"})


def _pinned(pinned: bool) -> str:
    return "pinned" if pinned else ""


def _paid(paid: bool) -> str:
    return "paid" if paid else ""


_KEY: Final = Column("cache_key", short, "key")
_MADE: Final = (
    Column("size", size, right=True),
    Column("duration", duration, "took", right=True),
    Column("cost", money, right=True),
    Column("created_at", age, "age", right=True),
)
_EXPIRES: Final = Column("expires_at", day, "there until")
_LIVE_ELSEWHERE: Final = ("model", None)
_SAID: Final = (
    Column("pinned", _pinned),
    Column("tags", ", ".join),
    Column("note"),
)
COLUMNS: Final[dict[str | None, Sequence[Column]]] = {
    "dataset": (
        _KEY,
        Column("dataset_hash", short, "dataset"),
        Column("file_id"),
        Column("rows", right=True),
        Column("size", size, right=True),
        Column("created_at", age, "age", right=True),
        Column("source"),
    ),
    "model": (
        _KEY,
        Column("base_model"),
        Column("dataset_hash", short, "dataset"),
        Column("config", _config),
        Column("backend_type", title="backend"),
        *_MADE,
    ),
    "eval": (
        Column("id", short, "key"),
        Column("model_id", short, "model"),
        Column("task_id", title="task"),
        Column("scores", fields),
        Column("backend_type", title="backend"),
        *_MADE,
    ),
    "function": (_KEY, Column("function"), *_MADE),
    None: (
        _KEY,
        Column("kind"),
        Column("name"),
        Column("backend_type", title="backend"),
        *_MADE,
        Column("paid", _paid, " "),
    ),
}
"""What a table shows of entries of a kind; None: of any kind."""

_STATISTICS: Final = (
    Column("kind"),
    Column("entries", right=True),
    Column("bytes", size, right=True),
    Column("hits", right=True),
    Column("seconds_spent", duration, "spent", right=True),
    Column("seconds_saved", duration, "saved", right=True),
    Column("cost", money, right=True),
    Column("cost_saved", money, right=True),
)


def entry_rows(entries: Sequence[Entry], kind: str | None) -> Table:
    """Entries of one kind, or of any."""
    made: Any = RECORDS[kind]
    return [dataclasses.asdict(made(entry)) for entry in entries], COLUMNS[kind]


def marked_rows(cache: Cache, entries: Sequence[Entry], kind: str | None) -> Table:
    """Entries with what people say of them; the columns for it only where there is something."""
    rows, columns = entry_rows(entries, kind)
    marks = cache.marks.of_many([entry.key for entry in entries])
    said = [said_of(marks.get(entry.key, {})) for entry in entries]
    if kind in _LIVE_ELSEWHERE:
        ends = lives.ends(cache, entries)
        said = [
            {**each, "expires_at": ends.get(entry.key)}
            for each, entry in zip(said, entries, strict=True)
        ]
    more = [column for column in (*_SAID, _EXPIRES) if any(each.get(column.field) for each in said)]
    return [{**row, **each} for row, each in zip(rows, said, strict=True)], [*columns, *more]


def marked_fields(kind: str | None) -> list[str]:
    """What every such row has, also where there is none."""
    return [*fields_of(kind), *said_of({}), *(["expires_at"] if kind in _LIVE_ELSEWHERE else [])]


def said_of(marks: Mapping[str, str]) -> Row:
    """What people say of an entry."""
    return {
        "pinned": PIN in marks,
        "tags": [name.removeprefix(TAG) for name in marks if name.startswith(TAG)],
        "note": marks.get(NOTE),
    }


def ordered(rows: Sequence[Row], field: str, *, reverse: bool) -> list[Row]:
    """Rows by a field: largest and newest first, text by the alphabet, without a value last."""
    there = [row for row in rows if row[field] is not None]
    number = all(isinstance(row[field], (int, float)) for row in there)
    text = all(isinstance(row[field], str) for row in there)
    found = sorted(
        there,
        key=lambda row: row[field] if number or text else json.dumps(row[field]),
        reverse=number != reverse,
    )
    return [*found, *(row for row in rows if row[field] is None)]


def statistics_rows(cache: Cache) -> Table:
    """What the entries of each kind come to, and their use saved."""
    by_kind = sorted(cache.statistics.by_kind().items())
    return [{"kind": kind, **dataclasses.asdict(found)} for kind, found in by_kind], _STATISTICS


def size_rows(cache: Cache) -> Table:
    """What takes how many bytes on disk, and all of it."""
    found = sizes.breakdown(cache)
    parts = [{"part": part, "bytes": count} for part, count in found.items()]
    return [*parts, {"part": "total", "bytes": found.total}], (
        Column("part"),
        Column("bytes", size, "size", right=True),
    )
