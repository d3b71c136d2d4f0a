"""``motools.json``: what makes a directory a cache."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from motools.cache import layout
from motools.errors import CacheNotFoundError, CacheUnavailableError, CacheVersionError

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

_FOLDERS: Final = (
    layout.OBJECTS,
    layout.ENTRIES,
    layout.JOURNAL,
    layout.EVALS,
    layout.JOBS,
    layout.TMP,
    layout.TRASH,
    layout.QUARANTINE,
)


@dataclass(frozen=True)
class Marker:
    """What the file says.

    Attributes:
        id: the cache's identity.
        coordinator: which kind of database coordinates it.
        store: URL of where its bytes are; empty: in the directory.
        directory: identity of the directory, where the store is elsewhere.
    """

    id: str
    coordinator: str
    store: str = ""
    directory: str = ""

    @classmethod
    def parse(cls, data: bytes, where: str) -> Marker:
        """The marker in a file.

        Args:
            data: the file's bytes.
            where: what to call it in an error.

        Raises:
            CacheVersionError: the cache's layout is newer than this code.
            CacheUnavailableError: it is damaged.
        """
        try:
            facts = json.loads(data)
            version = int(facts["format"])
            optional = {name: str(facts[name]) for name in _OPTIONAL if name in facts}
            found = cls(str(facts["id"]), **{"coordinator": SQLITE, **optional})
        except (ValueError, KeyError, TypeError) as problem:
            raise CacheUnavailableError(
                f"{where} is damaged ({problem!r}). It holds only the cache's id: delete it, and "
                "the next use makes a new one; entries stay"
            ) from problem
        if version > layout.FORMAT:
            raise CacheVersionError(
                f"{where} says layout {version}, this motools knows {layout.FORMAT}: "
                "upgrade motools (pip install -U motools)"
            )
        return found

    def dump(self) -> bytes:
        """The file's bytes."""
        facts: dict[str, Any] = {"id": self.id, "format": layout.FORMAT}
        if self.coordinator != SQLITE:
            facts["coordinator"] = self.coordinator
        if self.store:
            facts["store"] = self.store
        if self.directory:
            facts["directory"] = self.directory
        return json.dumps(facts).encode() + b"\n"


_OPTIONAL: Final = ("coordinator", "store", "directory")


def open_directory(root: Path, *, new: Callable[[], Marker] | None) -> Marker:
    """Have a cache in a directory.

    Args:
        root: the directory.
        new: makes the marker where there is none; None: that is an error.

    Raises:
        CacheNotFoundError: there is none and ``new`` is None.
        CacheVersionError: its layout is newer than this code.
        CacheUnavailableError: it cannot be read or made.
    """
    marker = root / layout.MARKER
    try:
        if not marker.exists():
            if new is None:
                raise no_cache(str(root))
            _make(root, marker, new())
        found = Marker.parse(marker.read_bytes(), str(marker))
        _make_folders(root)
    except CacheNotFoundError:
        raise
    except OSError as problem:
        raise CacheUnavailableError(
            f"cannot open the cache at {root}: {problem.strerror}. "
            "Make it readable and writable, or point --cache-dir elsewhere"
        ) from problem
    return found


def no_cache(where: str) -> CacheNotFoundError:
    """What is raised where no cache is and none is to be made."""
    return CacheNotFoundError(
        f"there is no cache at {where}: name one with --cache-dir or MOTOOLS_CACHE_DIR, "
        "or make one by running something"
    )


def record(root: Path, marker: Marker) -> None:
    """Write down what has changed about a cache."""
    _written(root, marker).replace(root / layout.MARKER)


def _make(root: Path, marker: Path, new: Marker) -> None:
    root.mkdir(parents=True, exist_ok=True)
    _make_folders(root)
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    temporary = _written(root, new)
    try:
        os.link(temporary, marker)  # of several processes that come at once, one makes it
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _written(root: Path, marker: Marker) -> Path:
    temporary = root / layout.TMP / f"{uuid.uuid4().hex}.json"
    temporary.write_bytes(marker.dump())
    return temporary


def _make_folders(root: Path) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(exist_ok=True)
