"""Marks: what people say of an entry, such as a pin, a tag or a note.

A mark is about a key, not about one generation of it: a refresh keeps it, and so
does clearing. Like entries, marks become true in the tables, and a document per
key follows from the outbox. That a mark was taken off is kept, too, so that it can
travel; of what was said under one name the latest counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from motools.cache.database import Database, Transaction
from motools.cache.documents import Documents
from motools.cache.layout import marks_name
from motools.cache.memo import BATCH

PIN: Final = "pin"
"""Never pruned, and cleared only where pins are named. The value is empty."""

TAG: Final = "tag:"
"""What the names of tags begin with. The value is empty."""

NOTE: Final = "note"
"""The value is a text for people."""

RELEASED: Final = "released"
"""The value says why a result is gone that lived elsewhere, for people."""

REJECTED: Final = "rejected"
"""The value is a ``rejection.Rejection``."""


AHEAD: Final = 10 * 365 * 86_400.0
"""Seconds from now: what is said later than that is said by no clock, and nothing could follow."""


def believable(made_at: float) -> bool:
    """Whether something can have been said at a time (seconds since 1970)."""
    return -math.inf < made_at < time.time() + AHEAD


class Marks:
    """The marks of one cache."""

    def __init__(self, database: Database, documents: Documents) -> None:
        self._database = database
        self._documents = documents

    def set(self, key: str, name: str, value: str = "") -> None:
        """Mark a key, in place of a mark of that name."""
        self.set_many([key], name, value)

    def set_many(self, keys: Iterable[str], name: str, value: str = "") -> int:
        """Mark keys, all or none; returns how many did not have that mark with that value."""
        with self._database.write() as transaction:
            count = sum(set_mark(transaction, key, name, value) for key in keys)
        self._documents.flush()
        return count

    def drop(self, key: str, name: str) -> bool:
        """Take a mark off a key; False: it had none of that name."""
        return bool(self.drop_many([key], name))

    def drop_many(self, keys: Iterable[str], name: str) -> int:
        """Take a mark off keys, all or none; returns how many had it."""
        with self._database.write() as transaction:
            count = sum(drop_mark(transaction, key, name) for key in keys)
        self._documents.flush()
        return count

    def of(self, key: str) -> dict[str, str]:
        """The marks of a key: name to value, by the alphabet."""
        return self.of_many([key]).get(key, {})

    def of_many(self, keys: Sequence[str]) -> Mapping[str, dict[str, str]]:
        """The marks of each key that has some."""
        found: dict[str, dict[str, str]] = {}
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            rows = self._database.read(
                f"SELECT key, name, value FROM marks WHERE key IN ({','.join('?' * len(part))}) "
                "ORDER BY key, name",
                part,
            )
            for key, name, value in rows:
                found.setdefault(key, {})[name] = value
        return found

    def having(self, names: Sequence[str]) -> Mapping[str, Collection[str]]:
        """Which marks of these names a key has, for each that has one."""
        found: dict[str, list[str]] = {}
        for start in range(0, len(names), BATCH):
            part = names[start : start + BATCH]
            for key, name in self._database.read(
                f"SELECT key, name FROM marks WHERE name IN ({','.join('?' * len(part))})", part
            ):
                found.setdefault(key, []).append(name)
        return found

    def keys(self, name: str) -> frozenset[str]:
        """The keys that have a mark of this name."""
        rows = self._database.read("SELECT key FROM marks WHERE name = ?", (name,))
        return frozenset(key for (key,) in rows)


def set_mark(transaction: Transaction, key: str, name: str, value: str) -> bool:
    """Mark a key inside a transaction; False: it had that mark with that value."""
    present = transaction.run(
        "SELECT value FROM marks WHERE key = :key AND name = :name", key=key, name=name
    ).scalar()
    if present == value:
        return False
    return arrive(transaction, key, name, value, next_time(transaction, key, name))


def drop_mark(transaction: Transaction, key: str, name: str) -> bool:
    """Take a mark off a key inside a transaction; False: it had none of that name."""
    present = transaction.run(
        "SELECT value FROM marks WHERE key = :key AND name = :name", key=key, name=name
    ).scalar()
    if present is None:
        return False
    return arrive(transaction, key, name, None, next_time(transaction, key, name))


def arrive(
    transaction: Transaction, key: str, name: str, value: str | None, made_at: float
) -> bool:
    """Say of a key what was said at a time, unless something later was said under that name.

    Args:
        transaction: which makes it true.
        key: of what.
        name: of the mark.
        value: of the mark; None: it was taken off.
        made_at: when (seconds since 1970).

    Returns:
        Whether it was news.
    """
    last = _said_at(transaction, key, name)
    if last is not None and last >= made_at:
        return False
    for table in ("marks", "taken_off"):
        transaction.run(
            f"DELETE FROM {table} WHERE key = :key AND name = :name", key=key, name=name
        )
    insert_mark(transaction, key, name, value, made_at)
    transaction.run("INSERT INTO outbox (name) VALUES (:name)", name=marks_name(key))
    return True


def next_time(transaction: Transaction, key: str, name: str) -> float:
    """Now, or just after what was last said of a key under a name, by whatever clock.

    What cannot have been said then gives way: it would leave no time for what comes after.
    """
    last = _said_at(transaction, key, name)
    now = time.time()
    return now if last is None else max(now, math.nextafter(last, math.inf))


def insert_mark(
    transaction: Transaction, key: str, name: str, value: str | None, made_at: float
) -> bool:
    """Add what was said; False: something was said under that name."""
    if value is None:
        statement = "INSERT INTO taken_off (key, name, made_at) VALUES (:key, :name, :made_at)"
        said = {"key": key, "name": name, "made_at": made_at}
    else:
        statement = (
            "INSERT INTO marks (key, name, value, made_at) VALUES (:key, :name, :value, :made_at)"
        )
        said = {"key": key, "name": name, "value": value, "made_at": made_at}
    return bool(transaction.run(f"{statement} ON CONFLICT DO NOTHING", **said).rowcount)


def restore_marks(transaction: Transaction, rows: Iterable[tuple[Any, ...]]) -> int:
    """Add what only a document has; returns how many. What was said since stays."""
    return sum(
        insert_mark(transaction, *row)
        for row in rows
        if not _behind(transaction, row[0]) and _said_at(transaction, row[0], row[1]) is None
    )


def _said_at(transaction: Transaction, key: str, name: str) -> float | None:
    """When a key was last marked under a name, or that mark taken off, if it can be believed."""
    found: float | None = transaction.run(
        "SELECT MAX(made_at) FROM (SELECT made_at FROM marks WHERE key = :key AND name = :name "
        "UNION ALL SELECT made_at FROM taken_off WHERE key = :key AND name = :name) said "
        "WHERE made_at < :farthest",
        key=key,
        name=name,
        farthest=time.time() + AHEAD,
    ).scalar()
    return found


def _behind(transaction: Transaction, key: str) -> bool:
    """Whether a key's document is older than its rows, so that it may have what was dropped."""
    waiting = transaction.run("SELECT 1 FROM outbox WHERE name = :name", name=marks_name(key))
    return waiting.first() is not None
