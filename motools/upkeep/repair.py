"""Repair: bytes from wherever a good copy is; where there is none, the entry is released."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from motools.cache.cache import Cache
from motools.cache.commit import link, make_live, mark_behind
from motools.cache.database import Transaction
from motools.cache.entry import Entry
from motools.cache.layout import TMP, blob_name, quarantined, trashed
from motools.cache.tree import Tree, TreeFile
from motools.digest import hash_private_file
from motools.upkeep.findings import Damage, Finding
from motools.upkeep.records import needed, needs_links, rows_of

QUARANTINE: Final = "quarantine"
TRASH: Final = "trash"
RECORD: Final = "record"
"""Of a directory's tree, which the entry's record spells out."""

_LEFT: Final = (Damage.RECORD, Damage.JOURNAL, Damage.UNREADABLE)
"""A damaged journal may have had a job that the tables do not, which would be paid for again: a
person has to look."""


class Source(Protocol):
    """A place that may have copies of blobs, such as a remote."""

    @property
    def name(self) -> str:
        """What people call it."""

    def has(self, digests: Sequence[str]) -> set[str]:
        """Which of these blobs it says that it has.

        Raises:
            CacheUnavailableError: it cannot be asked.
        """

    def fetch(self, digest: str, target: Path) -> bool:
        """Write a blob's bytes to a new file; they are checked afterwards. False: not there."""


