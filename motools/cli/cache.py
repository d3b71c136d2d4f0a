"""``motools cache``: look into the cache, and clear it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from motools.cache import catalogue, removal
from motools.cache.cache import Cache
from motools.cache.records import GROUPS, EntryRecord
from motools.cache.removal import RemovalPlan
from motools.cli import (
    bundle,
    details,
    exchange,
    explanation,
    lives,
    marking,
    output,
    pruning,
    remote,
    tables,
)
from motools.cli.consent import get_consent
from motools.cli.exits import ExitCode, explained
from motools.cli.light import LightCommand, LightGroup
from motools.cli.options import (
    CacheDir,
    DryRun,
    Group,
    GroupArgument,
    Key,
    Pinned,
    Revalidate,
    Style,
    Yes,
)
from motools.cli.output import Column, Format, Row
from motools.cli.which import Filters, Named, Which, expanded

if TYPE_CHECKING:
    from motools.upkeep.health import Health

_MOST: Final = 10**9
"""More entries than any database of a cache holds."""

app = typer.Typer(
    cls=LightGroup,
    help="Look into the cache, and clear it.",
    epilog=explained(),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", cls=LightCommand)
@expanded
def list_entries(
    group: GroupArgument = Group.ALL,
    *,
    filters: Filters,
    pinned: Pinned = False,
    sort: Annotated[
        str,
        typer.Option(metavar="FIELD", help="Any field that JSON shows; largest and newest first."),
    ] = "created_at",
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, max=_MOST, metavar="NUMBER", help="At most so many.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Keys only, one a line.")] = False,
    trash: Annotated[bool, typer.Option("--trash", help="What can be undeleted.")] = False,
    revalidate: Revalidate = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """List entries, newest first.

    `list models` shows what each model was made from: its base model, its
    dataset, and the values in its config that differ from the defaults.
    """
    kind = GROUPS.get(group.value)
    cache = _open(cache_dir)
    chosen = filters.selection(cache, group.value, trash=trash, pinned=pinned)
    newest = sort == "created_at" and not reverse
    entries = catalogue.select(cache, chosen, limit=limit if newest else None)
    if revalidate:
        entries = lives.asked_after(cache, entries)
    rows, columns = tables.marked_rows(cache, entries, kind)
    names = tables.marked_fields(kind)
    if sort not in names:
        raise typer.BadParameter(f"there is no field {sort!r}; known are {', '.join(names)}")
    ordered = tables.ordered(rows, sort, reverse=reverse)[:limit]
    if quiet:
        output.emit_lines(row["id" if kind == "eval" else "cache_key"] for row in ordered)
    else:
        output.emit(ordered, columns, style, names)
    if not ordered and not quiet:
        output.say("no entries")


details.add_to(app)
explanation.add_to(app)
exchange.add_to(app)
bundle.add_to(app)
app.add_typer(remote.app, name="remote")
marking.add_to(app)
pruning.add_to(app)


@app.command(cls=LightCommand)
def lineage(key: Key, *, cache_dir: CacheDir = None, style: Style = Format.TABLE) -> None:
    """Show what an entry was made from, and what was made from it.

    Base models are in no entry: `motools cache show` names them.
    """
    from motools.steps.lineage import lineage as relatives

    cache = _open(cache_dir)
    entry = catalogue.find(cache, key)
    rows: list[Row] = []
    for relative in relatives(cache, entry):
        record = EntryRecord.of(relative.entry)
        relation = "from" if relative.steps > 0 else "to"
        rows.append(
            {
                "relation": relation,
                "distance": abs(relative.steps),
                "input": relative.name,
                "key": relative.entry.key,
                "kind": relative.entry.kind,
                "name": record.name,
                "created_at": relative.entry.created_at,
            }
        )
    columns = (
        Column("relation"),
        Column("distance", right=True),
        Column("input"),
        Column("key", output.short),
        Column("kind"),
        Column("name"),
        Column("created_at", output.age, "age", right=True),
    )
    output.emit(rows, columns, style)
    made = sum(row["relation"] == "to" for row in rows)
    output.say(
        f"{entry.kind} {entry.key[:12]} was made from {output.count(len(rows) - made, 'entry')} "
        f"in this cache; {output.count(made, 'entry')} come from it"
    )


@app.command(cls=LightCommand)
def stats(cache_dir: CacheDir = None, style: Style = Format.TABLE) -> None:
    """Count entries, hits, time and money.

    Spent by making entries, and saved by using them, for every kind.
    """
    cache = _open(cache_dir)
    output.emit(*tables.statistics_rows(cache), style)
    if style is Format.TABLE:
        output.say(f"money is in {cache.settings.currency}, as far as it is known")
    for sentence in _health(cache):
        output.say(sentence)


@app.command(cls=LightCommand)
def size(
    breakdown: Annotated[
        bool, typer.Option("--breakdown", help="What takes how much of it.")
    ] = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Measure the space that the cache takes on disk."""
    rows, columns = tables.size_rows(_open(cache_dir))
    output.emit(rows if breakdown else rows[-1:], columns, style)


