"""Holdings: how many bytes each entry keeps in the store, and when it was last used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from motools.cache.entry import PAID_TO

if TYPE_CHECKING:
    from motools.cache.cache import Cache

# Joined here: to have SQLite do it takes three times as long.
_ENTRIES: Final = (
    "SELECT key, kind, created_at, "
    "CASE WHEN cost > 0 OR remote IS NOT NULL "
    f"OR REPLACE(labels, '\"{PAID_TO}\":', '') <> labels THEN 1 ELSE 0 END "
    "FROM entries WHERE state = 'live' AND files <> '[]'"
)
_NOT_HERE: Final = "SELECT key, generation FROM entries WHERE state <> 'live'"
_LINKS: Final = "SELECT key, generation, digest FROM entry_blobs"
_USED: Final = "SELECT key, last_used_at FROM statistics"
_SIZES: Final = "SELECT digest, size FROM blobs"
_ARRIVING: Final = (
    "SELECT e.key, l.digest FROM entries e "
    "JOIN entry_blobs l ON l.key = e.key AND l.generation = e.generation WHERE e.state = 'remote'"
)


class Holding(NamedTuple):
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
    known = dict(read(_SIZES))
    elsewhere = {(key, generation) for key, generation in read(_NOT_HERE)}
    blobs: dict[str, Sequence[str]] = {}
    sizes: dict[str, int] = {}
    for key, generation, digest in read(_LINKS):
        if digest in known and not (elsewhere and (key, generation) in elsewhere):
            sizes[digest] = known[digest]
            blobs[key] = (*blobs.get(key, ()), digest)
    used = dict(read(_USED))
    found: dict[str, Holding] = {}
    for key, kind, made, costly in read(_ENTRIES):
        used_at, paid, needs = max(made, used.get(key, 0.0)), bool(costly), blobs.get(key, ())
        if before := found.get(key):  # another generation, whose files may be the same
            used_at, paid = max(used_at, before.used_at), paid or before.paid
            needs = tuple(set(needs))
        found[key] = Holding(key, kind, used_at, paid, needs)
    return Holdings(tuple(found.values()), sizes)


def arriving(cache: Cache, pinned: Collection[str], since: float) -> set[str]:
    """The digests of what entries need whose bytes come from a remote when they are used.

    Args:
        cache: which.
        pinned: the keys of those that count whenever they were used.
        since: others count if they were used later than this (seconds since 1970).
    """
    cache.statistics.flush()
    used = dict(cache.database.read(_USED))
    return {
        digest
        for key, digest in cache.database.read(_ARRIVING)
        if key in pinned or used.get(key, 0.0) > since
    }
