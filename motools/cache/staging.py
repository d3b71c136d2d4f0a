"""Private files in ``tmp/``, on their way into the store or out of a far one."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from motools.cache.layout import TMP
from motools.cache.store import copy_file, unavailable
from motools.digest import Digest, hash_bytes, hash_private_file

_SMALL: Final = 1 << 20


@contextmanager
def private(root: Path) -> Iterator[Path]:
    """A path for a file of one's own; what is still there at the end is removed."""
    path = root / TMP / uuid.uuid4().hex
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def write(data: bytes, path: Path) -> None:
    """Make a private file of bytes."""
    with unavailable(f"cannot write {path}"), _opened_read_only(path) as stream:
        stream.write(data)


def copy(source: Path, path: Path) -> Digest:
    """Make a private copy of somebody's file; returns the digest of what was copied."""
    with unavailable(f"cannot copy {source} into the cache"):
        if os.stat(source).st_size >= _SMALL:
            copy_file(source, path)
            return hash_private_file(path)
        data = source.read_bytes()
        with _opened_read_only(path) as stream:
            stream.write(data)
        return hash_bytes(data)
    raise AssertionError


def _opened_read_only(path: Path) -> io.BufferedWriter:
    """A new file to write to that nobody can open for writing again."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb")
