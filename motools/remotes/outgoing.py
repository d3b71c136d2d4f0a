"""What goes out: entries of a cache as a segment describes them."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from motools.cache.arrival import needs
from motools.cache.cache import Cache
from motools.cache.document import compact, entry_document
from motools.cache.entry import COLUMNS, check
from motools.cache.memo import BATCH
from motools.remotes.index import in_parts
from motools.remotes.segments import Listed


@dataclass(frozen=True)
class Outgoing:
    """A key, and those of its generations that a remote may have.

    Attributes:
        key: the key.
        rows: a row for each generation.
    """

    key: str
    rows: tuple[tuple[Any, ...], ...]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Digest to size of what they need."""
        return {digest: size for row in self.rows for digest, size in needs(row)[1].items()}

    def listed(self) -> Listed:
        """What a segment says of it.

        Raises:
            CorruptDocumentError: a row is not what was committed.
        """
        for row in self.rows:
            check(row)
        generations = tuple((row[1], row[8], row[9]) for row in self.rows)
        document = compact(json.loads(entry_document(self.rows))).encode()
        return Listed(self.key, generations, tuple(self.sizes), document)


def outgoing(
    cache: Cache, keys: Iterable[str], withheld: Container[tuple[str, int]]
) -> Iterator[Outgoing]:
    """What of some keys goes out, in their order.

    Args:
        cache: whose entries.
        keys: which.
        withheld: keys and generations that stay here.
    """
    for part in in_parts(keys, BATCH):
        rows: dict[str, list[tuple[Any, ...]]] = {key: [] for key in part}
        for row in cache.database.read(
            f"SELECT {COLUMNS} FROM entries WHERE key IN ({','.join('?' * len(part))}) "
            "AND state IN ('live', 'released') ORDER BY generation",
            part,
        ):
            if (row[0], row[1]) not in withheld:
                rows[row[0]].append(tuple(row))
        yield from (Outgoing(key, tuple(found)) for key, found in rows.items() if found)
