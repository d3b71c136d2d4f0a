"""Which entries are meant, whether they are here or in a remote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from motools.cache.arrival import parse
from motools.cache.cache import Cache
from motools.cache.entry import COLUMNS, Entry
from motools.cache.memo import BATCH
from motools.digest import SHORT
from motools.errors import CorruptDocumentError, KeyNotFoundError
from motools.remotes.index import Index


@dataclass(frozen=True)
class Choice:
    """What an entry must be like. What is None is not asked for.

    Attributes:
        keys: its key starts with one of these.
        kind: its kind.
        labels: label to values, one of which it has.
        since: made at or after this time (seconds since 1970).
        until: made before this time (seconds since 1970).
    """

    keys: Sequence[str] | None = None
    kind: str | None = None
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    since: float | None = None
    until: float | None = None

    def fits(self, entry: Entry) -> bool:
        """Whether an entry is meant."""
        return (
            self._may_be(entry.key)
            and self.kind in (None, entry.kind)
            and (self.since is None or entry.created_at >= self.since)
            and (self.until is None or entry.created_at < self.until)
            and all(_is_one(entry.labels.get(name), values) for name, values in self.labels)
        )

    def check_keys(self, cache: Cache, index: Index) -> None:
        """Refuse a beginning of a key that is nobody's.

        Raises:
            KeyNotFoundError: it names it.
        """
        for prefix in self.keys or ():
            bounds = (prefix, prefix + "g")
            rows = cache.database.read(
                "SELECT 1 FROM entries WHERE key >= ? AND key < ? LIMIT 1", bounds
            )
            if not rows and not index.has(prefix):
                raise KeyNotFoundError(
                    f"no entry here or there has a key that starts with {prefix!r}"
                )

    def local(self, cache: Cache, keys: Iterable[str]) -> tuple[str, ...]:
        """Those of some keys in a cache that are meant, in their order."""
        candidates = [key for key in keys if self._may_be(key)]
        fitting: set[str] = set()
        for start in range(0, len(candidates), BATCH):
            part = candidates[start : start + BATCH]
            rows = cache.database.read(
                f"SELECT {COLUMNS} FROM entries WHERE key IN ({','.join('?' * len(part))})", part
            )
            fitting.update(self._fitting(cache, rows))
        return tuple(key for key in candidates if key in fitting)

    def remote(self, cache: Cache, index: Index, keys: Iterable[str]) -> tuple[str, ...]:
        """Those of some keys in a remote that are meant, in their order."""
        candidates = [key for key in keys if self._may_be(key)]
        fitting: set[str] = set()
        for key, document in index.documents(candidates):
            try:
                fitting.update(self._fitting(cache, parse(document, key)))
            except CorruptDocumentError:
                fitting.add(key)  # whoever wants to use it is told
        return tuple(key for key in candidates if key in fitting)

    def _fitting(self, cache: Cache, rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
        return (row[0] for row in rows if self.fits(Entry(row, cache.blobs)))

    def _may_be(self, key: str) -> bool:
        return self.keys is None or key.startswith(tuple(self.keys))


def _is_one(label: str | None, wanted: Iterable[str]) -> bool:
    """Whether a label is one of some values; only digests may be cut short."""
    if label is None:
        return False
    long = len(label) == _DIGEST_LENGTH
    return any(label == w or (long and len(w) >= SHORT and label.startswith(w)) for w in wanted)


_DIGEST_LENGTH: Final = 64
