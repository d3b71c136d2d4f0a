"""Completing: an entry that came without its bytes is like any other once they are all here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Sequence
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
_FEW: Final = 64
_OWN: Final = (
    "SELECT l.digest FROM entry_blobs l JOIN entries e ON e.key = l.key "
    "AND e.generation = l.generation WHERE e.state = 'remote' AND l.digest IN ({digests}) "
    "GROUP BY l.digest HAVING COUNT(*) <= ?"
)
"""Blobs that few entries need.

What very many share, as models share a tokenizer, would have all of them looked at. Each of
those has others that are its own.
"""
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
            rows = list(self._that_need(digests))
            self._look_up([row for row in rows if (row[0], row[1]) not in self._lacking])
            for row in rows:
                lacking = self._lacking[row[0], row[1]]
                lacking.difference_update(digests)
                if not lacking:
                    del self._lacking[row[0], row[1]]
                    self._complete(row)

    def _that_need(self, digests: Collection[str]) -> Iterator[tuple[Any, ...]]:
        found: dict[tuple[str, int], tuple[Any, ...]] = {}
        read = self._cache.database.read
        for part in in_parts(digests):
            own = [digest for (digest,) in read(_OWN.format(digests=_places(part)), [*part, _FEW])]
            if own:
                rows = read(_THAT_NEED.format(digests=_places(own)), own)
                found |= {(row[0], row[1]): tuple(row) for row in rows}
        yield from found.values()

    def _look_up(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Ask the store what some entries lack, all at once."""
        if not rows:
            return
        sizes = [needs(row)[1] for row in rows]
        union = {digest: size for each in sizes for digest, size in each.items()}
        absent = set(self._cache.blobs.absent(("", *blob) for blob in union.items()))
        for row, each in zip(rows, sizes, strict=True):
            self._lacking[row[0], row[1]] = absent & each.keys()

    def _complete(self, row: tuple[Any, ...]) -> None:
        tree, sizes = needs(row)
        blobs = self._cache.blobs
        blobs.receive(tree.digest, tree.canonical)
        blobs.settle([*sizes, tree.digest.hex])
        live = (*row[:_STATE], "live", *row[_STATE + 1 :])
        # What a prune took since the store was asked is fetched again when it is used.
        with contextlib.suppress(MissingBlobError), self._cache.database.write() as transaction:
            arrive(transaction, self._cache.store, [live])


def _places(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))
