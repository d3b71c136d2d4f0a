"""The store: named bytes, published whole or not at all.

A store knows names and bytes, nothing of digests, keys or what they are for.
:class:`LocalStore` is a directory; others are in ``file_system`` and ``s3``.
"""

# ruff: noqa: D102 - the methods of every store are described by `Store`
from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeVar

from motools.cache.layout import TMP
from motools.durable import sync
from motools.errors import CacheUnavailableError

T = TypeVar("T")

_CHUNK: Final = 8 << 20


@dataclass(frozen=True)
class Unfinished:
    """What somebody began to write to a store, and has not published.

    Attributes:
        name: that it was to get, or has until then.
        id: tells it from others of that name.
        started: when it was begun, or written to last (seconds since 1970).
        size: bytes that are there.
    """

    name: str
    id: str
    started: float
    size: int


class Store(Protocol):
    """Named bytes. Names are relative, with ``/``.

    Every method raises :class:`CacheUnavailableError` when the store cannot be
    read or written: that is never the same as "not there".

    Attributes:
        far: whether each question is a request over a network.
    """

    far: bool

    def publish_file(self, name: str, path: Path) -> None:
        """Move a private file to a name, replacing what was there. Readers see all or nothing."""

    def upload(self, name: str, path: Path) -> None:
        """Publish a copy of a file; :meth:`settle` makes it durable."""

    def publish_bytes(self, name: str, data: bytes) -> None:
        """Publish bytes under a name; durable when this returns."""

    def settle(self, names: Iterable[str]) -> None:
        """Return once these names, published earlier by anyone, survive a power cut.

        Those that are not there (any more) are passed over.
        """

    def size(self, name: str) -> int | None:
        """Bytes under a name, or None: not there."""

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """The same of several names."""

    def each(self, work: Callable[[T], object], items: Sequence[T]) -> None:
        """Do some work in this store for each of several items, side by side where that helps."""

    def modified(self, name: str) -> float | None:
        """When the bytes under a name were written (seconds since 1970), or None: not there."""

    def read(self, name: str) -> bytes | None:
        """The bytes under a name, or None: not there."""

    def read_range(self, name: str, start: int, length: int) -> bytes | None:
        """Some of the bytes under a name, fewer where it ends before; None: not there."""

    def stream(self, name: str, start: int = 0, *, ahead: int = 4) -> Iterator[bytes] | None:
        """The bytes under a name from some place on, in pieces; None: not there.

        Args:
            name: theirs.
            start: how many to leave out.
            ahead: how many pieces may be fetched while one is worked on.
        """

    def path(self, name: str) -> Path | None:
        """The local file behind a name, where there is one that can be read in place."""

    def move(self, name: str, to: str) -> bool:
        """Rename; False when there is nothing under ``name``. Safe to repeat."""

    def remove(self, name: str) -> bool:
        """Delete; False when there was nothing."""

    def names(
        self, prefix: str, *, but: Collection[str] = frozenset()
    ) -> Iterator[tuple[str, int]]:
        """Every name below a folder, with its size.

        Args:
            prefix: the folder.
            but: names to leave out: on a local disk, a size costs more than a name.
        """

    def unfinished(self, folders: Sequence[str]) -> Iterator[Unfinished]:
        """What is being written, by anybody, or was when somebody died.

        Args:
            folders: where the caller's large files go. There may be other things below the
                place of a store, such as another store: they are nobody's business here.
        """

    def abandon(self, unfinished: Unfinished) -> bool:
        """Delete it; False: it is gone, or was published."""


