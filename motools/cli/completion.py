"""Completion of keys in a shell."""

from __future__ import annotations

from typing import Final

import typer

from motools.errors import MotoolsError

_MOST: Final = 50


def complete_key(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Keys that begin so, newest first, each with what it is.

    A shell shows completions in the middle of a line, where an error would
    only be in the way: without a readable cache there are none.
    """
    from motools.cache.cache import Cache
    from motools.cache.records import GROUPS, EntryRecord

    kind = GROUPS.get(str(ctx.params.get("group")))
    state = "trash" if ctx.command.name == "undelete" else "live"
    try:
        cache = Cache.open(ctx.params.get("cache_dir"), create=False)
        entries = cache.index.select(kind=kind, state=state)
    except MotoolsError:
        return []
    fitting = [entry for entry in entries if entry.key.startswith(incomplete.lower())][:_MOST]
    return [(e.key[:16], f"{e.kind} {EntryRecord.of(e).name}") for e in fitting]
