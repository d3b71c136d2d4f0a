"""``motools cache push``, ``pull``, ``sync`` and ``status``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from motools.cache.cache import Cache
from motools.cache.records import GROUPS
from motools.cli import output, transfer
from motools.cli.exits import ExitCode
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, Keys, ModelIds, Since, Style, TaskIds, Until
from motools.cli.output import Column, Format, Row

if TYPE_CHECKING:
    from motools.remotes import Choice, Diverged, Pulled, Pushed, Remote, Standing

RemoteName: TypeAlias = Annotated[
    str | None,
    typer.Option("--remote", "-r", metavar="NAME", help="Which remote; by default the default."),
]
Kind: TypeAlias = Annotated[
    str | None, typer.Option("--kind", metavar="GROUP", help=f"Only of: {', '.join(GROUPS)}.")
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be transferred, and stop.")
]
_LISTED: Final = (Column("standing"), Column("key", output.short), Column("why"))


def add_to(app: typer.Typer) -> None:
    """Give a group of commands these."""
    for command in (push, pull, sync, status):
        app.command(cls=LightCommand)(command)


def push(
    keys: Keys = None,
    *,
    remote: RemoteName = None,
    kind: Kind = None,
    model_id: ModelIds = None,
    task_id: TaskIds = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Send entries that a remote lacks, with their files.

    What is there already is not sent again, also after a push that was
    interrupted.
    """
    from motools.remotes import push as send

    cache, place, choice = _opened(
        cache_dir,
        remote,
        _choice(keys=keys, kind=kind, model_id=model_id, task_id=task_id, since=since, until=until),
    )
    if dry_run:
        _announce(cache, place, choice, ("ahead",), style)
        return
    began = time.monotonic()
    with transfer.shown() as progress:
        pushed = send(cache, place, choice, progress=progress)
    _report_push(place, pushed, time.monotonic() - began, style)
    _end(pushed.problems, pushed.diverged)