class LocalStore:
    """A directory on a local file system."""

    far = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = f"{root}/"

    def publish_file(self, name: str, path: Path) -> None:
        target = self._at(name)
        with unavailable(f"cannot write {target}"):
            mode = path.stat().st_mode
            if mode & 0o222:
                path.chmod(0o444 | (mode & 0o111))
            if target.exists():
                sync(path)  # what is there may be durable, and must not give way to less
            try:
                path.replace(target)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)

    def upload(self, name: str, path: Path) -> None:
        copy = self.root / TMP / uuid.uuid4().hex
        with unavailable(f"cannot copy {path} to {self._at(name)}"):
            try:
                copy_file(path, copy)
                self.publish_file(name, copy)
            finally:
                copy.unlink(missing_ok=True)

    def publish_bytes(self, name: str, data: bytes) -> None:
        target = self._at(name)
        temporary = self.root / TMP / f"{uuid.uuid4().hex}.tmp"
        with unavailable(f"cannot write {target}"):
            try:
                with temporary.open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
                sync(target.parent)
                sync(target.parent.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def settle(self, names: Iterable[str]) -> None:
        paths = [self._at(name) for name in names]
        with unavailable(f"cannot make files durable in {self.root}"):
            if len(paths) > _SYNC_ONE_BY_ONE and hasattr(os, "sync"):
                os.sync()
                return
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    sync(path)
            for folder in {path.parent for path in paths}:
                with contextlib.suppress(FileNotFoundError):
                    sync(folder)
                    sync(folder.parent)

    def size(self, name: str) -> int | None:
        # On the path of every hit, so without the context manager and pathlib.
        try:
            return os.stat(f"{self._prefix}{inside(name)}").st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise unavailable_because(f"cannot look at {self._at(name)}", problem) from problem

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        return [self.size(name) for name in names]

    def each(self, work: Callable[[T], object], items: Sequence[T]) -> None:
        for item in items:
            work(item)

    def modified(self, name: str) -> float | None:
        with unavailable(f"cannot look at {self._at(name)}"):
            try:
                return self._at(name).stat().st_mtime
            except FileNotFoundError:
                return None
        raise AssertionError

    def read(self, name: str) -> bytes | None:
        with unavailable(f"cannot read {self._prefix}{name}"):
            try:
                with open(f"{self._prefix}{inside(name)}", "rb", buffering=0) as stream:
                    return stream.read()
            except FileNotFoundError:
                return None
        raise AssertionError

    def read_range(self, name: str, start: int, length: int) -> bytes | None:
        with unavailable(f"cannot read {self._at(name)}"):
            try:
                with self._at(name).open("rb") as stream:
                    stream.seek(start)
                    return stream.read(length)
            except FileNotFoundError:
                return None
        raise AssertionError

    def stream(self, name: str, start: int = 0, *, ahead: int = 4) -> Iterator[bytes] | None:  # noqa: ARG002
        with unavailable(f"cannot read {self._at(name)}"):
            try:
                file = self._at(name).open("rb")
            except FileNotFoundError:
                return None
        return self._pieces(file, start)

    def _pieces(self, file: BinaryIO, start: int) -> Iterator[bytes]:
        with file, unavailable(f"cannot read {file.name}"):
            file.seek(start)
            while piece := file.read(_CHUNK):
                yield piece

    def path(self, name: str) -> Path | None:
        return self._at(name)

    def move(self, name: str, to: str) -> bool:
        source, target = self._at(name), self._at(to)
        with unavailable(f"cannot move {source} to {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                source.replace(target)
            except FileNotFoundError:
                return False
        return True

    def remove(self, name: str) -> bool:
        with unavailable(f"cannot delete {self._at(name)}"):
            try:
                self._at(name).unlink()
            except FileNotFoundError:
                return False
        return True

    def names(
        self, prefix: str, *, but: Collection[str] = frozenset()
    ) -> Iterator[tuple[str, int]]:
        folders = [prefix]
        with unavailable(f"cannot list {self._at(prefix)}"):
            while folders:
                folder = folders.pop()
                # What is not there was never written, or removed since it was listed.
                with (
                    contextlib.suppress(FileNotFoundError),
                    os.scandir(self.root / folder) as found,
                ):
                    for item in found:
                        name = f"{folder}/{item.name}" if folder else item.name
                        if item.is_dir():
                            folders.append(name)
                            continue
                        if name in but:
                            continue
                        try:
                            size = item.stat().st_size
                        except FileNotFoundError:
                            continue
                        yield name, size

    def unfinished(self, folders: Sequence[str]) -> Iterator[Unfinished]:  # noqa: ARG002
        for name, size in self.names(TMP):
            changed = self.modified(name) if is_temporary(name) else None
            if changed is not None:
                yield Unfinished(name, "", changed, size)

    def abandon(self, unfinished: Unfinished) -> bool:
        return self.remove(unfinished.name)

    def _at(self, name: str) -> Path:
        return self.root / inside(name)


def inside(name: str) -> str:
    """A name, if it stays in its store; some come from whoever may write to a remote.

    Raises:
        CacheUnavailableError: it leads out of the store.
    """
    if name.startswith("/") or (".." in name and ".." in name.split("/")):
        raise CacheUnavailableError(
            f"{name!r} leads out of the store, so it was not touched: see who may write to the "
            "remotes of this cache"
        )
    return name


def is_temporary(name: str) -> bool:
    """Whether stores write under such a name what is to get another one."""
    return _TEMPORARY.fullmatch(name) is not None


_TEMPORARY: Final = re.compile(rf"{TMP}/[0-9a-f]{{32}}(\.tmp)?")


def copy_file(source: Path, target: Path) -> None:
    """Copy bytes, sharing the blocks where the file system can (a reflink), never a hard link."""
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            import fcntl

            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except (ImportError, OSError):
            shutil.copyfileobj(reader, writer, _CHUNK)
    shutil.copymode(source, target)
    target.chmod(target.stat().st_mode | 0o200)


_FICLONE: Final = 0x40049409
"""ioctl number from linux/fs.h."""

_SYNC_ONE_BY_ONE: Final = 200


@contextlib.contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Say what an error of the operating system kept the cache from, and what to do.

    Raises:
        CacheUnavailableError: ``what``, why, and a hint.
    """
    try:
        yield
    except OSError as problem:
        raise unavailable_because(what, problem) from problem


def unavailable_because(what: str, problem: OSError) -> CacheUnavailableError:
    """The error that :func:`unavailable` raises."""
    hint = _HINTS.get(problem.errno or 0, "check the disk and the connection, then run it again")
    return CacheUnavailableError(f"{what}: {problem.strerror or problem}; {hint}")


_WRITABLE: Final = "make it writable, or point --cache-dir or MOTOOLS_CACHE_DIR elsewhere"
_HINTS: Final = {
    errno.ENOSPC: "free some space (`motools cache size --breakdown` shows what takes it)",
    errno.EDQUOT: "free some space (`motools cache size --breakdown` shows what takes it)",
    errno.EROFS: _WRITABLE,
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.ENOLCK: "put the cache on a local disk (--cache-dir, MOTOOLS_CACHE_DIR)",
}
