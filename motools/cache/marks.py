"""Marks: what people say of an entry, such as a pin, a tag or a note.

A mark is about a key, not about one generation of it: a refresh keeps it, and so
does clearing. Like entries, marks become true in the tables, and a document per
key follows from the outbox.
"""

from __future__ import annotations

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

REJECTED: Final = "rejected"
"""The value is a ``rejection.Rejection``."""


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
    changed = transaction.run(
        "INSERT INTO marks (key, name, value, made_at) VALUES (:key, :name, :value, :now) "
        "ON CONFLICT (key, name) DO UPDATE SET value = excluded.value, "
        "made_at = excluded.made_at WHERE marks.value <> excluded.value",
        key=key,
        name=name,
        value=value,
        now=time.time(),
    ).rowcount
    return _changed(transaction, key, changed)


def arrive(transaction: Transaction, key: str, name: str, value: str, made_at: float) -> bool:
    """Mark a key as somebody else did at a time, unless it has a later mark of that name."""
    changed = transaction.run(
        "INSERT INTO marks (key, name, value, made_at) VALUES (:key, :name, :value, :made_at) "
        "ON CONFLICT (key, name) DO UPDATE SET value = excluded.value, "
        "made_at = excluded.made_at WHERE marks.made_at < excluded.made_at",
        key=key,
        name=name,
        value=value,
        made_at=made_at,
    ).rowcount
    return _changed(transaction, key, changed)


def drop_mark(transaction: Transaction, key: str, name: str) -> bool:
    """Take a mark off a key inside a transaction; False: it had none of that name."""
    changed = transaction.run(
        "DELETE FROM marks WHERE key = :key AND name = :name", key=key, name=name
    ).rowcount
    return _changed(transaction, key, changed)


def restore_marks(transaction: Transaction, rows: Iterable[tuple[Any, ...]]) -> int:
    """Add marks that only a document has; returns how many. One that was changed since stays."""
    return sum(
        transaction.run(
            "INSERT INTO marks (key, name, value, made_at) VALUES (:key, :name, :value, :made_at) "
            "ON CONFLICT DO NOTHING",
            **dict(zip(("key", "name", "value", "made_at"), row, strict=True)),
        ).rowcount
        for row in rows
        if not _behind(transaction, row[0])
    )


def _behind(transaction: Transaction, key: str) -> bool:
    """Whether a key's document is older than its rows, so that it may have what was dropped."""
    waiting = transaction.run("SELECT 1 FROM outbox WHERE name = :name", name=marks_name(key))
    return waiting.first() is not None


def _changed(transaction: Transaction, key: str, rows: int) -> bool:
    if rows:
        transaction.run("INSERT INTO outbox (name) VALUES (:name)", name=marks_name(key))
    return bool(rows)
