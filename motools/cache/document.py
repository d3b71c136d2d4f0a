"""A document: what the tables say of one key, as text.

Whoever reads one may have got it from a stranger: see :mod:`.columns`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from motools.cache.action import key_of
from motools.cache.attempt import NAMES as ATTEMPT_NAMES
from motools.cache.columns import check_attempt, check_columns, check_text, kind_in
from motools.cache.entry import COLUMNS, check
from motools.cache.tree import Tree, TreeFile
from motools.errors import CorruptDocumentError

ENTRY_FORMAT: Final = "motools.entry/1"
JOURNAL_FORMAT: Final = "motools.journal/1"
MARKS_FORMAT: Final = "motools.marks/1"

_JSON: Final = {"value", "files", "remote", "labels", "provenance"}
_NAMES: Final = COLUMNS.replace(" ", "").split(",")
_IN_GENERATION: Final = [name for name in _NAMES if name not in ("key", "kind", "action")]
_MARK_NAMES: Final = ("name", "value", "made_at")

NO_DOCUMENT: Final = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading or writing a document raises that is none."""


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
            "now: `motools cache reindex` puts back what its document says"
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


def journal_document(key: str, rows: Iterable[Iterable[Any]]) -> bytes:
    """The document of a key's attempts, given their rows."""
    attempts = [dict(zip(ATTEMPT_NAMES, row, strict=True)) for row in rows]
    return _dump({"format": JOURNAL_FORMAT, "key": key, "attempts": attempts})


def parse_journal(data: bytes, key: str) -> list[tuple[Any, ...]]:
    """The rows in a journal document.

    Raises:
        CorruptDocumentError: it is damaged, or is not the journal it is named after.
    """
    document = json.loads(data)
    _require(document.get("format") == JOURNAL_FORMAT, f"its format is not {JOURNAL_FORMAT}")
    _require(document["key"] == key, f"it holds {document['key']}, not what it is named after")
    _require(all(a["key"] == key for a in document["attempts"]), "an attempt is for another key")
    for attempt in document["attempts"]:
        check_attempt(attempt)
    return [tuple(attempt[name] for name in ATTEMPT_NAMES) for attempt in document["attempts"]]


def marks_document(key: str, rows: Iterable[Sequence[Any]]) -> bytes:
    """The document of a key's marks, given name, value and time of each; None: it was taken off."""
    marks = [dict(zip(_MARK_NAMES, row, strict=True)) for row in rows]
    document = {
        "format": MARKS_FORMAT,
        "key": key,
        "marks": [mark for mark in marks if mark["value"] is not None],
        "taken_off": [mark for mark in marks if mark["value"] is None],
    }
    return _dump(document)


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
