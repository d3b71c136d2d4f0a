"""Documents: durable copies of the tables in the store, one per key.

A document is written from the tables, never edited, so it can always be
written again. Entries' documents follow their rows (an outbox says which are
behind); the journal's go ahead of theirs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from motools.cache.action import key_of
from motools.cache.attempt import NAMES as ATTEMPT_NAMES
from motools.cache.columns import check_columns, check_text, kind_in
from motools.cache.database import Database, Transaction
from motools.cache.entry import COLUMNS, check
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
from motools.cache.tree import Tree, TreeFile
from motools.errors import CacheError, CorruptDocumentError

ENTRY_FORMAT: Final = "motools.entry/1"
JOURNAL_FORMAT: Final = "motools.journal/1"
MARKS_FORMAT: Final = "motools.marks/1"

_AT_ONCE: Final = 32
_JSON: Final = {"value", "files", "remote", "labels", "provenance"}
_NAMES: Final = COLUMNS.replace(" ", "").split(",")
_IN_GENERATION: Final = [name for name in _NAMES if name not in ("key", "kind", "action")]
_MARK_NAMES: Final = ("name", "value", "made_at")


NO_DOCUMENT: Final = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading or writing a document raises that is none."""

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
            marks = [dict(zip(_MARK_NAMES, row, strict=True)) for row in rows]
            document = {
                "format": MARKS_FORMAT,
                "key": key,
                "marks": [mark for mark in marks if mark["value"] is not None],
                "taken_off": [mark for mark in marks if mark["value"] is None],
            }
            self._store.publish_bytes(marks_name(key), _dump(document))
        else:
            self._store.remove(marks_name(key))

    def write_journal(self, key: str, rows: Iterable[Iterable[Any]]) -> None:
        """Make a key's journal durable, ahead of its rows; without rows, it has none."""
        attempts = [dict(zip(ATTEMPT_NAMES, row, strict=True)) for row in rows]
        if not attempts:
            self._store.remove(journal_name(key))
            return
        document = {"format": JOURNAL_FORMAT, "key": key, "attempts": attempts}
        self._store.publish_bytes(journal_name(key), _dump(document))

    def read_journal(self, key: str) -> list[tuple[Any, ...]]:
        """The rows in a key's journal document; it may be ahead of the tables by one step.

        Raises:
            CorruptDocumentError: it is damaged.
        """
        data = self._store.read(journal_name(key))
        try:
            return [] if data is None else parse_journal(data, key)
        except (ValueError, KeyError, TypeError) as problem:
            raise CorruptDocumentError(f"{journal_name(key)} is damaged: {problem!r}") from problem

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
        return any(next(self._store.names(folder), None) for folder in folders)

    def _parsed(self, folder: str, parse: Any) -> Iterator[list[tuple[Any, ...]] | Problem]:
        for name, _ in sorted(self._store.names(folder)):
            data = self._store.read(name)
            if data is None:
                continue  # removed since it was listed
            try:
                yield parse(data, key_in(name))
            except (CacheError, *NO_DOCUMENT) as problem:
                yield Problem(name, str(problem) or repr(problem))


def entry_document(rows: Sequence[Sequence[Any]]) -> bytes:
    """The document of one key from all its rows.

    Raises:
        CorruptDocumentError: a row is damaged, so that there is none.
    """
    try:
        return _dump(json.loads(_text(rows)))
    except NO_DOCUMENT as problem:
        key = rows[0][0][:12]
        raise CorruptDocumentError(
            f"the record of {key} is damaged ({problem!r}), so there is no document of how it is "
            f"now: run `motools cache verify {key}`; `motools cache clear all {key}` takes it out"
        ) from problem


def says(data: bytes, rows: Iterable[Sequence[Any]]) -> bool:
    """Whether a document is the one of these rows, whatever its layout.

    Raises:
        ValueError: it is no JSON.
    """
    found, expected = data.decode(), _text(rows)
    if _ODD not in found and _without_layout(found) == expected:
        return True
    # As text, for to Python 1, 1.0 and True are equal.
    return compact(json.loads(found)) == compact(json.loads(expected))


_ODD: Final = '\\": '
"""Inside a string, what would look like layout."""


