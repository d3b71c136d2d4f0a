"""Blobs: immutable bytes under their digest, trusted no further than they are checked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from motools.cache.database import Database
from motools.cache.far import Downloads, arrives
from motools.cache.landing import land
from motools.cache.layout import blob_name, quarantined
from motools.cache.memo import FILES, Memos
from motools.cache.staging import copy, private, write
from motools.cache.store import Store, unavailable
from motools.cache.tree import Tree, TreeFile, scan
from motools.digest import Digest, hash_bytes, hash_private_file
from motools.errors import CacheUnavailableError, CorruptBlobError, MissingBlobError
from motools.memo import settled, signature


class Source(Protocol):
    """Where bytes come from that are not in the store."""

    def fetch(self, sizes: Mapping[str, int]) -> None:
        """Have some blobs in the store, given digest and size of each.

        Raises:
            MissingBlobError: the source has not all of them, or they are damaged there.
            CacheUnavailableError: it cannot be known.
        """


class Blobs:
    """The blobs of one cache.

    Args:
        root: the cache's directory on this machine, for temporary files.
        store: where the bytes are.
        database: what is known of them.

    Attributes:
        source: is asked for bytes that are not in the store; None: nobody is.
    """

    def __init__(self, root: Path, store: Store, database: Database, memo: Memos) -> None:
        self.root = root
        self.source: Source | None = None
        self._store = store
        self._database = database
        self._memo = memo
        self._downloads = Downloads(root, store)

    def absent(self, files: Iterable[Sequence[Any]]) -> list[str]:
        """Which of some ``[path, digest, size, …]`` have no bytes of that size in place."""
        wanted = {file[1]: file[2] for file in files}
        sizes = self._store.sizes([blob_name(digest) for digest in wanted])
        return [
            digest
            for (digest, size), there in zip(wanted.items(), sizes, strict=True)
            if there != size
        ]

    def seen_absent(self, files: Iterable[Sequence[Any]]) -> list[str]:
        """Like :meth:`absent`, as far as it costs nothing to know: for hits.

        None is looked for over a network: a hit would cost a request a file. There, what is
        missing is noticed when it is fetched.
        """
        if self._store.far:
            return []
        size = self._store.size
        return [file[1] for file in files if size(blob_name(file[1])) != file[2]]

    def gather(self, files: Iterable[Sequence[Any]]) -> None:
        """Have the bytes of some ``[path, digest, size, …]`` in the store, if a source has them.

        Raises:
            MissingBlobError: the source has not all of them.
        """
        if self.source is None:
            return
        sizes = {file[1]: file[2] for file in files}
        if absent := self.absent(("", *blob) for blob in sizes.items()):
            self.source.fetch({digest: sizes[digest] for digest in absent})

    def put_bytes(self, data: bytes) -> Digest:
        """Store bytes; :meth:`settle` makes them durable."""
        digest = hash_bytes(data)
        if self._store.read(blob_name(digest.hex)) != data:
            self._store.publish_bytes(blob_name(digest.hex), data)
        return digest

    def receive(self, digest: Digest, data: bytes) -> None:
        """Store bytes that came from elsewhere; :meth:`settle` makes them durable.

        Raises:
            CorruptBlobError: they are not what the digest says; nothing was stored.
        """
        if hash_bytes(data) != digest:
            raise _not_as_named(digest)
        with private(self.root) as path:
            write(data, path)
            self._publish(digest, path)

    def receive_from(
        self, store: Store, name: str, digest: Digest, *, ahead: int, seen: Callable[[int], None]
    ) -> bool:
        """Like :meth:`receive`, for what is under a name of another store; False: nothing is.

        Args:
            store: the other one.
            name: where it is there.
            digest: what it is.
            ahead: how many pieces are fetched while one is worked on.
            seen: is told of bytes that are here.
        """
        with private(self.root) as path:
            found = land(self.root, store, name, path, digest, ahead=ahead, seen=seen)
            if found is None:
                return False
            if found != digest:
                raise _not_as_named(digest)
            self._publish(digest, path)
        return True

    def take(self, directory: Path) -> Tree:
        """Store a private directory as a tree; its files are moved away.

        The caller must be the only one who has them open.
        """
        with unavailable(f"cannot read {directory}"):
            found = sorted(scan(directory))
        Tree.of(TreeFile(path, _UNKNOWN, 0) for path, _ in found)  # refuse bad names before moving
        files: list[TreeFile] = []

        def take(each: tuple[str, os.stat_result]) -> None:
            path, status = each
            source = directory / path
            if status.st_nlink > 1:  # under its other name someone could alter the blob
                digest = self._copy_in(source)
            else:
                digest = hash_private_file(source)
                self._publish(digest, source)
            files.append(TreeFile(path, digest.hex, digest.size, bool(status.st_mode & 0o100)))

        self._store.each(take, found)
        return Tree.of(files)

    def add(self, source: Path) -> Tree:
        """Store a copy of someone's file or directory as a tree.

        Files that have not changed since they were last added are not read.
        """
        found = _found(source)
        Tree.of(TreeFile(name, _UNKNOWN, 0) for name, _ in found.values())
        signatures = {path: signature(status) for path, (_, status) in found.items()}
        known = self._memo.recall_many(FILES, signatures)
        files, copied, facts = [], [], []
        for path, (name, status) in found.items():
            digest = known.get(path)
            if digest is None or self._store.size(blob_name(digest)) != status.st_size:
                started = time.time_ns()
                digest = self._copy_in(Path(path)).hex
                after = os.stat(path)
                if signature(after) != signatures[path]:
                    raise CacheUnavailableError(f"{path} changed while it was read: run it again")
                copied.append(TreeFile(name, digest, status.st_size))
                if settled(after, started):
                    facts.append((path, signatures[path], digest))
            executable = bool(status.st_mode & 0o100)
            files.append(TreeFile(name, digest, status.st_size, executable))
        tree = Tree.of(files)
        # Those found by a memo were settled before it was written.
        self.settle(file.digest for file in copied)
        self._memo.record_many(FILES, facts)
        return tree

    def settle(self, digests: Iterable[str]) -> None:
        """Return once the bytes of these blobs are durable, whoever stored them."""
        self._store.settle(sorted({blob_name(digest) for digest in digests}))

    def path(self, digest: str, size: int) -> Path:
        """A local, read-only file with exactly these bytes.

        In the local store it is the blob's own file, trusted while its status
        is as when it was last hashed; elsewhere a copy that was hashed on arrival.

        Raises:
            MissingBlobError: the bytes are not there.
            CorruptBlobError: they were altered; they are in ``quarantine/`` now.
        """
        return self._found(digest, size, self._signature(digest))

    def unchecked_path(self, digest: str, size: int) -> Path:
        """A file that should have these bytes, for showing; it may not be there."""
        return self._store.path(blob_name(digest)) or self._downloaded(Digest(digest, size))

    def hashed_path(self, digest: str, size: int) -> Path:
        """Like :meth:`path`, but the bytes are hashed now, whatever the file's status."""
        return self._found(digest, size, None)

    def read(self, digest: str, size: int) -> bytes:
        """The bytes of a blob, checked against its digest as they are read."""
        data = b""

        def fetch() -> Digest:
            nonlocal data
            found = self._store.read(blob_name(digest))
            if found is None and self.source is not None:
                self.source.fetch({digest: size})
                found = self._store.read(blob_name(digest))
            if found is None:
                raise self._missing(digest)
            data = found
            return hash_bytes(data)

        if not arrives(Digest(digest, size), fetch):
            raise self._quarantined(digest)
        return data

    def digest_at(self, name: str) -> Digest | None:
        """The digest of the bytes under a name of the store, all read now; None: not there.

        Raises:
            CacheUnavailableError: they cannot be read.
        """
        path = self._store.path(name)
        with unavailable(f"cannot read {name}"):
            try:
                return hash_private_file(path) if path else self._downloads.digest_at(name)
            except FileNotFoundError:
                return None
        raise AssertionError

    def quarantine(self, digest: str) -> bool:
        """Put bytes aside that are not what their name says; False: they are right after all.

        Between being found wrong and being moved they may have been replaced by right ones.
        """
        place = quarantined(digest)
        self._store.move(blob_name(digest), place)
        found = self.digest_at(place)
        if found is not None and found.hex == digest:
            self._store.move(place, blob_name(digest))
            return False
        return True

    def _found(self, digest: str, size: int, known: str | None) -> Path:
        try:
            return self._verified(digest, size, known)
        except MissingBlobError:
            if self.source is None:
                raise
        self.source.fetch({digest: size})
        return self._verified(digest, size, None)

    def _verified(self, digest: str, size: int, known: str | None) -> Path:
        path = self._store.path(blob_name(digest))
        if path is None:
            return self._downloaded(Digest(digest, size))
        with unavailable(f"cannot read {path}"):
            try:
                status = os.stat(path)
                if known is not None and known == signature(status):
                    return path
                started = time.time_ns()
                found = hash_private_file(path)
            except FileNotFoundError:
                raise self._missing(digest) from None
        if found != Digest(digest, size):
            raise self._quarantined(digest)
        if settled(status, started):
            self._remember(digest, signature(status))
        return path

    def _downloaded(self, wanted: Digest) -> Path:
        try:
            path = self._downloads.path(wanted)
        except FileNotFoundError:
            raise self._missing(wanted.hex) from None
        if path is None:
            raise self._quarantined(wanted.hex)
        return path

    def _signature(self, digest: str) -> str | None:
        rows = self._database.read("SELECT signature FROM blobs WHERE digest = ?", (digest,))
        return rows[0][0] if rows else None

    def _remember(self, digest: str, mark: str) -> None:
        with self._database.write() as transaction:
            transaction.run(
                "UPDATE blobs SET signature = :mark WHERE digest = :digest",
                mark=mark,
                digest=digest,
            )

    def _publish(self, digest: Digest, path: Path) -> None:
        name = blob_name(digest.hex)
        # A local rename costs nothing and mends a blob that was altered unnoticed.
        if self._store.path(name) is None and self._store.size(name) == digest.size:
            path.unlink()
        else:
            self._store.publish_file(name, path)

    def _copy_in(self, source: Path) -> Digest:
        # What is kept is what was hashed: the original may be written to meanwhile.
        with private(self.root) as path:
            digest = copy(source, path)
            self._publish(digest, path)
        return digest

    def _missing(self, digest: str) -> MissingBlobError:
        return MissingBlobError(
            f"blob {digest[:12]} is recorded but its bytes are not at {blob_name(digest)}. "
            f"{_WAY_OUT}"
        )

    def _quarantined(self, digest: str) -> CorruptBlobError:
        self._store.move(blob_name(digest), quarantined(digest))
        return CorruptBlobError(
            f"blob {digest[:12]} was altered: its bytes are not what their name says. "
            f"They were moved to {quarantined(digest)} and are not served. {_WAY_OUT}"
        )


_UNKNOWN: Final = "0" * 64

_WAY_OUT: Final = (
    "`motools cache repair` puts a good copy back, or releases the entries that need it; "
    "what is cleared (`motools cache clear`) is made again"
)


def _not_as_named(digest: Digest) -> CorruptBlobError:
    return CorruptBlobError(f"what arrived as blob {digest.short} is something else")


def _found(source: Path) -> dict[str, tuple[str, os.stat_result]]:
    if source.is_dir():
        root = os.path.abspath(source)
        return {f"{root}/{name}": (name, status) for name, status in scan(source)}
    return {os.path.abspath(source): (source.name, os.stat(source))}
