"""``motools.json``: what makes a directory a cache."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
    """

    id: str
    coordinator: str


def open_directory(root: Path, *, create: bool, coordinator: str = SQLITE) -> Marker:
    """Have a cache in a directory.

    Args:
        root: the directory.
        create: whether to make one where there is none.
        coordinator: of one that is made.

    Raises:
        CacheNotFoundError: there is none and ``create`` is False.
        CacheVersionError: its layout is newer than this code.
        CacheUnavailableError: it cannot be read or made.
    """
    marker = root / layout.MARKER
    try:
        if not marker.exists():
            if not create:
                raise CacheNotFoundError(
                    f"there is no cache at {root}: name one with --cache-dir or MOTOOLS_CACHE_DIR, "
                    "or make one by running something"
                )
            _make(root, marker, coordinator)
        facts = json.loads(marker.read_text())
        version = int(facts["format"])
        found = Marker(str(facts["id"]), str(facts.get("coordinator", SQLITE)))
        if version <= layout.FORMAT:
            _make_folders(root)
    except CacheNotFoundError:
        raise
    except OSError as problem:
        raise CacheUnavailableError(
            f"cannot open the cache at {root}: {problem.strerror}. "
            "Make it readable and writable, or point --cache-dir elsewhere"
        ) from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise CacheUnavailableError(
            f"{marker} is damaged ({problem!r}). It holds only the cache's id: delete it, and the "
            "next use makes a new one; entries stay"
        ) from problem
    if version > layout.FORMAT:
        raise CacheVersionError(
            f"{root} has layout {version}, this motools knows {layout.FORMAT}: "
            "upgrade motools (pip install -U motools)"
        )
    return found


def record_coordinator(root: Path, coordinator: str) -> None:
    """Write down that from now on another kind of database coordinates a cache."""
    marker = root / layout.MARKER
    temporary = _written(root, Marker(open_directory(root, create=False).id, coordinator))
    temporary.replace(marker)


def _make(root: Path, marker: Path, coordinator: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    _make_folders(root)
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    temporary = _written(root, Marker(uuid.uuid4().hex, coordinator))
    try:
        os.link(temporary, marker)  # of several processes that come at once, one makes it
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _written(root: Path, marker: Marker) -> Path:
    facts = {"id": marker.id, "format": layout.FORMAT}
    if marker.coordinator != SQLITE:
        facts["coordinator"] = marker.coordinator
    temporary = root / layout.TMP / f"{uuid.uuid4().hex}.json"
    temporary.write_text(json.dumps(facts) + "\n")
    return temporary


def _make_folders(root: Path) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(exist_ok=True)
