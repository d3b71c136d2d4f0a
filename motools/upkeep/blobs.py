"""Whether the bytes that entries need are there, and are what their digests say."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias

from motools.cache.cache import Cache
from motools.cache.layout import OBJECTS, blob_name, key_in, quarantined
from motools.errors import CacheUnavailableError
from motools.upkeep.findings import Damage, Finding
from motools.upkeep.records import Rows, needed, rows_of

Wrong: TypeAlias = tuple[Damage, str]
"""What kind of thing is wrong with a blob, and what exactly."""

_READERS: Final = min(32, 2 * (os.cpu_count() or 1))
_TOGETHER: Final = 16


class Blobs:
    """The blobs of live entries, each looked at once however many entries share it.

    Args:
        cache: where they are.
        listed: ask for all names at once instead of one by one.
        read_data: whether every byte is read and hashed.
        put_aside: whether wrong bytes go to ``quarantine/``, or are only told of.
        on_read: called after each blob that was read.

    Attributes:
        bytes: read and hashed so far.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        listed: bool,
        read_data: bool,
        put_aside: bool,
        on_read: Callable[[], None],
    ) -> None:
        self.bytes = 0
        self._on_read = on_read
        self._cache = cache
        self._read_data = read_data
        self._puts_aside = put_aside
        self._listing = dict(_there(cache)) if listed else None
        self._right: set[str] = set()
        self._wrong: dict[str, Wrong] = {}

    @property
    def count(self) -> int:
        """How many were looked at."""
        return len(self._right) + len(self._wrong)

    def damaged(self, page: Mapping[str, Rows]) -> Iterator[Finding]:
        """What is wrong with the blobs of some keys; bytes that are wrong may be put aside."""
        live = [row for rows in page.values() for row in rows if row[9] == "live"]
        self._look_at({digest: size for row in live for _, digest, size in needed(row)})
        for row in live if self._wrong else ():
            bad = [(path, digest) for path, digest, _ in needed(row) if digest in self._wrong]
            if bad and _still_live(self._cache, row):
                for path, digest in bad:
                    damage, reason = self._wrong[digest]
                    yield Finding(row[0], row[1], row[2], damage, reason, path, digest)

    def _look_at(self, sizes: Mapping[str, int | None]) -> None:
        there = []
        for digest, size in sizes.items():
            if digest in self._right or digest in self._wrong:
                continue
            wrong = self._misplaced(digest, size)
            if wrong is None:
                there.append(digest)
            else:
                self._wrong[digest] = wrong
        if self._read_data:
            self._read(there)
        self._right.update(digest for digest in there if digest not in self._wrong)

    def _read(self, digests: Sequence[str]) -> None:
        # Most blobs are so small that handing each over would take longer than reading it.
        parts = [digests[start : start + _TOGETHER] for start in range(0, len(digests), _TOGETHER)]
        with ThreadPoolExecutor(_READERS) as readers:
            try:
                for found in readers.map(self._hash_all, parts):
                    for digest, size, wrong in found:
                        if wrong is not None:
                            self._wrong[digest] = wrong
                        self.bytes += size
                    self._on_read()
            except BaseException:
                readers.shutdown(cancel_futures=True)
                raise

    def _hash_all(self, digests: Sequence[str]) -> list[tuple[str, int, Wrong | None]]:
        return [(digest, *self._hash(digest)) for digest in digests]

    def _misplaced(self, digest: str, size: int | None) -> Wrong | None:
        """What is wrong with a blob without reading it."""
        if self._listing is not None and _fits(self._listing.get(digest), size):
            return None
        found = self._cache.store.size(blob_name(digest))  # it may be newer than the listing
        if _fits(found, size):
            return None
        if found is None:
            return Damage.MISSING, f"{blob_name(digest)} is not there"
        return self._put_aside(digest, f"it had {found} of {size} bytes")

    def _hash(self, digest: str) -> tuple[int, Wrong | None]:
        """How many bytes a blob had, and what is wrong with them."""
        try:
            found = self._cache.blobs.digest_at(blob_name(digest))
        except CacheUnavailableError as problem:
            if getattr(problem.__cause__, "errno", None) == errno.EIO:
                return 0, (Damage.UNREADABLE, str(problem))
            raise
        if found is None:
            return 0, (Damage.MISSING, f"{blob_name(digest)} is not there")
        if found.hex == digest:
            return found.size, None
        return found.size, self._put_aside(digest, "its bytes were altered")

    def _put_aside(self, digest: str, reason: str) -> Wrong | None:
        if not self._puts_aside:
            found = self._cache.blobs.digest_at(blob_name(digest))  # it may be right by now
            right = found is not None and found.hex == digest
            return None if right else (Damage.ALTERED, f"{reason}, at {blob_name(digest)}")
        if self._cache.blobs.quarantine(digest):
            return Damage.ALTERED, f"{reason}; they are at {quarantined(digest)} now"
        return None


def _there(cache: Cache) -> Iterator[tuple[str, int]]:
    """Digest and size of every blob in the store."""
    return ((key_in(name), size) for name, size in cache.store.names(OBJECTS))


def _fits(found: int | None, size: int | None) -> bool:
    """Of a tree's own blob, no size is recorded."""
    return found is not None and size in (found, None)


def _still_live(cache: Cache, row: Sequence[Any]) -> bool:
    """Whether an entry that lacks bytes was not cleared or released meanwhile."""
    rows = rows_of(cache, [row[0]]).get(row[0], [])
    return any(now[1] == row[1] and now[9] == "live" for now in rows)