@dataclass(frozen=True)
class Copy:
    """A good copy of a blob that is missing.

    Attributes:
        digest: of the blob.
        origin: ``quarantine``, ``trash``, ``record`` or the name of a source.
        data: the bytes themselves, of a tree.
    """

    digest: str
    origin: str
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RepairPlan:
    """What a repair would do.

    Attributes:
        copies: blobs that are put back, and from where.
        records: keys whose document and links are made again from their rows.
        released: entries without a good copy anywhere: their records stay, their files are gone.
        left: what cannot be repaired here; each names what can.
        journals: keys whose document of paid jobs is made again from the tables.
    """

    copies: tuple[Copy, ...]
    records: tuple[str, ...]
    released: tuple[Entry, ...]
    left: tuple[Finding, ...]
    journals: tuple[str, ...] = ()

    @property
    def seconds_to_remake(self) -> float:
        """What making the released entries took."""
        return sum(entry.duration for entry in self.released)

    @property
    def cost_to_remake(self) -> float:
        """What making the released entries cost, as far as it is known."""
        return sum(entry.cost or 0.0 for entry in self.released)


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Attributes:
        copies: blobs that are back.
        records: keys whose document and links, or document of paid jobs, were made again.
        released: entries that were released.
        failed: digests of blobs that their source did not give as they should be.
    """

    copies: int
    records: int
    released: int
    failed: tuple[str, ...]


def plan(cache: Cache, findings: Iterable[Finding], sources: Sequence[Source] = ()) -> RepairPlan:
    """What to do about the findings of a verification. Nothing is changed.

    Args:
        cache: what was verified.
        findings: what is wrong with it.
        sources: where else copies may be, the best first.
    """
    found = list(findings)
    gone = [each for each in found if each.damage in (Damage.MISSING, Damage.ALTERED)]
    rows = _rows(cache, gone)
    copies = _copies(cache, gone, rows, sources)
    lost = {(each.key, each.generation) for each in gone if each.digest not in copies}
    stale = {each.key for each in found if each.damage in (Damage.DOCUMENT, Damage.LINKS)}
    return RepairPlan(
        copies=tuple(copies.values()),
        records=tuple(sorted(stale)),
        released=tuple(Entry(rows[each], cache.blobs) for each in sorted(lost & rows.keys())),
        left=tuple(each for each in found if each.damage in _LEFT),
        journals=tuple(sorted(each.key for each in found if each.damage is Damage.ATTEMPTS)),
    )


def execute(
    cache: Cache,
    plan: RepairPlan,
    sources: Sequence[Source] = (),
    *,
    report: Callable[[Copy], None] | None = None,
) -> Repaired:
    """Carry a plan out. It may be killed anywhere, and done again.

    Args:
        cache: what it was made for.
        plan: what to do.
        sources: those that the plan was made with.
        report: told of each blob that is back.
    """
    by_name = {source.name: source for source in sources}
    back: dict[str, int] = {}
    failed = []
    for copy in plan.copies:
        size = _put_back(cache, copy, by_name.get(copy.origin))
        if size is None:
            failed.append(copy.digest)
            continue
        back[copy.digest] = size
        if report is not None:
            report(copy)
    cache.blobs.settle(back)
    with cache.database.write() as transaction:
        make_live(transaction, cache.store, back)
        for key in plan.records:
            _record_again(transaction, key, rows_of(cache, [key]).get(key, []))
        released = sum(_release(cache, transaction, entry) for entry in plan.released)
    cache.documents.flush()
    for key in plan.journals:
        cache.attempts.document(key)
    records = len(plan.records) + len(plan.journals)
    return Repaired(len(back), records, released, tuple(failed))


_Rows: TypeAlias = dict[tuple[str, int], tuple[Any, ...]]
"""Key and generation to row."""


def _rows(cache: Cache, findings: Iterable[Finding]) -> _Rows:
    keys = sorted({finding.key for finding in findings})
    return {(row[0], row[1]): row for key in keys for row in rows_of(cache, [key]).get(key, [])}


def _copies(
    cache: Cache, findings: Sequence[Finding], rows: _Rows, sources: Sequence[Source]
) -> dict[str, Copy]:
    """A good copy of each blob that has one, the nearest."""
    copies: dict[str, Copy] = {}
    for finding in findings:
        digest = str(finding.digest)
        row = rows.get((finding.key, finding.generation))
        if digest not in copies and row is not None:
            here = _from_record(row, digest) or _from_here(cache, digest)
            if here is not None:
                copies[digest] = here
    for source in sources:
        missing = sorted({str(each.digest) for each in findings} - copies.keys())
        for digest in source.has(missing) if missing else ():
            copies[digest] = Copy(digest, source.name)
    return copies


def _from_record(row: tuple[Any, ...], digest: str) -> Copy | None:
    if row[5] != digest:
        return None
    data = Tree.of(TreeFile(*file) for file in json.loads(row[6])).canonical
    return Copy(digest, RECORD, data)


def _from_here(cache: Cache, digest: str) -> Copy | None:
    for origin, name in ((QUARANTINE, quarantined(digest)), (TRASH, trashed(blob_name(digest)))):
        found = cache.blobs.digest_at(name)
        if found is not None and found.hex == digest:
            return Copy(digest, origin)
    return None


def _put_back(cache: Cache, copy: Copy, source: Source | None) -> int | None:
    """Have a blob in place again; returns its size, or None: the copy is not what it should be."""
    name = blob_name(copy.digest)
    if copy.data is not None:
        return cache.blobs.put_bytes(copy.data).size
    if source is not None:
        return _fetch(cache, copy.digest, source)
    place = quarantined(copy.digest) if copy.origin == QUARANTINE else trashed(name)
    cache.store.move(place, name)
    return cache.store.size(name)


def _fetch(cache: Cache, digest: str, source: Source) -> int | None:
    temporary = cache.root / TMP / uuid.uuid4().hex
    try:
        if not source.fetch(digest, temporary):
            return None
        found = hash_private_file(temporary)
        if found.hex != digest:
            return None
        cache.store.publish_file(blob_name(digest), temporary)
        return found.size
    finally:
        temporary.unlink(missing_ok=True)


def _record_again(transaction: Transaction, key: str, rows: Iterable[tuple[Any, ...]]) -> None:
    for row in filter(needs_links, rows):
        link(transaction, key, row[1], {digest for _, digest, _ in needed(row)})
    mark_behind(transaction, key)


def _release(cache: Cache, transaction: Transaction, entry: Entry) -> int:
    """Say that an entry's files are gone for good, unless somebody put them back meanwhile."""
    if not cache.blobs.absent(entry.file_rows):
        return 0
    changed = transaction.run(
        "UPDATE entries SET state = 'released' "
        "WHERE key = :key AND generation = :generation AND state = 'live'",
        key=entry.key,
        generation=entry.generation,
    ).rowcount
    if changed:
        transaction.run(
            "DELETE FROM entry_blobs WHERE key = :key AND generation = :generation",
            key=entry.key,
            generation=entry.generation,
        )
        mark_behind(transaction, entry.key)
    return int(changed)
