"""``motools cache pin``, ``tag``, ``note``: say something of entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cache.marks import NOTE, PIN, TAG
from motools.cli import output, tables
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, Key, Style
from motools.cli.output import Format
from motools.cli.which import Which, expanded

_TagName: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The tag.")]
_LONGEST_TAG: Final = 100


def add_to(app: typer.Typer) -> None:
    """Give a group of commands these."""
    for command in (pin, unpin, tag, untag, note):
        app.command(cls=LightCommand)(command)


@dataclass(frozen=True, kw_only=True)
class _Marking(Which):
    """Which entries something is said of, and how that is told."""

    cache_dir: CacheDir = None
    style: Style = Format.TABLE

    def mark(self, name: str, done: str) -> None:
        """Say it, and tell how many had not been said it of."""
        self._change(lambda cache, keys: cache.marks.set_many(keys, name), done)

    def unmark(self, name: str, done: str) -> None:
        """Take it back, and tell of how many."""
        self._change(lambda cache, keys: cache.marks.drop_many(keys, name), done)

    def _change(self, change: Callable[[Cache, list[str]], int], done: str) -> None:
        cache = Cache.open(self.cache_dir, create=False)
        if not self.narrowed:
            raise typer.BadParameter("give keys, or filters such as --tag and --sweep")
        entries = self.entries(cache)
        count = change(cache, [entry.key for entry in entries])
        output.emit(*tables.entry_rows(entries, None), self.style)
        output.say(done.format(output.count(count, "entry")))


@expanded
def pin(which: _Marking) -> None:
    """Keep entries from being pruned, and from being cleared by accident."""
    which.mark(PIN, "pinned {}")


@expanded
def unpin(which: _Marking) -> None:
    """Take the pin off entries."""
    which.unmark(PIN, "unpinned {}")


@expanded
def tag(name: _TagName, which: _Marking) -> None:
    """Give entries a tag, by which lists and other commands find them."""
    which.mark(TAG + _checked(name), f"tagged {{}} {_quoted(name)}")


@expanded
def untag(name: _TagName, which: _Marking) -> None:
    """Take a tag off entries."""
    which.unmark(TAG + _checked(name), f"took {_quoted(name)} off {{}}")


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


def _checked(name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_TAG:
        raise typer.BadParameter(
            f"{name!r} is no tag: give up to {_LONGEST_TAG} readable characters"
        )
    return name


def _quoted(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")
