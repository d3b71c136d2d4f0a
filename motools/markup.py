"""Tables for notebooks. Everything is escaped: rows of a dataset are no markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

_LONGEST: Final = 200


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = ""
) -> str:
    """A titled table as HTML.

    Args:
        title: stands above it.
        columns: heads of the columns; none for a table of names and values.
        rows: cells, as many as columns; long ones are cut.
        note: stands below it.
    """
    head = "".join(f"<th>{_cell(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows
    )
    heading = f"<thead><tr>{head}</tr></thead>" if columns else ""
    below = f"<small>{escape(note)}</small>" if note else ""
    return f"<b>{escape(title)}</b><table>{heading}<tbody>{body}</tbody></table>{below}"


def _cell(value: object) -> str:
    text = str(value)
    return escape(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")
