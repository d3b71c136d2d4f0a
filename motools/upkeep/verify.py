"""Verify: the records against each other and against the bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from motools.cache.cache import Cache
from motools.upkeep.blobs import Blobs
from motools.upkeep.findings import Damage, Finding
from motools.upkeep.records import damaged_records, pages, without_rows

_REMEMBERED: Final = ("upkeep", "verify", "")


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
    """What the last verification of a whole cache came to.

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


def verify(
    cache: Cache,
    keys: Sequence[str] | None = None,
    *,
    read_data: bool = False,
    report: Callable[[Progress], None] | None = None,
) -> Verified:
    """Hold records against documents and blobs.

    Blobs that are cut short or, with ``read_data``, have other bytes than their
    digest says go to ``quarantine/``; nothing else is changed. Of a whole cache
    the outcome is remembered for :func:`health`.

    Args:
        cache: which cache.
        keys: only these; None: all that is not in the trash.
        read_data: read and hash every byte, too.
        report: told how far it has come, now and then.

    Raises:
        CacheUnavailableError: store or database cannot be read.
    """
    started, began = time.time(), time.monotonic()
    cache.documents.flush()
    total = _count(cache) if keys is None else len(keys)
    findings: list[Finding] = []
    seen: set[str] = set()

    def tell() -> None:
        if report is not None:
            report(Progress(len(seen), total, blobs.bytes))

    blobs = Blobs(cache, listed=keys is None, read_data=read_data, on_read=tell)
    for page in pages(cache, keys):
        wrong = list(damaged_records(cache, page))
        altered = {finding.key for finding in wrong if finding.damage is Damage.RECORD}
        findings += wrong
        findings += blobs.damaged({k: rows for k, rows in page.items() if k not in altered})
        seen.update(page)
        tell()
    if keys is None:
        findings += without_rows(cache, seen)
    seconds = time.monotonic() - began
    found = Verified(started, seconds, len(seen), blobs.count, blobs.bytes, tuple(findings))
    if keys is None:
        _remember(cache, found)
    return found


def health(cache: Cache) -> Health | None:
    """What the last verification of the whole cache came to; None: there was none."""
    said = cache.memo.recall(*_REMEMBERED)
    return None if said is None else Health(**said)


def _remember(cache: Cache, found: Verified) -> None:
    said = {
        "at": found.at,
        "entries": found.entries,
        "blobs": found.blobs,
        "bytes": found.bytes,
        "bad": len(found.findings),
    }
    cache.memo.record(*_REMEMBERED, said)


def _count(cache: Cache) -> int:
    [(count,)] = cache.database.read(
        "SELECT COUNT(DISTINCT key) FROM entries WHERE state <> 'trash'"
    )
    return int(count)