def pull(
    keys: Keys = None,
    *,
    remote: RemoteName = None,
    kind: Kind = None,
    model_id: ModelIds = None,
    task_id: TaskIds = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Take over entries from a remote, with their files.

    Every byte is checked on arrival. An entry of which another result is kept
    here is reported as diverged, and the one here stays.
    """
    from motools.remotes import pull as receive

    cache, place, choice = _opened(
        cache_dir,
        remote,
        _choice(keys=keys, kind=kind, model_id=model_id, task_id=task_id, since=since, until=until),
    )
    if dry_run:
        _announce(cache, place, choice, ("behind",), style)
        return
    began = time.monotonic()
    with transfer.shown() as progress:
        pulled = receive(cache, place, choice, progress=progress)
    _report_pull(place, pulled, time.monotonic() - began, style)
    _end(pulled.problems, pulled.diverged)


def sync(
    keys: Keys = None,
    *,
    remote: RemoteName = None,
    kind: Kind = None,
    model_id: ModelIds = None,
    task_id: TaskIds = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Pull, then push: afterwards both sides have the same entries."""
    from motools.remotes import pull as receive
    from motools.remotes import push as send

    cache, place, choice = _opened(
        cache_dir,
        remote,
        _choice(keys=keys, kind=kind, model_id=model_id, task_id=task_id, since=since, until=until),
    )
    if dry_run:
        _announce(cache, place, choice, ("ahead", "behind"), style)
        return
    began = time.monotonic()
    with transfer.shown() as progress:
        pulled = receive(cache, place, choice, progress=progress)
        pushed = send(cache, place, choice, progress=progress)
    seconds = time.monotonic() - began
    if style is not Format.TABLE:
        output.emit([_pull_row(place, pulled), _push_row(place, pushed)], (), style)
    diverged = _also_diverged(pulled.diverged)
    output.say(
        f"{place.name}: pulled {_amount(pulled.entries, pulled.bytes_received)}, pushed "
        f"{_amount(pushed.entries, pushed.bytes_sent)} in {output.duration(seconds)}{diverged}"
    )
    _end({**pulled.problems, **pushed.problems}, pulled.diverged)


def status(
    keys: Keys = None,
    *,
    remote: RemoteName = None,
    kind: Kind = None,
    model_id: ModelIds = None,
    task_id: TaskIds = None,
    since: Since = None,
    until: Until = None,
    listed: Annotated[
        bool, typer.Option("--list", "-l", help="Every key that is not the same on both sides.")
    ] = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Compare the cache with a remote.

    Nothing is transferred but the list of what the remote has.
    """
    from motools.remotes import compare

    cache, place, choice = _opened(
        cache_dir,
        remote,
        _choice(keys=keys, kind=kind, model_id=model_id, task_id=task_id, since=since, until=until),
    )
    standing = compare(cache, place, choice)
    if listed:
        output.emit(_rows(standing, _STANDINGS), _LISTED, style)
    else:
        counts = {name: len(getattr(standing, name)) for name in _STANDINGS}
        row = {"remote": place.name, "url": place.url, "same": standing.same, **counts}
        columns = [
            Column(name, title=_STANDINGS.get(name, ""), right=name != "url") for name in row
        ]
        output.emit([row], columns[:1] + columns[2:], style)
    if standing.diverged:
        output.say(_also_diverged(standing.diverged).removeprefix("; "))


_STANDINGS: Final = {
    "ahead": "only here",
    "behind": "only there",
    "diverged": "diverged",
    "released": "bytes only there",
    "cleared": "cleared here",
}
"""How a key may differ, and what people read for it."""


def _choice(
    *,
    keys: list[str] | None,
    kind: str | None,
    model_id: list[str] | None,
    task_id: list[str] | None,
    since: float | None,
    until: float | None,
) -> Choice | None:
    from motools.remotes import Choice

    if kind is not None and kind not in GROUPS:
        raise typer.BadParameter(f"--kind is one of {', '.join(GROUPS)}, not {kind!r}")
    labels = {"model_id": model_id, "task_id": task_id}
    asked = tuple((name, tuple(values)) for name, values in labels.items() if values)
    choice = Choice(
        [key.lower() for key in keys or ()] or None, GROUPS.get(kind or ""), asked, since, until
    )
    return None if choice == Choice() else choice


def _opened(
    cache_dir: Path | None, name: str | None, choice: Choice | None
) -> tuple[Cache, Remote, Choice | None]:
    from motools.remotes import open_remote

    cache = Cache.open(cache_dir, create=False)
    place = open_remote(cache, name)
    if choice is not None:
        choice.check_keys(cache, place.index)
    return cache, place, choice


def _announce(
    cache: Cache, place: Remote, choice: Choice | None, ways: Iterable[str], style: Format
) -> None:
    from motools.remotes import compare

    standing = compare(cache, place, choice)
    ways = tuple(ways)
    output.emit(_rows(standing, ways), _LISTED, style)
    verbs = {"ahead": "pushed", "behind": "pulled"}
    counts = (f"{output.count(len(getattr(standing, w)), 'entry')} {verbs[w]}" for w in ways)
    output.say(f"{place.name}: would have {', '.join(counts)}{_also_diverged(standing.diverged)}")


def _rows(standing: Standing, ways: Iterable[str]) -> list[Row]:
    rows: list[Row] = []
    for way in ways:
        if way == "diverged":
            rows += ({"standing": way, "key": d.key, "why": _why(d)} for d in standing.diverged)
        else:
            rows += ({"standing": way, "key": k, "why": None} for k in getattr(standing, way))
    return rows


def _why(diverged: Diverged) -> str:
    there = ", ".join(checksum[:12] for checksum in diverged.there)
    return f"generation {diverged.generation}: {diverged.here[:12]} here, {there} there"


def _report_push(place: Remote, pushed: Pushed, seconds: float, style: Format) -> None:
    if style is not Format.TABLE:
        output.emit_one(_push_row(place, pushed), {}, style)
    there = f", {output.size(pushed.bytes_there)} were there" if pushed.bytes_there else ""
    output.say(
        f"{place.name}: pushed {_amount(pushed.entries, pushed.bytes_sent)} in "
        f"{output.duration(seconds)}{there}{_also_diverged(pushed.diverged)}"
    )


def _report_pull(place: Remote, pulled: Pulled, seconds: float, style: Format) -> None:
    if style is not Format.TABLE:
        output.emit_one(_pull_row(place, pulled), {}, style)
    output.say(
        f"{place.name}: pulled {_amount(pulled.entries, pulled.bytes_received)} in "
        f"{output.duration(seconds)}{_also_diverged(pulled.diverged)}"
    )


def _push_row(place: Remote, pushed: Pushed) -> Row:
    return {
        "did": "push",
        "remote": place.name,
        "entries": list(pushed.entries),
        "blobs": pushed.blobs,
        "bytes": pushed.bytes_sent,
        "diverged": [d.key for d in pushed.diverged],
        "problems": pushed.problems,
    }


def _pull_row(place: Remote, pulled: Pulled) -> Row:
    return {
        "did": "pull",
        "remote": place.name,
        "entries": list(pulled.entries),
        "blobs": pulled.blobs,
        "bytes": pulled.bytes_received,
        "diverged": [d.key for d in pulled.diverged],
        "problems": pulled.problems,
    }


def _amount(entries: tuple[str, ...], count: int) -> str:
    return f"{output.count(len(entries), 'entry')} ({output.size(count)})"


def _also_diverged(diverged: tuple[Diverged, ...]) -> str:
    if not diverged:
        return ""
    return (
        f"; {len(diverged)} diverged: each side keeps its own result "
        "(`motools cache status --list` names them)"
    )


def _end(problems: dict[str, str], diverged: tuple[Diverged, ...]) -> None:
    for key, why in problems.items():
        output.say(f"{key[:12]}: {why}")
    if problems or diverged:
        raise typer.Exit(ExitCode.PROBLEMS_FOUND)
