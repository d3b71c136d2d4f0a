"""Completing: an entry that came without its bytes is like any other once they are all here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import Any, Final

from motools.cache.arrival import arrive, needs
from motools.cache.cache import Cache
from motools.cache.entry import COLUMNS
from motools.errors import MissingBlobError
from motools.remotes.index import in_parts

_THAT_NEED: Final = (
    f"SELECT {COLUMNS} FROM entries WHERE state = 'remote' AND (key, generation) IN "
    "(SELECT key, generation FROM entry_blobs WHERE digest IN ({digests}))"
)
_STATE: Final = COLUMNS.split(", ").index("state")


class Completing:
    """The entries of a cache whose bytes are arriving, some at a time.

    The store is asked once what an entry lacks: it may be far, and have thousands of its files.

    Args:
        cache: where they arrive.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._lacking: dict[tuple[str, int], set[str]] = {}
        self._lock = threading.Lock()

    def arrived(self, digests: Collection[str]) -> None:
        """Have those entries live that lack nothing, now that some blobs are durable here."""
        with self._lock:
            for row in self._that_need(digests):
                _, sizes = needs(row)
                which = row[0], row[1]
                if which not in self._lacking:
                    files = (("", digest, size) for digest, size in sizes.items())
                    self._lacking[which] = set(self._cache.blobs.absent(files))
                self._lacking[which].difference_update(digests)
                if not self._lacking[which]:
                    del self._lacking[which]
                    self._complete(row)

    def _that_need(self, digests: Collection[str]) -> Iterator[tuple[Any, ...]]:
        found: dict[tuple[str, int], tuple[Any, ...]] = {}
        for part in in_parts(digests):
            marks = ",".join("?" * len(part))
            rows = self._cache.database.read(_THAT_NEED.format(digests=marks), part)
            found |= {(row[0], row[1]): tuple(row) for row in rows}
        yield from found.values()

    def _complete(self, row: tuple[Any, ...]) -> None:
        tree, sizes = needs(row)
        blobs = self._cache.blobs
        blobs.receive(tree.digest, tree.canonical)
        blobs.settle([*sizes, tree.digest.hex])
        live = (*row[:_STATE], "live", *row[_STATE + 1 :])
        # What a prune took since the store was asked is fetched again when it is used.
        with contextlib.suppress(MissingBlobError), self._cache.database.write() as transaction:
            arrive(transaction, self._cache.store, [live])
