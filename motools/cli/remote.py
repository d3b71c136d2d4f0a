"""``motools cache remote``: the places that a cache exchanges entries with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cli import output
from motools.cli.consent import get_consent
from motools.cli.exits import explained
from motools.cli.light import LightCommand, LightGroup
from motools.cli.options import CacheDir, DryRun, Style, Yes
from motools.cli.output import Column, Format, Row
from motools.cli.which import Which, expanded

if TYPE_CHECKING:
    from motools.remotes import PrunePlan, Remote

_PLAN: Final = (
    Column("will"),
    Column("object", output.short),
    Column("bytes", output.size, right=True),
)

app = typer.Typer(
    cls=LightGroup,
    help="The places that the cache exchanges entries with.",
    epilog=explained(),
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The remote's name.")]


@app.command(cls=LightCommand)
def add(
    name: Name,
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="A path, or any URL that fsspec knows: s3://bucket/x."),
    ],
    cache_dir: CacheDir = None,
) -> None:
    """Give a place a name, and make it a remote if it is none. The first one is the default.

    Credentials never are in the URL: they come from where the storage's own
    tools take them.
    """
    from motools.remotes import add_remote

    remote = add_remote(Cache.open(cache_dir), name, url)
    entries = output.count(remote.index.totals()["entries"], "entry")
    how = "which is a new remote" if remote.new else f"with {entries}"
    output.say(f"{name} is {remote.url}, {how}")


@app.command("list", cls=LightCommand)
def list_remotes(cache_dir: CacheDir = None, style: Style = Format.TABLE) -> None:
    """List the remotes."""
    from motools.remotes.registry import Registry

    known = Registry.of(Cache.open(cache_dir, create=False).root)
    rows = [
        {"name": name, "url": url, "default": name == known.default}
        for name, url in known.urls.items()
    ]
    columns = (
        Column("name"),
        Column("url"),
        Column("default", lambda chosen: "default" if chosen else "", " "),
    )
    output.emit(rows, columns, style)
    if not rows:
        output.say("no remotes: `motools cache remote add NAME URL` makes one")


@app.command(cls=LightCommand)
def remove(name: Name, cache_dir: CacheDir = None) -> None:
    """Forget a remote. What is there stays there."""
    from motools.remotes import registry

    registry.remove(Cache.open(cache_dir, create=False).root, name)
    output.say(f"{name} is forgotten; what is there stays")


@app.command(cls=LightCommand)
def default(name: Name, cache_dir: CacheDir = None) -> None:
    """Have a remote used where none is named."""
    from motools.remotes import registry

    registry.set_default(Cache.open(cache_dir, create=False).root, name)
    output.say(f"{name} is the default")


@app.command(cls=LightCommand)
def probe(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The remote; by default the default.")
    ] = None,
    *,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Ask whether a remote can be reached, and what is in it."""
    from motools.remotes import open_remote

    began = time.monotonic()
    remote = open_remote(Cache.open(cache_dir, create=False), name)
    row = {
        "name": remote.name,
        "url": remote.url,
        "id": remote.id,
        **remote.index.totals(),
        "seconds": time.monotonic() - began,
    }
    output.emit_one(row, {"seconds": output.duration, "bytes": output.size}, style)


@app.command(cls=LightCommand)
@expanded
def prune(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The remote; by default the default.")
    ] = None,
    *,
    which: Which,
    grace: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="HOURS",
            help="How long it was doomed before it goes; MUST be longer than any push or prune "
            "takes.",
        ),
    ] = 24.0,
    dry_run: DryRun = False,
    yes: Yes = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Delete what no entry in a remote needs, beside others who push and pull.

    What is found now is doomed, and deleted by the first prune after the
    grace period. Uploads that were begun that long ago and never finished go
    at once. Entries go only if keys or filters say which: they are removed for
    everybody, and who has them pushes them again only by name.
    """
    from motools.remotes import open_remote, plan_prune
    from motools.remotes import prune as carry_out

    cache = Cache.open(cache_dir, create=False)
    remote = open_remote(cache, name)
    remove = _to_remove(cache, remote, which) if which.narrowed else []
    plan = plan_prune(remote, grace=grace * 3600, remove=remove)
    output.emit(_rows(plan), _PLAN, style)
    if plan.missing:
        output.say(
            f"{remote.name} lacks {output.count(len(plan.missing), 'object')} that its index "
            f"names, or parts of them: `motools cache verify --remote {remote.name}` says which "
            "entries need them"
        )
    if remove:
        cost = output.money(sum(entry.cost or 0.0 for entry in remove))
        output.say(
            f"{output.count(len(remove), 'entry')} would be removed for everybody; making them "
            f"cost {cost} {cache.settings.currency}, as far as it is known"
        )
    if dry_run:
        output.say(f"{remote.name}: {output.size(plan.bytes_freed)} could be freed")
        return
    if remove:
        get_consent(f"Remove them from {remote.name}?", yes=yes)
    elif plan.due or plan.unfinished:
        get_consent(f"Delete {output.size(plan.bytes_now)} from {remote.name}?", yes=yes)
    deleted = carry_out(remote, plan, grace=grace * 3600)
    removed = f"{output.count(len(remove), 'entry')} removed, " if remove else ""
    output.say(
        f"{remote.name}: {removed}{output.count(deleted, 'object')} "
        f"({output.size(plan.bytes_now)}) deleted; "
        f"{output.count(len(plan.doomed), 'object')} "
        f"({output.size(plan.bytes_doomed)}) go with the first prune after {grace:g} h"
    )


def _to_remove(cache: Cache, remote: Remote, which: Which) -> list[Entry]:
    """The entries in a remote that are meant, without what is pinned here."""
    entries, pinned = catalogue.pinned_apart(cache, which.there(cache, remote))
    if pinned:
        output.say(f"{output.count(len(pinned), 'entry')} stay: pinned here")
    return entries


def _rows(plan: PrunePlan) -> list[Row]:
    return [
        *({"will": "be removed", "object": e.key, "bytes": e.size} for e in plan.removed),
        *({"will": "go now", "object": name, "bytes": size} for name, size in plan.due.items()),
        *({"will": "go now", "object": u.name, "bytes": u.size} for u in plan.unfinished),
        *({"will": "be doomed", "object": n, "bytes": size} for n, size in plan.dead.items()),
        *({"will": "be rewritten", "object": n, "bytes": b} for n, b in plan.sparse.items()),
        *({"will": "be rewritten", "object": n, "bytes": b} for n, b in plan.segments.items()),
    ]
