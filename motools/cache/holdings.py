"""Holdings: how many bytes each entry keeps in the store, and when it was last used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from motools.cache.cache import Cache

_ENTRIES: Final = (
    "SELECT e.key, MIN(e.kind), MAX(e.created_at), MAX(COALESCE(s.last_used_at, 0)), "
    "MAX(CASE WHEN e.cost > 0 OR e.remote IS NOT NULL THEN 1 ELSE 0 END) "
    "FROM entries e LEFT JOIN statistics s ON s.key = e.key "
    "WHERE e.state = 'live' AND e.files <> '[]' GROUP BY e.key"
)
_LINKS: Final = (
    "SELECT l.key, l.digest, b.size FROM entry_blobs l "
    "JOIN entries e ON e.key = l.key AND e.generation = l.generation "
    "JOIN blobs b ON b.digest = l.digest WHERE e.state = 'live'"
)


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
    sizes: dict[str, int] = {}
    blobs: dict[str, set[str]] = {}
    one: dict[str, str] = {}
    for key, digest, size in cache.database.read(_LINKS):
        sizes[digest] = size
        blobs.setdefault(key, set()).add(one.setdefault(digest, digest))
    return Holdings(
        tuple(
            Holding(key, kind, max(made, used), bool(paid), tuple(sorted(blobs.get(key, ()))))
            for key, kind, made, used, paid in cache.database.read(_ENTRIES)
        ),
        sizes,
    )
