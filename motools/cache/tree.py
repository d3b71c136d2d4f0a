"""Trees: directories as blobs.

A tree's blob is the canonical JSON of its files, so equal directories have
equal digests wherever they were made. Empty directories, times and owners are
not part of it.
"""

from __future__ import annotations

import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from motools.digest import EXACT, Digest, canonical_json, hash_bytes
from motools.errors import CacheError, CorruptDocumentError

SCHEMA: Final = "motools.tree/1"


@dataclass(frozen=True, slots=True, order=True)
class TreeFile:
    """One file of a tree.

    Attributes:
        path: relative, with ``/``.
        digest: BLAKE3-256 of the bytes, in hex.
        size: in bytes.
        executable: whether the owner may execute it.
    """

    path: str
    digest: str
    size: int
    executable: bool = False

    @classmethod
    def parse(cls, row: Any) -> TreeFile:
        """From ``[path, digest, size, executable]``, which a stranger may have written.

        Raises:
            CacheError: it is no such row.
        """
        if not isinstance(row, list) or len(row) != len(_TYPES):
            raise CacheError(f"{row!r} is no file of a tree")
        if any(type(part) is not kind for part, kind in zip(row, _TYPES, strict=True)):
            raise CacheError(f"{row!r} is no file of a tree")
        if not 0 <= row[2] < EXACT:
            raise CacheError(f"{row[0]!r} has no size: {row[2]}")
        return cls(*row)


_TYPES: Final = (str, str, int, bool)


@dataclass(frozen=True)
class Tree:
    """The files of a directory, in order of their paths."""

    files: tuple[TreeFile, ...]

    @classmethod
    def of(cls, files: Iterable[TreeFile]) -> Tree:
        """A tree of some files.

        Raises:
            CacheError: a path leaves the directory or is not UTF-8, a digest is none,
                or two paths would be one file on a file system that folds case or
                Unicode forms.
        """
        ordered = tuple(sorted(files, key=attrgetter("path")))
        seen: dict[str, str] = {}
        for file in ordered:
            _check_path(file.path)
            _check_digest(file.digest)
            folded = _folded(file.path)
            if folded in seen:
                raise _clash(file.path, seen[folded])
            seen[folded] = file.path
        for folded, path in seen.items():
            while folded := folded.rpartition("/")[0]:
                if folded in seen:
                    raise _clash(path, path)
        return cls(ordered)

    @classmethod
    def parse(cls, data: bytes) -> Tree:
        """The tree in a blob.

        Raises:
            CorruptDocumentError: the bytes are not a tree.
        """
        try:
            parts = json.loads(data)
            if parts["schema"] != SCHEMA:
                raise ValueError(parts["schema"])
            return cls.of(map(TreeFile.parse, parts["files"]))
        except (CacheError, ValueError, KeyError, TypeError, RecursionError) as problem:
            raise CorruptDocumentError(f"not a {SCHEMA} blob: {problem!r}") from problem

    @property
    def rows(self) -> list[list[object]]:
        """The files as plain JSON: ``[path, digest, size, executable]``."""
        return [[f.path, f.digest, f.size, f.executable] for f in self.files]

    @property
    def canonical(self) -> bytes:
        """The bytes of the tree's own blob."""
        return canonical_json({"schema": SCHEMA, "files": self.rows})

    @cached_property
    def digest(self) -> Digest:
        """What names the tree."""
        return hash_bytes(self.canonical)


def scan(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below a directory: its relative path and status.

    Raises:
        CacheError: there is something that is neither a file nor a directory.
    """
    stack = [("", os.fspath(directory))]
    while stack:
        prefix, folder = stack.pop()
        with os.scandir(folder) as found:
            for item in found:
                status = item.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    stack.append((f"{prefix}{item.name}/", item.path))
                elif stat.S_ISREG(status.st_mode):
                    yield prefix + item.name, status
                else:
                    raise CacheError(
                        f"{item.path} is neither a file nor a directory; links and devices are not "
                        "stored: put a copy of what it points to in its place"
                    )


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _clash(path: str, other: str) -> CacheError:
    return CacheError(
        f"{path!r} and {other!r} are one file where case or Unicode forms "
        "are folded (macOS, Windows): rename one of them"
    )


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise CacheError(f"{digest!r} is not a digest")


def _check_path(path: str) -> None:
    if not path.isascii() and _SURROGATE.search(path):
        raise CacheError(f"{path!r} is not UTF-8: rename it")
    if path.startswith("/") or "\\" in path or "\0" in path:
        raise CacheError(f"{path!r} is not a plain relative path")
    if any(part in _NOT_PARTS for part in path.split("/")):
        raise CacheError(
            f"{path!r} is not a plain relative path: it has an empty, '.' or '..' part"
        )


_DIGEST: Final = re.compile("[0-9a-f]{64}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NOT_PARTS: Final = frozenset({"", ".", ".."})
