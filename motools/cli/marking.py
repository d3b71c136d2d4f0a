"""``motools cache pin``, ``tag``, ``note``: say something of entries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cache.catalogue import Selection
from motools.cache.entry import Entry
from motools.cache.marks import NOTE, PIN, TAG
from motools.cli import output, tables
from motools.cli.completion import complete_key
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, Key, Keys, Style, Tags
from motools.cli.output import Format
from motools.errors import KeyNotFoundError

_SweepFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--sweep", metavar="FILE", help="All entries of this sweep."),
]
_TagName: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The tag.")]
_SomeKeys: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY",
        help="Keys, or beginnings of keys; of datasets also hashes and file ids.",
        autocompletion=complete_key,
    ),
]
_LONGEST_TAG: Final = 100


def add_to(app: typer.Typer) -> None:
    """Give a group of commands these."""
    for command in (pin, unpin, tag, untag, note):
        app.command(cls=LightCommand)(command)


def pin(
    keys: Keys = None,
    *,
    tag: Tags = None,
    sweep: _SweepFile = None,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Keep entries from being pruned, and from being cleared by accident."""
    cache = Cache.open(cache_dir, create=False)
    entries = _meant(cache, keys, tag, sweep)
    count = cache.marks.set_many([entry.key for entry in entries], PIN)
    _tell(entries, style, f"pinned {output.count(count, 'entry')}")


def unpin(
    keys: Keys = None,
    *,
    tag: Tags = None,
    sweep: _SweepFile = None,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Take the pin off entries."""
    cache = Cache.open(cache_dir, create=False)
    entries = _meant(cache, keys, tag, sweep)
    count = cache.marks.drop_many([entry.key for entry in entries], PIN)
    _tell(entries, style, f"unpinned {output.count(count, 'entry')}")


def tag(
    name: _TagName, keys: _SomeKeys, *, cache_dir: CacheDir = None, style: Style = Format.TABLE
) -> None:
    """Give entries a tag, by which lists and other commands find them."""
    cache = Cache.open(cache_dir, create=False)
    entries = catalogue.pick(cache, keys, Selection())
    count = cache.marks.set_many([entry.key for entry in entries], TAG + _checked(name))
    _tell(entries, style, f"tagged {output.count(count, 'entry')} {name}")


def untag(
    name: _TagName, keys: _SomeKeys, *, cache_dir: CacheDir = None, style: Style = Format.TABLE
) -> None:
    """Take a tag off entries."""
    cache = Cache.open(cache_dir, create=False)
    entries = catalogue.pick(cache, keys, Selection())
    count = cache.marks.drop_many([entry.key for entry in entries], TAG + _checked(name))
    _tell(entries, style, f"took {name} off {output.count(count, 'entry')}")


def note(
    key: Key,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note; empty: none any more.")],
    *,
    cache_dir: CacheDir = None,
) -> None:
    """Write a note on an entry, in place of the one it had."""
    cache = Cache.open(cache_dir, create=False)
    entry = catalogue.find(cache, key)
    if text:
        cache.marks.set(entry.key, NOTE, text)
    else:
        cache.marks.drop(entry.key, NOTE)
    output.say(f"{'noted on' if text else 'no note on'} {entry.kind} {entry.key[:12]}")


def _meant(
    cache: Cache, keys: list[str] | None, tags: list[str] | None, sweep: Path | None
) -> list[Entry]:
    """The entries that were named in one way or another."""
    if not (keys or tags or sweep):
        raise typer.BadParameter("give keys, --tag or --sweep")
    found = catalogue.pick(cache, keys or [], Selection())
    if tags:
        found += catalogue.select(cache, Selection(tags=tags))
    if sweep is not None:
        found += _of_sweep(cache, sweep)
    if not found:
        raise KeyNotFoundError("no entry fits. Nothing was changed")
    return list({entry.key: entry for entry in found}.values())


def _of_sweep(cache: Cache, file: Path) -> list[Entry]:
    """The entries that the steps of a sweep have by now."""
    from motools.sweeps import document
    from motools.sweeps.planner import make_plan

    steps = make_plan(document.read(file), cache).steps
    return [step.entry for step in steps if step.entry is not None]


def _checked(name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_TAG:
        raise typer.BadParameter(
            f"{name!r} is no tag: give up to {_LONGEST_TAG} readable characters"
        )
    return name


def _tell(entries: list[Entry], style: Format, message: str) -> None:
    output.emit(*tables.entry_rows(entries, None), style)
    output.say(message)
