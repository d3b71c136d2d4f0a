"""How a cache and a remote stand to one another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from motools.cache.cache import Cache
from motools.remotes.choice import Choice
from motools.remotes.remote import Remote

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
class Standing:
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


def compare(cache: Cache, remote: Remote, choice: Choice | None = None) -> Standing:
    """How the entries of a cache and a remote's index stand to one another.

    Args:
        cache: this side.
        remote: the other, its index as last read.
        choice: which entries are looked at; None: all.
    """
    there: dict[tuple[str, int], dict[str, str]] = {}
    for key, generation, checksum, state in remote.index.generations():
        variants = there.setdefault((key, generation), {})
        variants[checksum] = min(state, variants.get(checksum, state), key=_rank)
    ahead: dict[str, None] = {}
    behind: dict[str, None] = {}
    every: dict[str, None] = {}
    released: dict[str, None] = {}
    cleared: dict[str, None] = {}
    diverged = []
    for key, generation, checksum, state in cache.database.read(
        "SELECT key, generation, checksum, state FROM entries ORDER BY created_at, key, generation"
    ):
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
    chosen = _Filter(cache, remote, choice)
    every.update(behind)
    ahead_keys, behind_keys = chosen.local(ahead), chosen.remote(behind)
    unlike = {*ahead, *behind, *(d.key for d in diverged)}
    return Standing(
        ahead_keys,
        behind_keys,
        len(chosen.both(key for key in every if key not in unlike)),
        chosen.local(released),
        chosen.remote(cleared),
        tuple(d for d in diverged if chosen.local([d.key])),
    )


class _Filter:
    """A choice, for keys."""

    def __init__(self, cache: Cache, remote: Remote, choice: Choice | None) -> None:
        self._cache = cache
        self._remote = remote
        self._choice = choice

    def local(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Those of some keys that are here and fit."""
        return tuple(keys) if self._choice is None else self._choice.local(self._cache, keys)

    both = local

    def remote(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Those of some keys that are there and fit."""
        if self._choice is None:
            return tuple(keys)
        return self._choice.remote(self._cache, self._remote.index, keys)


def _rank(state: str) -> int:
    return _RANK.get(state, len(_RANK))
