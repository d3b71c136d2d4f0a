"""Stores on any fsspec file system."""

# ruff: noqa: D102 - the methods of every store are described by `Store`
from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from motools.cache.layout import TMP
from motools.cache.networked import NetworkedStore
from motools.cache.store import Unfinished, begun, inside, unavailable_because
from motools.errors import CacheUnavailableError, MotoolsError

_PIECE: Final = 8 << 20

_OBJECT_STORES: Final = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "r2"}
)
"""fsspec's names of file systems where a put appears whole or not at all."""


class FsspecStore(NetworkedStore):
    """Any fsspec file system.

    An object store shows an object once it is whole; elsewhere bytes are written
    under a temporary name first.

    Args:
        make: makes the file system, whose listings must not be cached. It is called once
            in each process, because connections must not cross a fork.
        root: the folder of the cache in it.
    """

    def __init__(self, make: Callable[[], Any], root: str) -> None:
        self._make = make
        self._made: tuple[int, Any] | None = None
        self.root = str(self.fs._strip_protocol(root)).rstrip("/")  # noqa: SLF001 - it has no other
        names = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        self._whole = bool(names & _OBJECT_STORES)

    @property
    def fs(self) -> Any:
        """The file system, this process's own."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = os.getpid(), self._make()
        return self._made[1]

    def upload(self, name: str, path: Path) -> None:
        with reached(f"cannot write {self._at(name)}"), self._target(name) as target:
            self.fs.put_file(os.fspath(path), target)

    def publish_bytes(self, name: str, data: bytes) -> None:
        with reached(f"cannot write {self._at(name)}"), self._target(name) as target:
            self.fs.pipe_file(target, data)

    @contextlib.contextmanager
    def _target(self, name: str) -> Iterator[str]:
        """Where to write so that readers of a name see all or nothing."""
        if self._whole:
            yield self._at(name)
            return
        temporary = self._at(f"{TMP}/{uuid.uuid4().hex}")
        self._make_folder(temporary)
        try:
            yield temporary
            self._make_folder(self._at(name))
            self.fs.mv(temporary, self._at(name))
        finally:
            if self.fs.exists(temporary):
                self.fs.rm_file(temporary)

    def _make_folder(self, path: str) -> None:
        if not self._whole:
            self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)

    def size(self, name: str) -> int | None:
        with reached(f"cannot look at {self._at(name)}"):
            try:
                found = self.fs.info(self._at(name))
            except FileNotFoundError:
                return None
            return int(found["size"]) if found["type"] == "file" else None
        raise AssertionError

    def modified(self, name: str) -> float | None:
        with reached(f"cannot look at {self._at(name)}"):
            try:
                return float(self.fs.modified(self._at(name)).timestamp())
            except FileNotFoundError:
                return None
        raise AssertionError

    def read(self, name: str) -> bytes | None:
        with reached(f"cannot read {self._at(name)}"):
            try:
                return bytes(self.fs.cat_file(self._at(name)))
            except FileNotFoundError:
                return None
        raise AssertionError

    def read_range(self, name: str, start: int, length: int) -> bytes | None:
        with reached(f"cannot read {self._at(name)}"):
            try:
                return bytes(self.fs.cat_file(self._at(name), start=start, end=start + length))
            except FileNotFoundError:
                return None
        raise AssertionError

    def stream(self, name: str, start: int = 0, *, ahead: int = 4) -> Iterator[bytes] | None:  # noqa: ARG002
        first = self.read_range(name, start, _PIECE)
        return None if first is None else self._pieces(name, start, first)

    def _pieces(self, name: str, start: int, piece: bytes | None) -> Iterator[bytes]:
        while piece:
            yield piece
            start += len(piece)
            piece = self.read_range(name, start, _PIECE)

    def move(self, name: str, to: str) -> bool:
        with reached(f"cannot move {self._at(name)} to {self._at(to)}"):
            self._make_folder(self._at(to))
            try:
                self.fs.cp_file(self._at(name), self._at(to))
                self.fs.rm_file(self._at(name))
            except FileNotFoundError:
                return False
        return True

    def remove(self, name: str) -> bool:
        with reached(f"cannot delete {self._at(name)}"):
            if self.size(name) is None:  # of that, some say that it was deleted
                return False
            self.fs.rm_file(self._at(name))
        return True

    def names(
        self, prefix: str, *, but: Collection[str] = frozenset()
    ) -> Iterator[tuple[str, int]]:
        with reached(f"cannot list {self._at(prefix)}"):
            found = self._found(self._at(prefix))
        for path, size in found:
            name = path[len(self._at("")) :]
            if name not in but:
                yield name, size

    def _found(self, top: str) -> list[tuple[str, int]]:
        """Path and size of every file below a folder; one that is not there has none."""
        if self._whole:
            try:
                infos = self.fs.find(top, detail=True).values()
            except FileNotFoundError:
                return []
            # Of a folder with nothing in it, some find the folder.
            return [(info["name"], int(info["size"])) for info in infos if info["type"] == "file"]
        # Not `find`, which takes a folder that may not be read for an empty one.
        folders, found = [top], []
        while folders:
            folder = folders.pop()
            try:
                infos = self.fs.ls(folder, detail=True)
            except FileNotFoundError:
                continue
            for info in infos:
                path = info["name"].rstrip("/")
                if info["type"] == "file":
                    found.append((path, int(info["size"])))
                elif info["type"] == "directory" and path != folder:
                    folders.append(path)
        return found

    def unfinished(self, folders: Sequence[str]) -> Iterator[Unfinished]:  # noqa: ARG002
        return iter(()) if self._whole else begun(self)

    def abandon(self, unfinished: Unfinished) -> bool:
        return self.remove(unfinished.name)

    def _at(self, name: str) -> str:
        return f"{self.root}/{inside(name)}"


@contextlib.contextmanager
def reached(what: str) -> Iterator[None]:
    """Say what kept the cache from a store over the network, and what to do.

    Raises:
        CacheUnavailableError: ``what``, why, and a hint.
    """
    try:
        yield
    except MotoolsError:
        raise
    except Exception as problem:
        # Not only what derives from OSError: libraries raise classes of their own, and whatever
        # it was, the answer is unknown.
        if isinstance(problem, OSError) and problem.errno is not None:
            raise unavailable_because(what, problem) from problem
        why = " ".join(str(problem).split()) or type(problem).__name__
        raise CacheUnavailableError(f"{what}: {why}; {_hint(problem)}") from problem


def _hint(problem: Exception) -> str:
    if isinstance(problem, PermissionError) or "redential" in type(problem).__name__:
        return (
            "see that the credentials that the storage's own tools use are the right ones and may "
            "list, read, write and delete there"
        )
    return "see that the server runs and can be reached, then run it again"
