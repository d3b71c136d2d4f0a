"""``motools cache explain``: why something is a hit or a miss, and what to do about it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cache.explain import where_they_differ
from motools.cli import output
from motools.cli.completion import complete_key
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, OtherKey, Style
from motools.cli.output import Column, Format, Row
from motools.errors import visible

if TYPE_CHECKING:
    from motools.cache.entry import Entry
    from motools.steps.account import Account
    from motools.steps.findings import Change, Finding
    from motools.sweeps.plan import Planned, PlannedCell

_SHOWN: Final = 40
"""Most differences in a table."""
_WIDEST: Final = 100
"""Longest value that a table shows whole."""


def add_to(app: typer.Typer) -> None:
    """Give a group of commands this one."""
    app.command(cls=LightCommand)(explain)


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A key, or the beginning of it, also of a run that failed; the id or name of a "
            "Prefect task run; with --sweep a cell: its number or its values, as in "
            "learning_rate=1e-4,seed=0.",
            autocompletion=complete_key,
        ),
    ],
    key2: OtherKey = None,
    *,
    sweep: Annotated[
        Path | None,
        typer.Option("--sweep", metavar="FILE", help="The sweep whose cell is meant."),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option("--step", metavar="NAME", help="Only this step of the cell."),
    ] = None,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Say why something is a hit or a miss, and what to do about it.

    What its key was made of, the nearest entries, and the fields in which it
    differs from the nearest, or from KEY2: of datasets and samples down to the
    row and its field, of source down to the lines.
    """
    from motools.steps.account import account
    from motools.steps.subject import find

    cache = Cache.open(cache_dir, create=False)
    other = None if key2 is None else catalogue.find(cache, key2)
    if sweep is not None:
        from motools.sweeps.finding import steps_of

        cell = cell_of(cache, sweep, what)
        accounts = [(each, _account(cache, each, other)) for each in steps_of(cell, step)]
        _emit_cell(cell, accounts, style)
        return
    if step is not None:
        raise typer.BadParameter("--step is for a cell: give --sweep FILE with it")
    found = account(cache, find(cache, what), other)
    if style is Format.JSON:
        output.emit_one(_fields(found), {}, style)
    elif style is Format.CSV:
        output.emit(_differences(found), _columns(found), style)
    else:
        _print(found, material=key2 is None)


def cell_of(cache: Cache, file: Path, name: str) -> PlannedCell:
    """The cell of a sweep that is meant: by its number or its values."""
    from motools.sweeps import document
    from motools.sweeps.finding import one_cell
    from motools.sweeps.planner import make_plan

    return one_cell(make_plan(document.read(file), cache), name)


def _emit_cell(
    cell: PlannedCell, accounts: Sequence[tuple[Planned, Account | None]], style: Format
) -> None:
    if style is Format.JSON:
        output.emit_one(_cell_fields(cell, accounts), {}, style)
        return
    if style is Format.CSV:
        known = ((planned, found) for planned, found in accounts if found is not None)
        rows = [{"step": p.name, **row} for p, found in known for row in _differences(found)]
        columns = Column("step"), Column("field"), Column("this"), Column("other"), Column("note")
        output.emit(rows, columns, style)
        return
    for planned, found in accounts:
        output.say(f"{planned.name} of the cell {cell.cell}: {planned.state}")
        if found is None:
            output.say(planned.reason)
        else:
            _print(found, material=found.subject.entry is None)


def _account(cache: Cache, planned: Planned, other: Entry | None) -> Account | None:
    """Of a step that has a key."""
    from motools.steps.account import account
    from motools.steps.subject import Subject
    from motools.steps.train import Train

    if planned.step is None or planned.key is None:
        return None
    given = planned.step.dataset.identify(cache.memo) if isinstance(planned.step, Train) else None
    subject = Subject.of_action(cache, planned.step.action(cache))
    return account(cache, subject, other, given)


def _fields(found: Account) -> dict[str, Any]:
    subject = found.subject
    return {
        "key": subject.key,
        "state": "miss" if subject.entry is None else "hit",
        "note": subject.note,
        "canonical": subject.canonical,
        "action": subject.material,
        "other": found.nearest[0].entry.key if found.nearest else None,
        "nearest": [
            {"key": near.entry.key, "fields": len(near.differences)} for near in found.nearest
        ],
        "differences": _differences(found),
        "source": [
            {"name": change.name, "file": change.file, "line": change.line, "diff": change.diff}
            for change in _changes(found.findings)
        ],
        "advice": list(found.advice),
    }


