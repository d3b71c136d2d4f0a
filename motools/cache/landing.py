"""How a large file lands here: hashed as it comes, in constant memory, and where it stopped.

What has come of a blob stays in ``tmp/partial/`` under its digest, written in order: whoever
wants it next hashes that much and asks for the rest. It is trusted no further than that.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from blake3 import blake3

from motools.cache.layout import TMP
from motools.cache.store import Store, copy_file, unavailable
from motools.digest import Digest, hash_private_file

PARTIAL: Final = "partial"
"""Folder below ``tmp/`` of what has not come whole."""

_WORTH_KEEPING: Final = 8 << 20
"""Bytes from which on a part that has come is kept."""

_READ: Final = 8 << 20

_SYNC: Final = 64 << 20
"""Bytes that are given to the disk at a time."""


def _unseen(_count: int) -> None:
    """Nobody is told."""


def land(
    root: Path,
    store: Store,
    name: str,
    target: Path,
    wanted: Digest | None,
    *,
    ahead: int = 4,
    seen: Callable[[int], None] = _unseen,
) -> Digest | None:
    """Copy what is under a name of a store to a private file, and say what it is.

    Args:
        root: the cache's directory on this machine.
        store: where it is.
        name: its name there.
        target: of the file.
        wanted: what it should be; what has come of that is gone on with. None: unknown.
        ahead: how many pieces are fetched while one is worked on.
        seen: is told of bytes that are here.

    Returns:
        The digest of what arrived, perhaps another one; None: it is not there. Of what
        is longer than wanted, no more comes than shows that it is.
    """
    most = sys.maxsize if wanted is None else wanted.size + 1
    here = store.path(name)
    if here is not None and (store.size(name) or 0) < most:
        return _copied(here, target, seen)
    with _to_write(root, target, wanted) as (file, path):
        found = _Landing(file, seen).fetch(store, name, ahead, most)
        with unavailable(f"cannot move {path}"):
            if found is None:
                path.unlink()
            elif path != target:
                path.replace(target)
        return found


def _copied(source: Path, target: Path, seen: Callable[[int], None]) -> Digest | None:
    with unavailable(f"cannot copy {source} to {target}"):
        try:
            copy_file(source, target)
        except FileNotFoundError:
            return None
        found = hash_private_file(target)
    seen(found.size)
    return found


class _Landing:
    """A file that grows, and the digest of what is in it."""

    def __init__(self, file: BinaryIO, seen: Callable[[int], None]) -> None:
        self._file = file
        self._seen = seen
        self._hasher = blake3()  # one thread is quicker than any network
        self._size = self._synced = 0
        self._syncing: Future[None] | None = None

    def fetch(self, store: Store, name: str, ahead: int, most: int) -> Digest | None:
        with unavailable(f"cannot read {self._file.name}"):
            while piece := self._file.read(_READ):
                self._count(piece)
        pieces = store.stream(name, self._size, ahead=ahead)
        if pieces is None:
            return None
        with ThreadPoolExecutor(1) as pool:
            for whole in pieces:
                piece = whole[: max(most - self._size, 0)]
                with unavailable(f"cannot write {self._file.name}"):
                    self._file.write(piece)
                    self._sync(pool)
                self._count(piece)
                if self._size >= most:
                    break
        with unavailable(f"cannot write {self._file.name}"):
            self._file.flush()
            if self._syncing is not None:
                self._syncing.result()
        return Digest(self._hasher.hexdigest(), self._size)

    def _sync(self, pool: Executor) -> None:
        """Have the disk busy while the network is, rather than after it."""
        if self._size - self._synced < _SYNC or (self._syncing and not self._syncing.done()):
            return
        if self._syncing is not None:
            self._syncing.result()
        self._syncing = pool.submit(os.fsync, self._file.fileno())
        self._synced = self._size

    def _count(self, piece: bytes) -> None:
        self._hasher.update(piece)
        self._size += len(piece)
        self._seen(len(piece))


@contextmanager
def _to_write(root: Path, target: Path, wanted: Digest | None) -> Iterator[tuple[BinaryIO, Path]]:
    """A file to write to, which stays where it is if writing it fails, and its path.

    It is one's own: of two who want the same blob, the second begins anew in another.
    """
    path, kept = target, None
    with unavailable(f"cannot write {target}"):
        if wanted is not None and wanted.size >= _WORTH_KEEPING:
            path = root / TMP / PARTIAL / wanted.hex
            kept = _locked(path)
        file = kept or (path := target).open("w+b")
    with file:
        yield file, path


def _locked(path: Path) -> BinaryIO | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last holder may have moved it away between the two calls.
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None
