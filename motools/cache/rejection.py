"""Rejections: results that somebody said are not to be used.

A rejection is a mark, so it outlives clearing and travels. It is of every
generation that there was: one that is made later is served.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from motools.cache.database import Database
from motools.cache.documents import compact
from motools.cache.marks import REJECTED, drop_mark, set_mark
from motools.errors import KeyNotFoundError, RejectedError

if TYPE_CHECKING:
    from motools.cache.cache import Cache
    from motools.cache.entry import Entry

COLUMN: Final = f"(SELECT m.value FROM marks m WHERE m.key = entries.key AND m.name = '{REJECTED}')"
"""SQL for an entry's rejection, or NULL; one look into an index, which is on the way of a hit."""


@dataclass(frozen=True)
class Rejection:
    """Why a key's results are not to be used.

    Attributes:
        generation: the newest that is meant; later ones are served.
        reason: for people.
    """

    generation: int
    reason: str

    @classmethod
    def parse(cls, value: str) -> Rejection:
        """From the value of a mark."""
        said = json.loads(value)
        return cls(int(said["generation"]), str(said["reason"]))

    @property
    def value(self) -> str:
        """As the value of a mark."""
        return compact({"generation": self.generation, "reason": self.reason})

    def error(self, kind: str, key: str) -> RejectedError:
        """What who asks for such a result is told."""
        return RejectedError(
            f"{kind} {key[:12]} was rejected: {self.reason}. Pass refresh, or clear it "
            f"(`motools cache clear all {key[:12]}`), to have it made again; "
            f"`motools cache reject {key[:12]} --withdraw` takes the rejection back"
        )


def reject(cache: Cache, entries: Iterable[Entry], reason: str) -> None:
    """Say that the results of some keys are not to be used, all or none.

    Args:
        cache: where they are.
        entries: their newest generations; a newer one that is made meanwhile is served.
        reason: for people.
    """
    with cache.database.write() as transaction:
        for entry in entries:
            set_mark(transaction, entry.key, REJECTED, Rejection(entry.generation, reason).value)
    cache.documents.flush()


def withdraw(cache: Cache, keys: Iterable[str]) -> None:
    """Take rejections back, all or none.

    Raises:
        KeyNotFoundError: a key is not rejected; nothing was changed.
    """
    with cache.database.write() as transaction:
        for key in keys:
            if not drop_mark(transaction, key, REJECTED):
                raise KeyNotFoundError(f"{key[:12]} is not rejected. Nothing was changed")
    cache.documents.flush()


def any_rejected(database: Database) -> bool:
    """Whether any key is rejected: mostly none is, and nothing more need be asked."""
    return bool(database.read("SELECT 1 FROM marks WHERE name = ? LIMIT 1", (REJECTED,)))


def rejections(database: Database) -> dict[str, Rejection]:
    """Every key whose newest result is rejected, and why."""
    rows = database.read(
        "SELECT m.key, m.value, (SELECT MAX(generation) FROM entries e "
        "WHERE e.key = m.key AND e.state <> 'trash') FROM marks m WHERE m.name = ?",
        (REJECTED,),
    )
    parsed = ((key, Rejection.parse(value), newest) for key, value, newest in rows)
    return {key: said for key, said, newest in parsed if newest and newest <= said.generation}
