"""The store on this machine: a directory."""

# ruff: noqa: D102 - the methods of every store are described by `Store`
from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from motools.cache.layout import TMP
from motools.cache.store import (
    CHUNK,
    Unfinished,
    begun,
    copy_file,
    inside,
    unavailable,
    unavailable_because,
)
from motools.durable import sync

T = TypeVar("T")

_SYNC_ONE_BY_ONE: Final = 200


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
            while piece := file.read(CHUNK):
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
        return begun(self)

    def abandon(self, unfinished: Unfinished) -> bool:
        return self.remove(unfinished.name)

    def _at(self, name: str) -> Path:
        return self.root / inside(name)
