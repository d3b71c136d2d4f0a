"""Listing: what a prune takes, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from motools.cache.document import NO_DOCUMENT
from motools.cache.entry import Entry
from motools.cache.records import EntryRecord
from motools.errors import CacheError

if TYPE_CHECKING:
    from motools.upkeep.prune import Pruning


@dataclass(frozen=True)
class Going:
    """Something that goes.

    Attributes:
        what: ``release``: an entry's files; ``trash``: an entry or a blob, out of the trash
            for good; ``unused blob``; or what kind of leftover (:class:`Leftover`).
        name: a key, a digest or a path.
        size: bytes.
        kind: of an entry: what it is.
        title: of an entry: what people call it.
        duration: of an entry: seconds that making it took.
        cost: of an entry: money that making it took; None: unknown.
        created_at: of an entry: seconds since 1970.
    """

    what: str
    name: str
    size: int
    kind: str | None = None
    title: str | None = None
    duration: float | None = None
    cost: float | None = None
    created_at: float | None = None

    @classmethod
    def of(cls, what: str, entry: Entry) -> Self:
        """An entry, or its files."""
        record = EntryRecord.of(entry)
        return cls(
            what,
            entry.key,
            record.size,
            record.kind,
            record.name,
            record.duration,
            record.cost,
            record.created_at,
        )

    def __str__(self) -> str:
        named = " ".join(filter(None, (self.what, self.kind, self.title, self.name)))
        cost = "" if self.cost is None else f", cost {self.cost:g}"
        return f"{named}: {self.size:,} bytes{cost}"


def _cleared(entry: Entry) -> Going:
    """An entry in the trash; its record may be damaged, which is no reason to keep it."""
    try:
        return Going.of("trash", entry)
    except (CacheError, *NO_DOCUMENT):
        return Going("trash", entry.key, 0)


def listing(pruning: Pruning) -> Iterator[Going]:
    """Everything that a prune takes."""
    plan = pruning.removal
    for entry in plan.entries:
        yield Going.of("release", entry)
    old = plan.expired
    for entry in () if old is None else old.entries:
        yield _cleared(entry)
    for what, blobs in (("unused blob", pruning.unused), ("trash", old.blobs if old else {})):
        for digest, size in sorted(blobs.items()):
            yield Going(what, digest, size)
    for each in plan.leftovers:
        yield Going(each.what, each.name, each.size)
