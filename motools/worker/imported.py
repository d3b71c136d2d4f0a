"""Modules of this process, and whether a fresh interpreter would still have the same."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import time
from collections.abc import Iterator
from importlib.machinery import all_suffixes
from typing import Final, TypeAlias

_Signature: TypeAlias = tuple[int, int, int, int] | None

_GRANULARITY_NS: Final = 20_000_000
"""Clocks of file systems tick at least this often."""

_SUFFIXES: Final = (*all_suffixes(), ".pth", ".dist-info", ".egg-info")


class Imported:
    """What this process has imported since it began."""

    def __init__(self) -> None:
        self._found = {path: _importable(path) for path in sys.path}
        self._files: dict[str, _Signature] = {}
        self._meanwhile: list[str] = []
        self._names: set[str] = set()

    def add(self, names: list[str]) -> None:
        """Import modules, those that are not imported yet; what is not there is passed over."""
        if self._names.issuperset(names):
            return
        began = time.time_ns() - _GRANULARITY_NS
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        self._names.update(names)
        new = {path: _signature(path) for path in _files() if path not in self._files}
        self._meanwhile += [path for path, at in new.items() if at and max(at[1:3]) > began]
        self._files |= new
        gc.collect()
        gc.freeze()  # a collection in a worker would otherwise copy the memory of all of this

    def changed(self) -> str | None:
        """A path that is not as it was when the imports began; None if all are."""
        return next(self._changes(), None)

    def _changes(self) -> Iterator[str]:
        yield from self._meanwhile
        yield from (path for path, seen in self._files.items() if _signature(path) != seen)
        yield from (path for path, seen in self._found.items() if _importable(path) != seen)


def _files() -> Iterator[str]:
    for module in tuple(sys.modules.values()):
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str):
            yield path


def _signature(path: str) -> _Signature:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return None


def _importable(directory: str) -> set[str]:
    """What may be imported from a directory, or says which versions are there."""
    with contextlib.suppress(OSError):
        return {name for name in os.listdir(directory) if _is_importable(name)}
    return set()


def _is_importable(name: str) -> bool:
    return name.isidentifier() or name.endswith(_SUFFIXES)
