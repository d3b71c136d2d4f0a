"""Entries that come from elsewhere: what somebody else committed becomes true here too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from motools.cache.commit import INSERT_ENTRY, link, make_live, mark_behind
from motools.cache.database import Transaction
from motools.cache.document import NO_DOCUMENT, parse_entry
from motools.cache.entry import COLUMNS
from motools.cache.layout import blob_name
from motools.cache.store import Store
from motools.cache.tree import Tree, TreeFile
from motools.errors import CacheError, CorruptDocumentError

_NAMES: Final = COLUMNS.split(", ")
_STATE: Final = _NAMES.index("state")


def parse(data: bytes, key: str) -> list[tuple[Any, ...]]:
    """The rows in a document that a stranger may have written, without those in the trash.

    Raises:
        CorruptDocumentError: it is damaged, or is not the entry it is named after.
    """
    try:
        rows = parse_entry(data, key)
        if odd := {row[_STATE] for row in rows} - {"live", "released", "trash"}:
            raise CorruptDocumentError(f"its state is {odd.pop()!r}")
    except CacheError as problem:
        raise CorruptDocumentError(f"the document of {key[:12]}: {problem}") from problem
    except NO_DOCUMENT as problem:
        raise CorruptDocumentError(f"the document of {key[:12]}: {problem!r}") from problem
    return [row for row in rows if row[_STATE] != "trash"]


def needs(row: tuple[Any, ...]) -> tuple[Tree, dict[str, int]]:
    """The tree of an entry, and digest to size of its files; of a released one there are none."""
    columns = dict(zip(_NAMES, row, strict=True))
    if columns["state"] == "released":
        return Tree(()), {}
    tree = Tree.of(TreeFile(*file) for file in json.loads(columns["files"]))
    return tree, {file.digest: file.size for file in tree.files}


def arrive(transaction: Transaction, store: Store, rows: Iterable[tuple[Any, ...]]) -> int:
    """Add generations whose blobs, and whose tree's blob, are durable in the store.

    One that is there already stays as it is, but for one whose bytes were not
    here: they are now.

    Returns:
        How many were added.

    Raises:
        MissingBlobError: a blob is not in the store; roll the transaction back.
    """
    added = 0
    for row in rows:
        columns = dict(zip(_NAMES, row, strict=True))
        sizes = dict(_needed(row))
        inserted = transaction.run(f"{INSERT_ENTRY} ON CONFLICT DO NOTHING", **columns).rowcount
        if not inserted:
            inserted = _returned(transaction, columns)
        if not inserted:
            continue
        make_live(transaction, store, sizes)
        link(transaction, columns["key"], columns["generation"], sizes)
        mark_behind(transaction, columns["key"])
        added += 1
    return added


def arrive_without_bytes(
    transaction: Transaction, store: Store, rows: Iterable[tuple[Any, ...]]
) -> int:
    """Add generations whose blobs are fetched when they are used.

    Those whose blobs happen to be in place arrive whole. One that is there
    already stays as it is. Returns how many were added.
    """
    added = 0
    for row in rows:
        columns = dict(zip(_NAMES, row, strict=True))
        sizes = dict(_needed(row))
        there = store.sizes([blob_name(digest) for digest in sizes])
        whole = there == list(sizes.values())
        if not whole:
            columns["state"] = "remote"
        if not transaction.run(f"{INSERT_ENTRY} ON CONFLICT DO NOTHING", **columns).rowcount:
            continue
        if whole:
            make_live(transaction, store, sizes)  # they may be about to go into the trash
        else:
            transaction.run_many(
                "INSERT INTO blobs (digest, size, state) VALUES (:digest, :size, 'live') "
                "ON CONFLICT DO NOTHING",
                [{"digest": digest, "size": size} for digest, size in sizes.items()],
            )
        link(transaction, columns["key"], columns["generation"], sizes)
        mark_behind(transaction, columns["key"])
        added += 1
    return added


def _needed(row: tuple[Any, ...]) -> Iterator[tuple[str, int]]:
    tree, sizes = needs(row)
    yield from sizes.items()
    if tree.files:
        yield tree.digest.hex, tree.digest.size


def _returned(transaction: Transaction, columns: dict[str, Any]) -> int:
    """Have a generation without bytes live, if it is the same and its bytes came along."""
    return int(
        transaction.run(
            "UPDATE entries SET state = :state, trashed_at = NULL "
            "WHERE key = :key AND generation = :generation AND checksum = :checksum "
            "AND state IN ('released', 'remote') AND :state = 'live'",
            **{name: columns[name] for name in ("state", "key", "generation", "checksum")},
        ).rowcount
    )
