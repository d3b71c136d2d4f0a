"""Holdings: how many bytes each entry keeps in the store, and when it was last used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from motools.cache.cache import Cache

# Joined here: to have SQLite do it takes three times as long.
_ENTRIES: Final = (
    "SELECT key, generation, kind, created_at, "
    "CASE WHEN cost > 0 OR remote IS NOT NULL THEN 1 ELSE 0 END "
    "FROM entries WHERE state = 'live' AND files <> '[]' ORDER BY key, generation"
)
_LINKS: Final = "SELECT key, generation, digest FROM entry_blobs"
_USED: Final = "SELECT key, last_used_at FROM statistics"
_SIZES: Final = "SELECT digest, size FROM blobs"


@dataclass(frozen=True, slots=True)
class Holding:
    """An entry with files that are there.

    Attributes:
        key: the entry's.
        kind: as in its action.
        used_at: when it was made or last used (seconds since 1970).
        paid: whether making it took money, known or not.
        blobs: the digests of what it needs.
    """

    key: str
    kind: str
    used_at: float
    paid: bool
    blobs: Sequence[str]


@dataclass(frozen=True)
class Holdings:
    """Everything that live entries hold.

    Attributes:
        entries: those that have files, all generations of a key as one.
        sizes: digest to bytes of every blob in them.
    """

    entries: tuple[Holding, ...]
    sizes: dict[str, int]


def holdings(cache: Cache) -> Holdings:
    """What the live entries of a cache hold, by its tables alone."""
    cache.statistics.flush()
    read = cache.database.read
    rows = read(_ENTRIES)
    known = dict(read(_SIZES))
    live = {(key, generation) for key, generation, *_ in rows}
    blobs: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    for key, generation, digest in read(_LINKS):
        if (key, generation) in live and digest in known:
            sizes[digest] = known[digest]
            blobs.setdefault(key, set()).add(digest)
    used = dict(read(_USED))
    found: dict[str, Holding] = {}
    for key, _, kind, made, paid in rows:
        before = found.get(key)
        found[key] = Holding(
            key,
            kind,
            max(made, used.get(key, 0.0)),
            bool(paid) or (before is not None and before.paid),
            tuple(blobs.get(key, ())),
        )
    return Holdings(tuple(found.values()), sizes)