def _cell_fields(
    cell: PlannedCell, accounts: Sequence[tuple[Planned, Account | None]]
) -> dict[str, Any]:
    return {
        "cell": str(cell.cell),
        "parameters": {name: str(value) for name, value in cell.cell.parameters.items()},
        "replicate": cell.cell.replicate,
        "steps": [
            {
                "step": planned.name,
                "planned": str(planned.state),
                "reason": planned.reason,
                **(_fields(found) if found else {"key": None}),
            }
            for planned, found in accounts
        ],
    }


def _print(found: Account, *, material: bool) -> None:
    subject = found.subject
    short, kind = subject.key[:12], subject.material["kind"]
    if material:
        output.emit_lines([visible(json.dumps(subject.material, indent=2))])
    state = "it has no entry" if subject.entry is None else "it is in the cache"
    output.say(f"{kind} {short}: {subject.note or state}")
    if not found.nearest:
        output.say(f"there is no other entry of kind {kind!r}")
        return
    nearest, *others = found.nearest
    key = nearest.entry.key[:12]
    which = ", the nearest other entry," if material else ""
    output.say(f"{short} differs from {key}{which} in {_count(len(nearest.differences))}")
    rows = _differences(found)
    output.emit([_short(row) for row in rows[:_SHOWN]], _columns(found), Format.TABLE)
    if (hidden := len(rows) - _SHOWN) > 0:
        output.say(f"and {hidden} more: --format json has all")
    for change in _changes(found.findings):
        where = f"{_near(change.file)}:{change.line}" if change.line else "its file is not known"
        output.say(f"source of {change.name} ({where})")
        output.emit_lines(map(visible, change.diff.splitlines()))
        if not change.diff:
            output.say("its value differs, which is not kept")
    if others:
        said = ", ".join(f"{n.entry.key[:12]} ({_count(len(n.differences))})" for n in others)
        output.say(f"next nearest: {said}")
    for line in found.advice:
        output.say(f"- {visible(line)}")


def _count(fields: int) -> str:
    return output.count(fields, "field")


def _columns(found: Account) -> tuple[Column, ...]:
    other = found.nearest[0].entry.key[:12] if found.nearest else "other"
    this = found.subject.key[:12]
    columns = Column("field"), Column("this", _shown, this), Column("other", _shown, other)
    noted = any(row["note"] for row in _differences(found))
    return (*columns, Column("note")) if noted else columns


def _shown(value: Any) -> str:
    if isinstance(value, str) and output.short(value) != value:
        return output.short(value)
    return json.dumps(value, ensure_ascii=False)


def _short(row: Row) -> Row:
    """A row for a table: of long values, the part in which they differ."""
    this, other = row["this"], row["other"]
    if max(len(_shown(value)) for value in (this, other)) <= _WIDEST:
        return row
    texts = [value if isinstance(value, str) else "" for value in (this, other)]
    cut = [f"{text}…" for text in where_they_differ(*texts)]
    values = [c if isinstance(v, str) else v for v, c in zip((this, other), cut, strict=True)]
    return {**row, "this": values[0], "other": values[1]}


def _differences(found: Account) -> list[Row]:
    return list(_rows(found.findings))


def _rows(findings: Sequence[Finding]) -> Iterator[Row]:
    """A line for each finding, those inside it below it."""
    for finding in findings:
        difference = finding.difference
        yield {
            "field": difference.field,
            "this": difference.wanted,
            "other": difference.found,
            "note": finding.note,
        }
        yield from _rows(finding.inside)


def _changes(findings: Sequence[Finding]) -> list[Change]:
    """Definitions that differ, each once, however many digests they are part of."""
    found: dict[Change, None] = {}
    for finding in findings:
        found |= dict.fromkeys((*finding.source, *_changes(finding.inside)))
    return list(found)


def _near(file: str) -> str:
    """A path as short as it can be written here."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else os.fspath(path)
