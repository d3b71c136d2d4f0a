"""How a cache and a remote stand to one another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from motools.cache.cache import Cache
from motools.cache.memo import BATCH
from motools.cache.selection import Selection
from motools.remotes.accepting import acceptable
from motools.remotes.index import Index, in_parts
from motools.remotes.remote import Remote
from motools.remotes.selected import here, there

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
        ahead: keys of which the remote lacks a generation or its bytes, oldest first; or
            has damaged bytes, as a verification found.
        behind: keys of which this cache lacks a generation or its bytes.
        same: keys that are the same on both sides.
        released: keys whose bytes were given up here and are there; they count as the same.
        cleared: keys that are in the trash here, and there.
        diverged: generations with different results. One there that could not come here, since
            its document is damaged or nobody who is trusted vouches for it, is none.
        removed: keys and generations that are here and were removed from the remote on
            purpose; they are pushed only if they are named.
        elsewhere: keys of which the remote lacks a generation whose files are not here either:
            they are in another remote, and fetched when they are used.
    """

    ahead: tuple[str, ...]
    behind: tuple[str, ...]
    same: int
    released: tuple[str, ...]
    cleared: tuple[str, ...]
    diverged: tuple[Diverged, ...]
    removed: tuple[tuple[str, int], ...] = ()
    elsewhere: tuple[str, ...] = ()


def compare(cache: Cache, remote: Remote, selection: Selection | None = None) -> Status:
    """How the entries of a cache and a remote's index stand to one another.

    Args:
        cache: this side.
        remote: the other, its index as last read.
        selection: which entries are looked at; None: all.
    """
    selection = selection or Selection()
    index = remote.index
    sides = _Sides(index, selection)
    mine = list(_generations(cache, selection.keys))
    others = sides.others(mine)
    sides.leave_out(others - acceptable(cache, remote, {key for key, *_ in others}))
    for key, generation, checksum, state in mine:
        sides.add(key, generation, checksum, state)
    behind = {**sides.behind, **{key: None for key, _ in sides.there}}
    gone = (key for key, _ in sides.removed)
    unlike = {*sides.ahead, *behind, *(d.key for d in sides.diverged), *gone, *sides.elsewhere}
    same = (key for key in {**sides.here, **behind} if key not in unlike)
    diverged = set(here(cache, selection, dict.fromkeys(d.key for d in sides.diverged)))
    removed = set(here(cache, selection, dict.fromkeys(key for key, _ in sides.removed)))
    return Status(
        here(cache, selection, sides.ahead),
        there(cache, index, selection, behind),
        len(here(cache, selection, same)),
        here(cache, selection, sides.released),
        there(cache, index, selection, sides.cleared),
        tuple(d for d in sides.diverged if d.key in diverged),
        tuple(pair for pair in sides.removed if pair[0] in removed),
        here(cache, selection, sides.elsewhere),
    )


class _Sides:
    """What a remote has, and how that of each generation stands which is here, too."""

    def __init__(self, index: Index, selection: Selection) -> None:
        self.there: dict[tuple[str, int], dict[str, str]] = {}
        for key, generation, checksum, state in index.generations(selection.keys):
            variants = self.there.setdefault((key, generation), {})
            variants[checksum] = min(state, variants.get(checksum, state), key=_rank)
        self.here: dict[str, None] = {}
        self.ahead: dict[str, None] = {}
        self.behind: dict[str, None] = {}
        self.released: dict[str, None] = {}
        self.cleared: dict[str, None] = {}
        self.diverged: list[Diverged] = []
        self.removed: list[tuple[str, int]] = []
        self.elsewhere: dict[str, None] = {}
        self._in_want = index.in_want()
        # Who names an entry means it.
        self._gone = index.removed() if selection.keys is None else set()

    def others(self, mine: Iterable[tuple[Any, ...]]) -> set[tuple[str, int, str]]:
        """Key, number and checksum of what is said to be there instead of what is here."""
        return {
            (key, generation, other)
            for key, generation, checksum, state in mine
            if state != "trash"
            for other in self.there.get((key, generation), ())
            if other != checksum
        }

    def leave_out(self, results: Iterable[tuple[str, int, str]]) -> None:
        """Take some results for not there."""
        for key, generation, checksum in results:
            del self.there[key, generation][checksum]

    def add(self, key: str, generation: int, checksum: str, state: str) -> None:
        """Take a generation that is here into account; what is only there stays in ``there``."""
        variants = self.there.pop((key, generation), {})
        if state == "trash":
            if variants:
                self.cleared[key] = None
            return
        self.here[key] = None
        if variants.keys() - {checksum}:
            self.diverged.append(Diverged(key, generation, checksum, tuple(sorted(variants))))
        if not variants and (key, generation, checksum) in self._gone:
            self.removed.append((key, generation))
        elif self._lacks(key, variants, checksum, state):
            self.ahead[key] = None
        elif state == "remote":
            (self.behind if checksum in variants else self.elsewhere)[key] = None
        elif state == "released" and variants.get(checksum) == "live":
            self.released[key] = None

    def _lacks(self, key: str, variants: dict[str, str], checksum: str, state: str) -> bool:
        """Whether the remote lacks something that is here."""
        if state == "live":
            return variants.get(checksum) == "released" or not variants or key in self._in_want
        return state == "released" and not variants


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
