"""The store: named bytes, published whole or not at all.

A store knows names and bytes, nothing of digests, keys or what they are for.
Stores are in ``local``, ``file_system`` and ``s3``.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from motools.cache.layout import TMP
from motools.errors import CacheUnavailableError

T = TypeVar("T")

CHUNK: Final = 8 << 20
"""Bytes that are read at once."""


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


def begun(store: Store) -> Iterator[Unfinished]:
    """What is under temporary names in a store that writes there first."""
    for name, size in store.names(TMP):
        changed = store.modified(name) if is_temporary(name) else None
        if changed is not None:
            yield Unfinished(name, "", changed, size)


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
            shutil.copyfileobj(reader, writer, CHUNK)
    shutil.copymode(source, target)
    target.chmod(target.stat().st_mode | 0o200)


_FICLONE: Final = 0x40049409
"""ioctl number from linux/fs.h."""


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
