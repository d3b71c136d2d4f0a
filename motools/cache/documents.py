"""Documents: durable copies of the tables in the store, one per key.

A document is written from the tables, never edited, so it can always be
written again. Entries' documents follow their rows (an outbox says which are
behind); the journal's go ahead of theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from motools.cache.database import Database, Transaction
from motools.cache.document import (
    NO_DOCUMENT,
    entry_document,
    journal_document,
    marks_document,
    parse_entry,
    parse_journal,
    parse_marks,
)
from motools.cache.entry import COLUMNS
from motools.cache.layout import (
    ENTRIES,
    JOURNAL,
    MARKS,
    TRASH,
    entry_name,
    journal_name,
    key_in,
    marks_name,
    trashed,
)
from motools.cache.store import Store
from motools.digest import SHORT
from motools.errors import CacheError, CorruptDocumentError

_AT_ONCE: Final = 32


_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """A document that cannot be used.

    Attributes:
        name: where it is in the store.
        reason: what is wrong with it.
    """

    name: str
    reason: str


class Documents:
    """The documents of one cache."""

    def __init__(self, store: Store, database: Database) -> None:
        self._store = store
        self._database = database
        self._told: set[str] = set()

    def flush(self) -> int:
        """Write every document that is behind its rows; returns how many.

        They are written inside a transaction, so that two processes cannot put an
        older state over a newer one; several in one, so that of many threads that
        have committed the first writes for all. Of rows that no document can be
        made of, the key is named in a warning, and they stay behind.
        """
        count = last = 0
        while self._database.read("SELECT 1 FROM outbox WHERE id > ? LIMIT 1", (last,)):
            with self._database.write() as transaction:
                behind: Any = transaction.run(
                    "SELECT id, name FROM outbox WHERE id > :last ORDER BY id LIMIT :most",
                    last=last,
                    most=_AT_ONCE,
                ).all()
                names = dict.fromkeys(name for _, name in behind)
                written = {name for name in names if self._write(transaction, name)}
                transaction.run_many(
                    "DELETE FROM outbox WHERE id = :id",
                    [{"id": number} for number, name in behind if name in written],
                )
            count += len(written)
            last = max((number for number, _ in behind), default=last)
        return count

    def _write(self, transaction: Transaction, name: str) -> bool:
        """Write what a name in the outbox stands for; False: its rows are damaged."""
        if name.startswith(f"{MARKS}/"):
            self._write_marks(transaction, key_in(name))
            return True
        rows: Any = transaction.run(
            f"SELECT {COLUMNS} FROM entries WHERE key = :key ORDER BY generation", key=name
        ).all()
        try:
            document = entry_document(rows) if rows else b""
        except CorruptDocumentError as problem:
            if name not in self._told:  # or every later commit would say so
                self._told.add(name)
                _log.warning("%s", problem)
            return False
        self._write_entry(name, document, cleared=all(row[9] == "trash" for row in rows))
        return True

    def _write_entry(self, key: str, document: bytes, *, cleared: bool) -> None:
        name = entry_name(key)
        if document:
            self._store.publish_bytes(trashed(name) if cleared else name, document)
        if cleared:
            self._store.remove(name)
        if not document or not cleared:
            self._store.remove(trashed(name))

    def _write_marks(self, transaction: Transaction, key: str) -> None:
        rows: Any = transaction.run(
            "SELECT name, value, made_at FROM marks WHERE key = :key UNION ALL "
            "SELECT name, NULL, made_at FROM taken_off WHERE key = :key ORDER BY name",
            key=key,
        ).all()
        if rows:
            self._store.publish_bytes(marks_name(key), marks_document(key, rows))
        else:
            self._store.remove(marks_name(key))

    def write_journal(self, key: str, rows: Iterable[Iterable[Any]]) -> None:
        """Make a key's journal durable, ahead of its rows; without rows, it has none."""
        written = list(rows)
        if written:
            self._store.publish_bytes(journal_name(key), journal_document(key, written))
        else:
            self._store.remove(journal_name(key))

    def read_journal(self, key: str) -> list[tuple[Any, ...]]:
        """The rows in a key's journal document; it may be ahead of the tables by one step.

        Raises:
            CorruptDocumentError: it is damaged. Without it the tables are believed, which a
                person has to decide: it may have a job that they do not.
        """
        data = self._store.read(journal_name(key))
        try:
            return [] if data is None else parse_journal(data, key)
        except (CorruptDocumentError, *NO_DOCUMENT) as problem:
            raise CorruptDocumentError(
                f"{journal_name(key)} is damaged: {str(problem) or repr(problem)}. Nothing was "
                f"submitted. If `motools jobs show {key[:SHORT]} --status` has every job that the "
                "provider has for it, remove that file and run it again"
            ) from problem

    def entries(self) -> Iterator[list[tuple[Any, ...]] | Problem]:
        """The rows in each entry's document, or what is wrong with it."""
        for folder in (ENTRIES, f"{TRASH}/{ENTRIES}"):
            yield from self._parsed(folder, parse_entry)

    def journal(self) -> Iterator[list[tuple[Any, ...]] | Problem]:
        """The rows in each journal document, or what is wrong with it."""
        yield from self._parsed(JOURNAL, parse_journal)

    def marks(self) -> Iterator[list[tuple[Any, ...]] | Problem]:
        """The rows in each document of marks, or what is wrong with it."""
        yield from self._parsed(MARKS, parse_marks)

    def any(self) -> bool:
        """Whether there is any document."""
        folders = (ENTRIES, JOURNAL, MARKS, f"{TRASH}/{ENTRIES}")
        return any(next(self.names(folder), None) for folder in folders)

    def names(self, folder: str) -> Iterator[str]:
        """What is in a folder, without what file managers and file systems put there."""
        names = (name for name, _ in self._store.names(folder))
        return (name for name in names if not name.rpartition("/")[2].startswith("."))

    def _parsed(self, folder: str, parse: Any) -> Iterator[list[tuple[Any, ...]] | Problem]:
        for name in sorted(self.names(folder)):
            data = self._store.read(name)
            if data is None:
                continue  # removed since it was listed
            try:
                yield parse(data, key_in(name))
            except (CacheError, *NO_DOCUMENT) as problem:
                yield Problem(name, str(problem) or repr(problem))
