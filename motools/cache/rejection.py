"""Rejections: results that somebody said are not to be used.

A rejection is a mark, so it outlives clearing and travels. It is of every
generation that there was: one that is made later is served. Whoever has a key signs
it, and signs taking it back, which is a rejection of no generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from motools.cache.database import Database, Transaction
from motools.cache.document import NO_DOCUMENT, compact
from motools.cache.marks import REJECTED, arrive, drop_mark, next_time
from motools.digest import canonical_json
from motools.errors import KeyNotFoundError, RejectedError

if TYPE_CHECKING:
    from motools.cache.cache import Cache
    from motools.cache.entry import Entry
    from motools.cache.trust import Signer

FORMAT: Final = "motools.rejection/1"
COLUMN: Final = f"(SELECT m.value FROM marks m WHERE m.key = entries.key AND m.name = '{REJECTED}')"
"""SQL for an entry's rejection, or NULL; one look into an index, which is on the way of a hit."""


@dataclass(frozen=True)
class Rejection:
    """Why a key's results are not to be used.

    Attributes:
        generation: the newest that is meant; later ones are served.
        reason: for people.
        signer: who says so, if it is signed.
        signature: of this, for the key and the time at which it was said.
    """

    generation: int
    reason: str
    signer: str | None = None
    signature: str | None = None

    @classmethod
    def parse(cls, value: str) -> Rejection:
        """From the value of a mark."""
        said = json.loads(value)
        signed = (said.get(name) for name in ("signer", "signature"))
        signer, signature = (None if part is None else str(part) for part in signed)
        return cls(int(said["generation"]), str(said["reason"]), signer, signature)

    @property
    def value(self) -> str:
        """As the value of a mark."""
        said = {"generation": self.generation, "reason": self.reason}
        if self.signer is not None:
            said |= {"signer": self.signer, "signature": self.signature}
        return compact(said)

    def signed(self, signer: Signer, key: str, made_at: float) -> Rejection:
        """The same, with a signature."""
        named = replace(self, signer=signer.name)
        return replace(named, signature=signer.signature(named.message(key, made_at)))

    def message(self, key: str, made_at: float) -> bytes:
        """What is signed: with the time, so that what was taken back cannot be said again."""
        return canonical_json(
            {
                "format": FORMAT,
                "key": key,
                "generation": self.generation,
                "reason": self.reason,
                "made_at": made_at,
                "signer": self.signer,
            }
        )

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
            _say(cache, transaction, entry.key, Rejection(entry.generation, reason))
    cache.documents.flush()


def withdraw(cache: Cache, keys: Iterable[str]) -> None:
    """Take rejections back, all or none.

    Raises:
        KeyNotFoundError: a key is not rejected; nothing was changed.
    """
    with cache.database.write() as transaction:
        for key in keys:
            value = transaction.run(
                "SELECT value FROM marks WHERE key = :key AND name = :name",
                key=key,
                name=REJECTED,
            ).scalar()
            if value is None or not Rejection.parse(value).generation:
                raise KeyNotFoundError(f"{key[:12]} is not rejected. Nothing was changed")
            if cache.signer is None:
                drop_mark(transaction, key, REJECTED)
            else:
                _say(cache, transaction, key, Rejection(0, ""))
    cache.documents.flush()


def any_rejected(database: Database) -> bool:
    """Whether any key is rejected: mostly none is, and nothing more need be asked."""
    return bool(database.read("SELECT 1 FROM marks WHERE name = ? LIMIT 1", (REJECTED,)))


def honoured(key: str, value: str | None, made_at: float, trusted: Mapping[str, str]) -> bool:
    """Whether what others say of a key's rejection counts here.

    Args:
        key: the key.
        value: of the mark; None: it was taken off.
        made_at: when that was said (seconds since 1970).
        trusted: name to public key, as in the settings; empty: everybody is.
    """
    if value is None:
        return not trusted
    try:
        said = Rejection.parse(value)
        message = said.message(key, made_at)
    except (AttributeError, *NO_DOCUMENT):
        return False
    if said.value != value:  # nothing that motools says, and every hit would have to read it
        return False
    if not trusted:
        return True
    if said.signer is None or said.signer not in trusted or said.signature is None:
        return False
    from motools.cache.trust import verified

    return verified(message, said.signer, said.signature, trusted)


def rejections(database: Database) -> dict[str, Rejection]:
    """Every key whose newest result is rejected, and why."""
    rows = database.read(
        "SELECT m.key, m.value, (SELECT MAX(generation) FROM entries e "
        "WHERE e.key = m.key AND e.state <> 'trash') FROM marks m WHERE m.name = ?",
        (REJECTED,),
    )
    parsed = ((key, Rejection.parse(value), newest) for key, value, newest in rows)
    return {key: said for key, said, newest in parsed if newest and newest <= said.generation}


def _say(cache: Cache, transaction: Transaction, key: str, said: Rejection) -> None:
    made_at = next_time(transaction, key, REJECTED)
    if cache.signer is not None:
        said = said.signed(cache.signer, key, made_at)
    arrive(transaction, key, REJECTED, said.value, made_at)
