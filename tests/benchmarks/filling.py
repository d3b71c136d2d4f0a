"""Caches that are full, made in seconds: the rows and files that runs would have left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from motools.cache import Action, Cache
from motools.cache.commit import INSERT_ENTRY
from motools.cache.document import compact, entry_document
from motools.cache.entry import COLUMNS, checksum
from motools.cache.layout import blob_name, entry_name
from motools.cache.tree import Tree, TreeFile
from motools.digest import hash_bytes


@dataclass(frozen=True)
class Made:
    """What a run came to.

    Attributes:
        action: that was run.
        value: that it returned.
        files: name to bytes.
        labels: what it is found by.
    """

    action: Action
    value: Any
    files: Mapping[str, bytes] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def fill(cache: Cache, results: Iterable[Made]) -> None:
    """Put results into a cache in one transaction; nothing is synced."""
    rows, links = [], []
    blobs: dict[str, int] = {}
    for made in results:
        files = [_stored(cache, name, data) for name, data in made.files.items()]
        tree = Tree.of(files)
        if files:
            files.append(_stored(cache, "", tree.canonical))
        blobs |= {file.digest: file.size for file in files}
        links += [{"key": made.action.key, "digest": file.digest} for file in files]
        rows.append(_row(made, tree))
        row = [rows[-1][name] for name in COLUMNS.split(", ")]
        _write(cache, entry_name(made.action.key), entry_document([row]))
    with cache.database.write() as transaction:
        transaction.run_many(INSERT_ENTRY, rows)
        transaction.run_many(
            "INSERT INTO blobs (digest, size, state) VALUES (:digest, :size, 'live') "
            "ON CONFLICT DO NOTHING",
            [{"digest": digest, "size": size} for digest, size in blobs.items()],
        )
        transaction.run_many(
            "INSERT INTO entry_blobs (key, generation, digest) VALUES (:key, 1, :digest)", links
        )


def _stored(cache: Cache, name: str, data: bytes) -> TreeFile:
    digest = hash_bytes(data)
    _write(cache, blob_name(digest.hex), data)
    return TreeFile(name, digest.hex, digest.size)


def _write(cache: Cache, name: str, data: bytes) -> None:
    path = cache.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _row(made: Made, tree: Tree) -> dict[str, Any]:
    value, files = compact(made.value), compact(tree.rows)
    digest = tree.digest.hex if tree.files else None
    return {
        "key": made.action.key,
        "generation": 1,
        "kind": made.action.kind,
        "action": made.action.canonical.decode(),
        "value": value,
        "tree": digest,
        "files": files,
        "remote": None,
        "checksum": checksum(made.action.key, value, digest, files, None),
        "state": "live",
        "labels": compact(dict(made.labels)),
        "provenance": "{}",
        "created_at": time.time(),
        "duration": 60.0,
        "cost": None,
        "trashed_at": None,
    }
