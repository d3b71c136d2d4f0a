"""Verify: the records against each other and against the bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from motools.cache.cache import Cache
from motools.upkeep.blobs import Blobs
from motools.upkeep.findings import Damage, Finding
from motools.upkeep.health import Progress, Verified, remember
from motools.upkeep.journal import damaged_journal
from motools.upkeep.records import damaged_records, pages, without_rows


def verify(
    cache: Cache,
    keys: Sequence[str] | None = None,
    *,
    read_data: bool = False,
    put_aside: bool = True,
    report: Callable[[Progress], None] | None = None,
) -> Verified:
    """Hold records against documents and blobs.

    Blobs that are cut short or, with ``read_data``, have other bytes than their
    digest says go to ``quarantine/``; nothing else is changed. Of a whole cache
    the outcome is remembered for :func:`~motools.upkeep.health.health`.

    Args:
        cache: which cache.
        keys: only these; None: all that is not in the trash.
        read_data: read and hash every byte, too.
        put_aside: have wrong bytes in ``quarantine/``; if not, nothing is changed.
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

    blobs = Blobs(
        cache, listed=keys is None, read_data=read_data, put_aside=put_aside, on_read=tell
    )
    for page in pages(cache, keys):
        wrong = list(damaged_records(cache, page))
        altered = {finding.key for finding in wrong if finding.damage is Damage.RECORD}
        findings += wrong
        findings += blobs.damaged({k: rows for k, rows in page.items() if k not in altered})
        seen.update(page)
        tell()
    if keys is None:
        findings += without_rows(cache, seen)
    findings += damaged_journal(cache, keys)
    seconds = time.monotonic() - began
    found = Verified(started, seconds, len(seen), blobs.count, blobs.bytes, tuple(findings))
    if keys is None:
        remember(cache, found)
    return found


def _count(cache: Cache) -> int:
    [(count,)] = cache.database.read(
        "SELECT COUNT(DISTINCT key) FROM entries WHERE state <> 'trash'"
    )
    return int(count)
