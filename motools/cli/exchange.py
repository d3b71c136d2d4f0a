"""``motools cache push``, ``pull``, ``sync`` and ``status``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from motools.cache.cache import Cache
from motools.cache.selection import Selection
from motools.cli import output, transfer
from motools.cli.exits import ExitCode
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, DryRun, RemoteName, Style
from motools.cli.output import Column, Format, Row
from motools.cli.which import Which, expanded

if TYPE_CHECKING:
    from motools.remotes import Diverged, Pulled, Pushed, Remote, Status
    from motools.remotes.progress import Progress

_LISTED: Final = (Column("status"), Column("key", output.short), Column("why"))
_STATUSES: Final = {
    "ahead": "only here",
    "behind": "only there",
    "diverged": "diverged",
    "released": "bytes only there",
    "cleared": "cleared here",
    "removed": "removed there",
    "elsewhere": "elsewhere",
}
"""How a key may differ, and what people read for it."""


@dataclass(frozen=True, kw_only=True)
class _Exchange(Which):
    """Which entries, with which remote, and how that is told."""

    remote: RemoteName = None
    cache_dir: CacheDir = None
    style: Style = Format.TABLE

    def opened(self) -> tuple[Cache, Remote, Selection]:
        """Both sides, and what of them is meant."""
        from motools.remotes import open_remote

        cache = Cache.open(self.cache_dir, create=False)
        place = open_remote(cache, self.remote)
        return cache, place, self.meant(cache, place)


def add_to(app: typer.Typer) -> None:
    """Give a group of commands these."""
    for command in (push, pull, sync, status):
        app.command(cls=LightCommand)(command)


@expanded
def push(which: _Exchange, *, dry_run: DryRun = False) -> None:
    """Send entries that a remote lacks, with their files.

    What is there already is not sent again, also after a push that was
    interrupted.
    """
    from motools.remotes import push as send

    cache, place, selection = which.opened()
    if dry_run:
        _announce(cache, place, selection, ("ahead",), which.style)
        return
    began = time.monotonic()
    with transfer.shown() as progress:
        pushed = send(cache, place, selection, progress=progress)
    if which.style is not Format.TABLE:
        output.emit_one(_push_row(place, pushed), {}, which.style)
    there = f", {output.size(pushed.bytes_there)} were there" if pushed.bytes_there else ""
    _tell(place, began, [_pushed(pushed) + there + _withheld(pushed)], pushed.diverged)
    _end(pushed.problems, pushed.diverged)


@expanded
def pull(which: _Exchange, *, dry_run: DryRun = False) -> None:
    """Take over entries from a remote, with their files.

    Every byte is checked on arrival. An entry of which another result is kept
    here is reported as diverged, and the one here stays.
    """
    cache, place, selection = which.opened()
    if dry_run:
        _announce(cache, place, selection, ("behind",), which.style)
        return
    began = time.monotonic()
    with transfer.shown() as progress:
        pulled = _receive(cache, place, which, selection, progress)
    if which.style is not Format.TABLE:
        output.emit_one(_pull_row(place, pulled), {}, which.style)
    _tell(place, began, [_pulled(pulled)], pulled.diverged)
    _end(pulled.problems, pulled.diverged)


@expanded
def sync(which: _Exchange, *, dry_run: DryRun = False) -> None:
    """Pull, then push: afterwards both sides have the same entries."""
    from motools.remotes import push as send

    cache, place, selection = which.opened()
    if dry_run:
        _announce(cache, place, selection, ("ahead", "behind"), which.style)
        return
    began = time.monotonic()
    with transfer.shown() as progress:
        pulled = _receive(cache, place, which, selection, progress)
        pushed = send(cache, place, which.meant(cache, place), progress=progress)
    if which.style is not Format.TABLE:
        output.emit([_pull_row(place, pulled), _push_row(place, pushed)], (), which.style)
    _tell(place, began, [_pulled(pulled), _pushed(pushed) + _withheld(pushed)], pulled.diverged)
    _end({**pulled.problems, **pushed.problems}, pulled.diverged)


@expanded
def status(
    which: _Exchange,
    *,
    listed: Annotated[
        bool, typer.Option("--list", "-l", help="Every key that is not the same on both sides.")
    ] = False,
) -> None:
    """Compare the cache with a remote.

    Nothing is transferred but the list of what the remote has.
    """
    from motools.remotes import compare

    cache, place, selection = which.opened()
    found = compare(cache, place, selection)
    if listed:
        output.emit(_rows(found, _STATUSES), _LISTED, which.style)
    else:
        counts = {name: len(getattr(found, name)) for name in _STATUSES}
        row = {"remote": place.name, "url": place.url, "same": found.same, **counts}
        columns = [Column(name, title=_STATUSES.get(name, ""), right=name != "url") for name in row]
        output.emit([row], columns[:1] + columns[2:], which.style)
    if found.diverged:
        output.say(_also_diverged(found.diverged).removeprefix("; "))


def _receive(
    cache: Cache, place: Remote, which: _Exchange, selection: Selection, progress: Progress
) -> Pulled:
    """Pull, and again what a sweep turns out to mean once its models are here."""
    from motools.remotes import pull

    pulled = pull(cache, place, selection, progress=progress)
    while which.sweep is not None and pulled.entries:
        before, selection = selection, which.meant(cache, place)
        if selection == before:
            break
        pulled = pulled.followed_by(pull(cache, place, selection, progress=progress))
    return pulled


def _announce(
    cache: Cache, place: Remote, selection: Selection, ways: tuple[str, ...], style: Format
) -> None:
    from motools.remotes import compare

    found = compare(cache, place, selection)
    output.emit(_rows(found, ways), _LISTED, style)
    verbs = {"ahead": "pushed", "behind": "pulled"}
    counts = (f"{output.count(len(getattr(found, w)), 'entry')} {verbs[w]}" for w in ways)
    output.say(f"{place.name}: would have {', '.join(counts)}{_also_diverged(found.diverged)}")


def _rows(found: Status, ways: Iterable[str]) -> list[Row]:
    rows: list[Row] = []
    for way in ways:
        if way == "diverged":
            rows += ({"status": way, "key": d.key, "why": _why(d)} for d in found.diverged)
        elif way == "removed":
            rows += ({"status": way, "key": k, "why": f"generation {n}"} for k, n in found.removed)
        else:
            rows += ({"status": way, "key": k, "why": None} for k in getattr(found, way))
    return rows


def _why(diverged: Diverged) -> str:
    there = ", ".join(checksum[:12] for checksum in diverged.there)
    return f"generation {diverged.generation}: {diverged.here[:12]} here, {there} there"


def _tell(place: Remote, began: float, did: list[str], diverged: tuple[Diverged, ...]) -> None:
    took = output.duration(time.monotonic() - began)
    output.say(f"{place.name}: {', '.join(did)} in {took}{_also_diverged(diverged)}")


def _pushed(pushed: Pushed) -> str:
    return f"pushed {_amount(pushed.entries, pushed.bytes_sent)}{_also_marks(pushed.marks)}"


def _pulled(pulled: Pulled) -> str:
    return f"pulled {_amount(pulled.entries, pulled.bytes_received)}{_also_marks(pulled.marks)}"


def _push_row(place: Remote, pushed: Pushed) -> Row:
    return _row("push", place, pushed) | {"bytes": pushed.bytes_sent}


def _pull_row(place: Remote, pulled: Pulled) -> Row:
    return _row("pull", place, pulled) | {"bytes": pulled.bytes_received}


def _row(did: str, place: Remote, done: Pushed | Pulled) -> dict[str, object]:
    return {
        "did": did,
        "remote": place.name,
        "entries": list(done.entries),
        "blobs": done.blobs,
        "bytes": 0,
        "marks": done.marks,
        "diverged": [d.key for d in done.diverged],
        "problems": done.problems,
    }


def _amount(entries: tuple[str, ...], count: int) -> str:
    return f"{output.count(len(entries), 'entry')} ({output.size(count)})"


def _also_marks(count: int) -> str:
    return f" and {output.count(count, 'mark')}" if count else ""


def _withheld(pushed: Pushed) -> str:
    removed, elsewhere = len(pushed.removed), len(pushed.elsewhere)
    said = f", {removed} were removed there (name them to send them)" if removed else ""
    if elsewhere:
        said += f", {elsewhere} are in another remote alone (pull them from there first)"
    return said


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
