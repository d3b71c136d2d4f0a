"""The one transaction that makes a result an entry."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from motools.cache.action import Action
from motools.cache.context import RunContext
from motools.cache.database import Transaction
from motools.cache.document import compact
from motools.cache.entry import COLUMNS, checksum
from motools.cache.layout import blob_name, trashed
from motools.cache.lease import end, require
from motools.cache.marks import set_mark
from motools.cache.store import Store
from motools.cache.tree import Tree
from motools.digest import canonical_json
from motools.errors import CanonicalError, MissingBlobError, ResultError


def commit(context: RunContext, *, value: Any, duration: float) -> tuple[Any, ...]:
    """Store a run's value and files under its key and end the lease.

    Blobs are durable before the row is; the row is there only if the lease
    still holds, and with it its signature, if the cache has a signer; the document
    follows from the outbox.

    Returns:
        The entry's row.

    Raises:
        ResultError: the value or what was said besides it is not JSON; nothing was stored.
        LeaseLostError: somebody else took the key over; nothing was stored.
    """
    said = _said(context, value)
    cache = context.cache
    blobs = cache.blobs
    tree = blobs.take(context.directory)
    sizes = {file.digest: file.size for file in tree.files}
    if tree.files:
        manifest = blobs.put_bytes(tree.canonical)
        sizes[manifest.hex] = manifest.size
    blobs.settle(sizes)
    row = _row(context.action, tree, said, duration)
    lease = context.lease
    with cache.database.write() as transaction:
        require(transaction, lease)
        make_live(transaction, cache.store, sizes)
        row["generation"] = transaction.run(
            "SELECT COALESCE(MAX(generation), 0) + 1 FROM entries WHERE key = :key", key=lease.key
        ).scalar_one()
        transaction.run(INSERT_ENTRY, **row)
        link(transaction, lease.key, row["generation"], sizes)
        columns = tuple(row[name] for name in COLUMNS.split(", "))
        if cache.signer is not None:
            set_mark(transaction, lease.key, cache.signer.sign(columns), "")
        mark_behind(transaction, lease.key)
        end(transaction, lease, committed=True)
    return columns


def check_json(value: Any, path: str) -> None:
    """Refuse what JSON would alter or could not hold.

    Raises:
        ResultError: it names the path.
    """
    try:
        canonical_json(value, path)
    except (CanonicalError, ValueError) as problem:
        where = problem if isinstance(problem, CanonicalError) else f"{path}: {problem}"
        raise ResultError(f"{where}; only JSON can be stored, so nothing was") from problem


def make_live(transaction: Transaction, store: Store, sizes: dict[str, int]) -> None:
    """Have every blob live in the tables and its bytes in place, out of the trash if need be.

    Raises:
        MissingBlobError: the bytes are neither in place nor in the trash.
    """
    there = store.sizes([blob_name(digest) for digest in sizes])
    for (digest, size), found in zip(sizes.items(), there, strict=True):
        name = blob_name(digest)
        if found != size:
            if store.size(trashed(name)) != size or not store.move(trashed(name), name):
                raise MissingBlobError(
                    f"the bytes of blob {digest[:12]} are neither at {name} nor in the trash: "
                    "what needs them has to be run again"
                )
            store.settle([name])
        transaction.run(
            "INSERT INTO blobs (digest, size, state) VALUES (:digest, :size, 'live') "
            "ON CONFLICT (digest) DO UPDATE SET state = 'live', trashed_at = NULL",
            digest=digest,
            size=size,
        )


def link(transaction: Transaction, key: str, generation: int, digests: Iterable[str]) -> None:
    """Record which blobs an entry needs."""
    transaction.run_many(
        "INSERT INTO entry_blobs (key, generation, digest) VALUES (:key, :generation, :digest) "
        "ON CONFLICT DO NOTHING",
        [{"key": key, "generation": generation, "digest": digest} for digest in digests],
    )


def mark_behind(transaction: Transaction, key: str) -> None:
    """Have the document of a key written soon."""
    transaction.run("INSERT INTO outbox (name) VALUES (:key)", key=key)


def _said(context: RunContext, value: Any) -> dict[str, Any]:
    """What a run returned and said, as the tables hold it."""
    remote = context.remote.to_json() if context.remote is not None else None
    for name, label in context.labels.items():
        if not isinstance(label, str):
            raise ResultError(f"labels.{name}: {label!r} is not text; nothing was stored")
    said = {
        "value": value,
        "labels": context.labels,
        "provenance": context.provenance,
        "remote": remote,
        "cost": context.cost,
    }
    for path, part in said.items():
        check_json(part, path)
    return {
        name: part if name == "cost" or (name == "remote" and part is None) else compact(part)
        for name, part in said.items()
    }


def _row(action: Action, tree: Tree, said: dict[str, Any], duration: float) -> dict[str, Any]:
    files = compact(tree.rows)
    digest = tree.digest.hex if tree.files else None
    return {
        "key": action.key,
        "kind": action.kind,
        "action": action.canonical.decode(),
        "tree": digest,
        "files": files,
        **said,
        "checksum": checksum(action.key, said["value"], digest, files, said["remote"]),
        "state": "live",
        "created_at": time.time(),
        "duration": duration,
        "trashed_at": None,
    }


INSERT_ENTRY: Final = f"INSERT INTO entries ({COLUMNS}) VALUES (:{', :'.join(COLUMNS.split(', '))})"
