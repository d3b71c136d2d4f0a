"""Undelete: entries come back out of the trash, and released ones' files, with their blobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from motools.cache.commit import make_live, mark_behind
from motools.cache.database import Transaction
from motools.cache.layout import blob_name, trashed
from motools.cache.tree import Tree, TreeFile
from motools.errors import KeyNotFoundError

if TYPE_CHECKING:
    from motools.cache.cache import Cache

_LINKED: Final = (
    "EXISTS (SELECT 1 FROM entry_blobs l WHERE l.key = entries.key "
    "AND l.generation = entries.generation)"
)
"""Without a link, the files of a cleared entry had been released for good."""

_NEED_BYTES: Final = (
    "SELECT generation, files FROM entries "
    f"WHERE key = {{key}} AND trashed_at IS NOT NULL AND {_LINKED}"
)


def undelete(cache: Cache, keys: Sequence[str]) -> int:
    """Take entries out of the trash, and released ones' files, with their blobs.

    An entry whose bytes are at a remote, and were not fetched before it was
    cleared, is again one whose bytes are there.

    Returns:
        How many.

    Raises:
        KeyNotFoundError: a key is not in the trash.
        MissingBlobError: a blob is gone for good; all stay in the trash.
        CacheUnavailableError: a remote that may have a blob cannot be asked.
    """
    at_remotes = _at_remotes(cache, keys)
    with cache.database.write() as transaction:
        for key in keys:
            restored = transaction.run(
                f"UPDATE entries SET state = CASE WHEN files = '[]' OR {_LINKED} "
                "THEN 'live' ELSE 'released' END WHERE key = :key AND trashed_at IS NOT NULL",
                key=key,
            ).rowcount
            if not restored:
                raise KeyNotFoundError(f"{key[:12]} is not in the trash")
            _bring_blobs(cache, transaction, key, at_remotes)
            transaction.run("UPDATE entries SET trashed_at = NULL WHERE key = :key", key=key)
            mark_behind(transaction, key)
    cache.documents.flush()
    return len(keys)


def _bring_blobs(
    cache: Cache, transaction: Transaction, key: str, at_remotes: Mapping[str, int]
) -> None:
    rows: Any = transaction.run(_NEED_BYTES.format(key=":key"), key=key).all()
    for generation, files in rows:
        sizes = _needed(files)
        here = {digest: size for digest, size in sizes.items() if digest not in at_remotes}
        make_live(transaction, cache.store, here)
        if len(here) == len(sizes):
            continue
        transaction.run_many(
            "UPDATE blobs SET state = 'live', trashed_at = NULL WHERE digest = :digest",
            [{"digest": digest} for digest in sizes],
        )
        transaction.run(
            "UPDATE entries SET state = 'remote' WHERE key = :key AND generation = :generation",
            key=key,
            generation=generation,
        )


def _at_remotes(cache: Cache, keys: Sequence[str]) -> dict[str, int]:
    """Digest to size of the blobs that are not here and that a remote has."""
    sizes: dict[str, int] = {}
    trees: set[str] = set()
    for key in keys:
        for _, files in cache.database.read(_NEED_BYTES.format(key="?"), (key,)):
            needed = _needed(files)
            sizes |= needed
            trees |= needed.keys() - {digest for _, digest, *_ in json.loads(files)}
    names = [blob_name(digest) for digest in sizes]
    found = zip(
        sizes.items(),
        cache.store.sizes(names),
        cache.store.sizes([trashed(name) for name in names]),
        strict=True,
    )
    absent = {digest: size for (digest, size), *places in found if size not in places}
    files = absent.keys() - trees
    if not files:
        return {}
    from motools.remotes import held

    # A tree is in no remote: it is made of the entry's record when its files come.
    there = held(cache, files) | trees
    return {digest: size for digest, size in absent.items() if digest in there}


def _needed(files: str) -> dict[str, int]:
    """Digest to size of some files, and of their tree's blob, whatever the tables know of them."""
    tree = Tree.of(TreeFile(*file) for file in json.loads(files))
    sizes = {file.digest: file.size for file in tree.files}
    return {**sizes, tree.digest.hex: tree.digest.size} if tree.files else sizes
