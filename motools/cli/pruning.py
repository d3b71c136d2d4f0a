"""``motools cache prune``: keep the cache within a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.consent import get_consent
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, DryRun, Style, Yes
from motools.cli.output import Column, Format
from motools.cli.which import Which, expanded

if TYPE_CHECKING:
    from motools.cache.removal import Removed
    from motools.upkeep.prune import Pruning

_NAMED: Final = 20
"""Keys that one line names at most."""

_COLUMNS: Final = (
    Column("what"),
    Column("name", output.short),
    Column("kind"),
    Column("title", title="name"),
    Column("size", output.size, right=True),
    Column("duration", output.duration, "took", right=True),
    Column("cost", output.money, right=True),
    Column("created_at", output.age, "age", right=True),
)


def add_to(app: typer.Typer) -> None:
    """Give a group of commands this one."""
    app.command(cls=LightCommand)(prune)


@expanded
def prune(
    which: Which,
    *,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="What all files may take, as in 50GB."),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            "--max-age",
            metavar="AGE",
            help="How long files are kept after they were made or last used, as in 90d.",
        ),
    ] = None,
    paid: Annotated[
        bool, typer.Option("--paid", help="Also the files of what cost money.")
    ] = False,
    spare: Annotated[
        str | None,
        typer.Option(
            "--spare",
            metavar="AGE",
            help="Leave alone what was made or used more recently; by default 1h, or 0s of keys "
            "that are named.",
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Release files that are over the budget, and delete what nobody needs.

    Records stay: scores, costs and digests are kept, and evaluations remain hits.
    Without --max-size or --max-age the settings' budget counts; of entries that
    keys or filters name, all files go, and nothing else does. What was used least
    recently goes first, models before logs; what is pinned stays, and what cost
    money unless --paid is given or its key is. Files are in the trash for the
    settings' trash_days; until then `motools cache undelete` brings them back.
    What has been there for longer goes for good.
    """
    from motools.upkeep import prune as upkeep
    from motools.upkeep.listing import listing
    from motools.upkeep.policy import Policy

    cache = Cache.open(cache_dir, create=False)
    among = {entry.key for entry in which.entries(cache)} if which.narrowed else None
    policy = Policy.given(
        cache.settings.budget if among is None else {"max_size": "0B"},
        max_size=max_size,
        max_age=max_age,
        paid=paid or bool(which.keys),
        spare=spare or ("0s" if which.keys else "1h"),
    )
    pruning = upkeep.plan(cache, policy, among=among)
    output.emit([dataclasses.asdict(each) for each in listing(pruning)], _COLUMNS, style)
    for line in _staying(pruning):
        output.say(line)
    output.say(_described(cache, pruning, None if among else policy.overall.max_size))
    if dry_run or pruning.empty:
        return
    get_consent("Prune this?", yes=yes)
    output.say(_done(cache, upkeep.execute(cache, pruning)))


def _staying(pruning: Pruning) -> Iterator[str]:
    """Which of the named entries stay, and why, a line for each reason."""
    keys: dict[str, list[str]] = {}
    for key, why in pruning.stays.items():
        keys.setdefault(why, []).append(output.short(key))
    for why, some in keys.items():
        more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
        named = ", ".join(some[:_NAMED]) + more
        yield f"{named} {'stays' if len(some) == 1 else 'stay'}: {why}"


def _described(cache: Cache, pruning: Pruning, limit: int | None) -> str:
    """What a prune would do, in a sentence; and why more than a limit stays, if there is one."""
    plan = pruning.removal
    parts = [
        f"releases {_files_of(len(plan.entries))}, and {output.count(len(plan.blobs), 'blob')} "
        f"and {output.count(len(plan.leftovers), 'leftover')} go: "
        f"{output.size(plan.bytes_freed)}",
        f"making them again takes {output.duration(plan.seconds_to_remake)}",
    ]
    if cost := plan.cost_to_remake:
        parts.append(f"{output.money(cost)} {cache.settings.currency}")
    if (old := plan.expired) is not None and (old.entries or old.blobs):
        size, cost = sum(old.blobs.values()), sum(entry.cost or 0.0 for entry in old.entries)
        what = f"{output.count(len(old.entries), 'entry')} and {output.size(size)} of the trash"
        worth = f", which cost {output.money(cost)} {cache.settings.currency}" if cost else ""
        parts.append(f"{what} go for good{worth}")
    if limit is not None and pruning.left > limit:
        parts.append(
            f"{output.size(pruning.left)} stay, more than {output.size(limit)}: they are pinned, "
            "cost money (--paid), are in use, or were used just now (--spare)"
        )
    return "; ".join(parts)


def _done(cache: Cache, removed: Removed) -> str:
    """What a prune did, where that is now, and what can be brought back."""
    parts = [
        f"released {_files_of(removed.entries)}; {output.count(removed.blobs, 'blob')} went: "
        f"{output.size(removed.bytes_freed)}"
    ]
    days = cache.settings.trash_days
    if removed.waiting:
        until = f"for {days:g} days" if days else "until the runs under way have ended"
        parts.append(f"{output.size(removed.waiting)} are in the trash {until}")
    if removed.entries and days:
        parts.append("`motools cache undelete` brings the files of entries back")
    if any(removed.purged):
        entries = output.count(removed.purged.entries, "entry")
        parts.append(f"{entries} and {output.size(removed.purged.bytes)} of the trash are gone")
    return "; ".join(parts)


def _files_of(entries: int) -> str:
    return f"the files of {output.count(entries, 'entry')}"
