"""Health: what verifications came to, of a cache and of the remotes that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from motools.cache.cache import Cache
from motools.upkeep.findings import Finding

HERE: Final = ""
"""What is remembered of the cache itself; of a remote it is under its URL."""


@dataclass(frozen=True)
class Progress:
    """How far a verification has come.

    Attributes:
        entries: keys looked at so far.
        entries_total: keys to look at.
        bytes: read so far.
    """

    entries: int
    entries_total: int
    bytes: int


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    Attributes:
        at: when it began, in seconds since 1970.
        seconds: how long it took.
        entries: keys looked at.
        blobs: looked for, each once.
        bytes: read and hashed; 0 without ``read_data``.
        findings: what is wrong.
    """

    at: float
    seconds: float
    entries: int
    blobs: int
    bytes: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Health:
    """What the last verification of a whole cache, or remote, came to.

    Attributes:
        at: when it was, in seconds since 1970.
        entries: keys looked at.
        blobs: looked for.
        bytes: read and hashed; 0 when bytes were not read.
        bad: how many things were wrong.
    """

    at: float
    entries: int
    blobs: int
    bytes: int
    bad: int


def health(cache: Cache, of: str = HERE) -> Health | None:
    """What the last verification of all of it came to; None: there was none.

    Args:
        cache: which cache.
        of: the cache itself, or the URL of a remote that it knows.
    """
    said = cache.memo.recall("upkeep", f"verify{of and ':'}{of}", "")
    return None if said is None else Health(**said)


def remember(cache: Cache, found: Verified, of: str = HERE) -> None:
    """Have :func:`health` say what a verification found."""
    said = {
        "at": found.at,
        "entries": found.entries,
        "blobs": found.blobs,
        "bytes": found.bytes,
        "bad": len(found.findings),
    }
    cache.memo.record("upkeep", f"verify{of and ':'}{of}", "", said)