def _without_layout(text: str) -> str:
    """What :func:`_dump` wrote as :func:`compact` would: a hundred documents in a millisecond."""
    return "".join(map(str.lstrip, text.split("\n"))).replace('": ', '":')


def _text(rows: Iterable[Sequence[Any]]) -> str:
    """A document without layout. Anyone can recompute the key from ``canonical``."""
    generations = [dict(zip(_NAMES, row, strict=True)) for row in rows]
    first = generations[0]
    parts = ",".join(f"{{{','.join(_fields(part))}}}" for part in generations)
    return (
        f'{{"format":"{ENTRY_FORMAT}","key":"{first["key"]}","kind":{compact(first["kind"])},'
        f'"action":{first["action"]},"canonical":{compact(first["action"])},'
        f'"generations":[{parts}]}}'
    )


def _fields(part: dict[str, Any]) -> Iterator[str]:
    """A generation's columns as JSON; those that hold JSON are it already."""
    for name in _IN_GENERATION:
        value = part[name]
        if value is None:
            yield f'"{name}":null'
        elif name in _JSON or type(value) in (int, float):
            yield f'"{name}":{value}'
        else:
            yield f'"{name}":{compact(value)}'


def parse_entry(data: bytes, key: str) -> list[tuple[Any, ...]]:
    """The rows in an entry's document.

    Raises:
        CorruptDocumentError: it is damaged, or is not the entry it is named after.
    """
    document = json.loads(data)
    _require(isinstance(document, dict), "it is no document")
    _require(document.get("format") == ENTRY_FORMAT, f"its format is not {ENTRY_FORMAT}")
    _require(document["key"] == key, f"it holds {document['key']}, not what it is named after")
    kind = kind_in(document["canonical"])
    _require(key_of(document["canonical"]) == key, "its action's digest is not its key")
    rows = []
    for part in document["generations"]:
        columns = {**part, "key": key, "kind": kind, "action": document["canonical"]}
        check_columns(columns)
        tree = Tree.of(map(TreeFile.parse, part["files"]))
        _require(
            part["tree"] == (tree.digest.hex if tree.files else None), "its files are not its tree"
        )
        row = tuple(
            _checked_text(columns[name]) if _is_json(name, columns[name]) else columns[name]
            for name in _NAMES
        )
        check(row)
        rows.append(row)
    _require(bool(rows), "it holds no generation")
    return rows


def _checked_text(value: Any) -> str:
    text = compact(value)
    check_text(text, value)
    return text


def parse_journal(data: bytes, key: str) -> list[tuple[Any, ...]]:
    """The rows in a journal document.

    Raises:
        CorruptDocumentError: it is damaged, or is not the journal it is named after.
    """
    document = json.loads(data)
    _require(document.get("format") == JOURNAL_FORMAT, f"its format is not {JOURNAL_FORMAT}")
    _require(document["key"] == key, f"it holds {document['key']}, not what it is named after")
    _require(all(a["key"] == key for a in document["attempts"]), "an attempt is for another key")
    return [tuple(attempt[name] for name in ATTEMPT_NAMES) for attempt in document["attempts"]]


def parse_marks(data: bytes, key: str) -> list[tuple[Any, ...]]:
    """The rows in a document of marks: key, name, value or None (taken off), and when that was.

    Raises:
        CorruptDocumentError: it is damaged, or is not the key's that it is named after.
    """
    document = json.loads(data)
    _require(document.get("format") == MARKS_FORMAT, f"its format is not {MARKS_FORMAT}")
    _require(document["key"] == key, f"it holds {document['key']}, not what it is named after")
    marks = [*document["marks"], *document.get("taken_off", ())]
    return [(key, *(mark[name] for name in _MARK_NAMES)) for mark in marks]


def _is_json(name: str, value: object) -> bool:
    """Whether a column holds JSON; without a remote reference there is no text to parse."""
    return name in _JSON and not (name == "remote" and value is None)


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise CorruptDocumentError(reason)


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def compact(value: Any) -> str:
    """JSON as the tables hold it: no spaces, keys as they came."""
    return _COMPACT.encode(value)


_COMPACT: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
"""One for all: ``json.dumps`` would make it anew for each value."""