@app.command(cls=LightCommand)
@expanded
def clear(
    group: GroupArgument,
    *,
    which: Named,
    pinned: Annotated[bool, typer.Option("--pinned", help="Also what is pinned.")] = False,
    files: Annotated[
        bool, typer.Option("--files", help="Also the blobs that nothing else uses.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Clear entries: by key, by filter, or all.

    They go into the trash, from where `motools cache undelete` brings them
    back. Once the settings' trash_days have passed, `motools cache prune` deletes
    them for good. What goes is listed first; what cost money is marked as paid.
    """
    cache = _open(cache_dir)
    entries = which.entries(cache, group.value)
    if not pinned:
        entries, kept = catalogue.pinned_apart(cache, entries)
        if kept:
            output.say(f"{output.count(len(kept), 'entry')} stay: pinned (--pinned clears them)")
    plan = removal.plan(cache, entries, files=files)
    output.emit(*tables.entry_rows(plan.entries, None), style)
    output.say(_described(cache, plan))
    if dry_run or not entries:
        return
    get_consent("Clear this?", yes=yes)
    removed = catalogue.clear(cache, plan)
    output.say(
        f"cleared {output.count(removed.entries, 'entry')} and "
        f"{output.count(removed.blobs, 'blob')}: {output.size(removed.bytes_freed)} are freed by "
        f"the first `motools cache prune` in {cache.settings.trash_days:g} days or later; until "
        "then `motools cache undelete` brings them back"
    )


@app.command(cls=LightCommand)
@expanded
def undelete(
    which: Which,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that is in the trash.")] = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Bring cleared entries back, with their blobs."""
    cache = _open(cache_dir)
    entries = which.some(cache, everything=everything, trash=True)
    catalogue.undelete(cache, entries)
    output.emit(*tables.entry_rows(entries, None), style)
    output.say(f"brought {output.count(len(entries), 'entry')} back")


@app.command(cls=LightCommand)
def reindex(cache_dir: CacheDir = None, style: Style = Format.TABLE) -> None:
    """Make the database again from the documents.

    Only leases and statistics are not in them. A database that cannot be read
    is moved to quarantine/ first. Documents that cannot be used are named and
    left alone.
    """
    from motools.cache.reindex import reindex as make_again
    from motools.settings import Settings

    settings = Settings.load(cache_dir=None if cache_dir is None else str(cache_dir))
    found = make_again(Path(settings.cache_dir).expanduser().absolute(), settings=settings)
    row = {
        "entries": found.entries,
        "jobs": found.jobs,
        "marks": found.marks,
        "problems": [{"document": p.name, "reason": p.reason} for p in found.problems],
        "damaged": None if found.damaged is None else str(found.damaged),
    }
    problems = "\n".join(f"{p.name}: {p.reason}" for p in found.problems) or "none"
    output.emit_one(row, {"problems": lambda _: problems}, style)
    if found.problems:
        raise typer.Exit(ExitCode.PROBLEMS_FOUND)


def _open(cache_dir: Path | None) -> Cache:
    return Cache.open(cache_dir, create=False)


def _health(cache: Cache) -> Iterator[str]:
    """What the last verifications came to, a sentence each."""
    from motools.remotes.registry import Registry
    from motools.upkeep.health import health

    last = health(cache)
    if last is None:
        yield "never verified: `motools cache verify` looks whether all is there"
    else:
        yield _looked(last, "verified")
    for name, url in sorted(Registry.of(cache.root).urls.items()):
        if (of_remote := health(cache, url)) is not None:
            yield _looked(of_remote, f"remote {name}: verified")


def _looked(last: Health, what: str) -> str:
    how = f"{output.size(last.bytes)} read" if last.bytes else "bytes not read"
    found = f"{output.count(last.entries, 'entry')}, {output.count(last.blobs, 'blob')}, {how}"
    bad = f"{output.count(last.bad, 'thing')} wrong" if last.bad else "all was well"
    return f"{what} {output.age(last.at)} ago ({found}): {bad}"


def _described(cache: Cache, plan: RemovalPlan) -> str:
    """What a plan would do, in a sentence."""
    paid = [entry for entry in plan.entries if EntryRecord.of(entry).paid]
    currency = cache.settings.currency
    parts = [
        f"{output.count(len(plan.entries), 'entry')}, {output.count(len(plan.blobs), 'blob')} "
        f"of {output.size(plan.bytes_freed)}",
        f"making them again takes {output.duration(plan.seconds_to_remake)}",
    ]
    if paid:
        cost = output.money(plan.cost_to_remake)
        parts.append(f"{len(paid)} cost money: {cost} {currency}, as far as it is known")
    return "; ".join(parts)
