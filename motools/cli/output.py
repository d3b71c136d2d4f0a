"""The one module that prints: data to stdout, prose and prompts to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Final, Self, TypeAlias

from motools.digest import SHORT
from motools.errors import visible

Row: TypeAlias = Mapping[str, Any]
"""One line of data: field to JSON value."""

Shows: TypeAlias = Mapping[str, Callable[[Any], str]]
"""Field to what makes its value readable."""


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True)
class Column:
    """A column of a table. JSON and CSV have every field, and its value as it is.

    Attributes:
        field: whose values stand in it.
        show: what a person reads for a value that is not None.
        title: by default the field's name.
        right: whether it is aligned to the right, as numbers are.
    """

    field: str
    show: Callable[[Any], str] = str
    title: str = ""
    right: bool = False

    @property
    def heading(self) -> str:
        """What stands above it."""
        return self.title or self.field.replace("_", " ")

    def cell(self, row: Row) -> str:
        """What a person reads in a row."""
        value = row.get(self.field)
        return "" if value is None else visible(self.show(value))


def emit(
    rows: Sequence[Row], columns: Sequence[Column], style: Format, names: Sequence[str] = ()
) -> None:
    """Print rows of data.

    Args:
        rows: the data.
        columns: what a table shows of it.
        style: how.
        names: every field of a row, for the heading of CSV without one; by default the columns'.
    """
    if style is Format.JSON:
        _json([_dated(row) for row in rows])
    elif style is Format.CSV:
        _csv([_dated(row) for row in rows], names or [column.field for column in columns])
    elif sys.stdout.isatty():
        _rich_table(rows, columns)
    elif rows:
        _plain_table([column.heading for column in columns], rows, columns)
    sys.stdout.flush()  # a reader that has gone is noticed here, not when Python ends


def emit_one(row: Row, shows: Shows, style: Format) -> None:
    """Print one thing, field by field.

    Args:
        row: its fields.
        shows: what a person reads for the fields whose values need it.
        style: how.
    """
    if style is Format.JSON:
        _json(_dated(row))
        sys.stdout.flush()
        return
    if style is Format.TABLE:
        row = {f: shows.get(f, _text)(value) for f, value in row.items() if value is not None}
    else:
        row = _dated(row)
    pairs = [{"field": field, "value": value} for field, value in row.items()]
    emit(pairs, (Column("field"), Column("value")), style)


def emit_lines(lines: Iterable[str]) -> None:
    """Print one thing a line, for other programs to read."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(message: str) -> None:
    """Tell a person something that is not data."""
    sys.stdout.flush()
    sys.stderr.write(f"{message}\n")


class Meter:
    """One line on a terminal that says how far something has come; elsewhere nothing.

    It is written anew at most some times a second, and gone at the end of the block.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._next:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()

    def show(self, say: Callable[[], str]) -> None:
        """Show what a function says, if it is time to."""
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + _METER_EVERY
            sys.stderr.write(f"{_ERASE}{say()}")
            sys.stderr.flush()


def fail(message: str) -> None:
    """Tell a person what went wrong."""
    say(f"error: {message}")


def can_ask() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Ask for a yes; anything else is a no."""
    sys.stdout.flush()
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def short(key: str) -> str:
    """The beginning of a digest; other names as they are."""
    return key[:SHORT] if len(key) == _DIGEST_LENGTH else key


def size(count: int) -> str:
    """Bytes, in the unit that suits them."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """A length of time, in the unit that suits it."""
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.05 or not seconds else "<0.1 s"


def age(created_at: float) -> str:
    """How long ago something was, in one number."""
    seconds = max(0.0, time.time() - created_at)
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def day(at: float) -> str:
    """The date of a time, in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).date().isoformat()


def money(amount: float) -> str:
    """An amount of money, to the cent or, below, to two digits."""
    return f"{amount:.2f}" if amount >= 0.01 or not amount else f"{amount:.2g}"


def count(number: int, thing: str) -> str:
    """How many of a thing."""
    plural = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number} {thing if number == 1 else plural}"


def fields(values: Mapping[str, Any]) -> str:
    """A mapping in one line."""
    return " ".join(f"{name}={_text(value)}" for name, value in values.items())


_DIGEST_LENGTH: Final = 64
_ERASE: Final = "\r\x1b[2K"
_METER_EVERY: Final = 0.2
_BETWEEN: Final = 2
_FOLDED: Final = 6
"""Letters that a line of a folded cell has at least."""
_UNITS: Final = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0))
_TIMES: Final = frozenset(
    {"created_at", "expires_at", "intended_at", "since", "trashed_at", "updated_at"}
)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _dated(row: Row) -> dict[str, Any]:
    """A row with its times as ISO 8601, which every reader of JSON and CSV takes."""
    from datetime import UTC, datetime

    return {
        field: datetime.fromtimestamp(value, UTC).isoformat()
        if field in _TIMES and value is not None
        else value
        for field, value in row.items()
    }


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def _csv(rows: Sequence[Row], names: Sequence[str]) -> None:
    import csv

    every = list(rows[0]) if rows else list(names)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(every)
    for row in rows:
        writer.writerow(["" if row[name] is None else _text(row[name]) for name in every])


def _plain_table(titles: Sequence[str], rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """A table in plain text; a cell of several lines goes on below itself."""
    cells = [titles, *([column.cell(row) for column in columns] for row in rows)]
    lines = [
        line for row in cells for line in zip_longest(*(c.split("\n") for c in row), fillvalue="")
    ]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _rich_table(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """A table on a terminal. Where that is narrow cells are folded; nothing is left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[column.cell(row) for column in columns] for row in rows]
    least = []
    for column, texts in zip(columns, zip(*cells, strict=True), strict=False):
        whole = column.right or column.show is short
        longest = max(map(len, (column.heading, *texts)))
        word = max(map(len, column.heading.split()), default=0)
        least.append(longest if whole else min(longest, max(word, _FOLDED)))
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=whole,
            overflow="fold",
            min_width=least[-1],
        )
    for line in cells:
        table.add_row(*map(Text, line))
    if rows:
        console = Console()
        console.width = max(console.width, sum(least) + _BETWEEN * len(least))
        console.print(table)
