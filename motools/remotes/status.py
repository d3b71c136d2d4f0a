"""How a cache and a remote stand to one another."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from motools.cache.cache import Cache
from motools.cache.memo import BATCH
from motools.cache.selection import Selection
from motools.remotes.index import in_parts
from motools.remotes.remote import Remote
from motools.remotes.selected import here
from motools.remotes.selected import there as there_are

_RANK: Final = {"live": 0, "released": 1}


@dataclass(frozen=True, order=True)
class Diverged:
    """One generation of a key with different results here and there. Each side keeps its own.

    Attributes:
        key: the key.
        generation: which of its generations.
        here: checksum of the one that is kept here.
        there: checksums of those in the remote.
    """

    key: str
    generation: int
    here: str
    there: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """What each side has that the other has not.

    Attributes:
        ahead: keys of which the remote lacks a generation or its bytes, oldest first.
        behind: keys of which this cache lacks a generation or its bytes.
        same: keys that are the same on both sides.
        released: keys whose bytes were given up here and are there; they count as the same.
        cleared: keys that are in the trash here, and there.
        diverged: generations with different results.
    """

    ahead: tuple[str, ...]
    behind: tuple[str, ...]
    same: int
    released: tuple[str, ...]
    cleared: tuple[str, ...]
    diverged: tuple[Diverged, ...]


def compare(cache: Cache, remote: Remote, selection: Selection | None = None) -> Status:
    """How the entries of a cache and a remote's index stand to one another.

    Args:
        cache: this side.
        remote: the other, its index as last read.
        selection: which entries are looked at; None: all.
    """
    selection = selection or Selection()
    there: dict[tuple[str, int], dict[str, str]] = {}
    for key, generation, checksum, state in remote.index.generations(selection.keys):
        variants = there.setdefault((key, generation), {})
        variants[checksum] = min(state, variants.get(checksum, state), key=_rank)
    ahead: dict[str, None] = {}
    behind: dict[str, None] = {}
    every: dict[str, None] = {}
    released: dict[str, None] = {}
    cleared: dict[str, None] = {}
    diverged = []
    for key, generation, checksum, state in _generations(cache, selection.keys):
        variants = there.pop((key, generation), {})
        if state == "trash":
            if variants:
                cleared[key] = None
            continue
        every[key] = None
        if variants.keys() - {checksum}:
            diverged.append(Diverged(key, generation, checksum, tuple(sorted(variants))))
        if not variants or (variants.get(checksum) == "released" and state == "live"):
            ahead[key] = None
        elif state == "remote" and checksum in variants:
            behind[key] = None
        elif state == "released" and variants.get(checksum) == "live":
            released[key] = None
    for key, _ in there:
        behind[key] = None
    every.update(behind)
    unlike = {*ahead, *behind, *(d.key for d in diverged)}
    unlike_here = set(here(cache, selection, dict.fromkeys(d.key for d in diverged)))
    return Status(
        here(cache, selection, ahead),
        there_are(cache, remote.index, selection, behind),
        len(here(cache, selection, (key for key in every if key not in unlike))),
        here(cache, selection, released),
        there_are(cache, remote.index, selection, cleared),
        tuple(d for d in diverged if d.key in unlike_here),
    )


def _generations(cache: Cache, keys: Collection[str] | None) -> Iterator[tuple[Any, ...]]:
    """Key, number, checksum and state of each generation that is here, oldest first."""
    columns, order = "key, generation, checksum, state", "created_at, key, generation"
    if keys is None:
        yield from cache.database.read(f"SELECT {columns} FROM entries ORDER BY {order}")
        return
    for part in in_parts(sorted(keys), BATCH):
        yield from cache.database.read(
            f"SELECT {columns} FROM entries WHERE key IN ({','.join('?' * len(part))}) "
            f"ORDER BY {order}",
            part,
        )


def _rank(state: str) -> int:
    return _RANK.get(state, len(_RANK))
