"""Copies of the logs of evaluations, so that a viewer finds them all below ``evals/``.

Copies, sharing blocks with the blobs where the file system can: Inspect's
viewer passes over links, and may write to what it shows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from motools.cache.entry import Entry
from motools.cache.layout import EVALS, TMP
from motools.cache.store import copy_file
from motools.digest import SHORT
from motools.errors import MissingBlobError

if TYPE_CHECKING:
    from motools.cache.cache import Cache

_SUFFIX: Final = ".eval"


def copy(entry: Entry) -> Path | None:
    """The copy of an evaluation's log, made if it is not there; None: it has no log here.

    Whether the log's bytes are as they were is for its reader to ask (``entry.file``).
    """
    logs = [row for row in entry.file_rows if row[0].endswith(_SUFFIX)]
    if not logs or entry.state != "live":
        return None
    place = entry.root / EVALS / _name(entry)
    if not place.is_file() or place.is_symlink():
        descriptor, name = tempfile.mkstemp(dir=entry.root / TMP)
        os.close(descriptor)
        partial = Path(name)
        try:
            _, digest, size, _ = logs[0]
            copy_file(entry.blobs.unchecked_path(digest, size), partial)
            partial.replace(place)
        except (FileNotFoundError, MissingBlobError):
            return None  # the bytes are elsewhere; a hit needs none
        finally:
            partial.unlink(missing_ok=True)
    return place


def remove(root: Path, keys: Iterable[str]) -> None:
    """Remove the copies of some entries, so that no viewer shows what was cleared."""
    shorts = {key[:SHORT] for key in keys}
    for place in (root / EVALS).iterdir() if shorts else ():
        if place.suffix == _SUFFIX and place.stem.rsplit("-", 2)[-2:][0] in shorts:
            place.unlink(missing_ok=True)


def remove_gone(cache: Cache, entries: Iterable[Entry]) -> None:
    """Remove the copies of those entries whose files are not here any more."""
    chosen = [entry.key for entry in entries]
    there = {entry.key for entry in cache.index.newest(chosen) if not entry.released}
    remove(cache.root, [key for key in chosen if key not in there])


def _name(entry: Entry) -> str:
    """``task-key-generation.eval``, for people and unique."""
    task = str(entry.labels.get("task_id", entry.kind))
    readable = "".join(c if c.isalnum() or c in "-_" else "_" for c in task)
    return f"{readable}-{entry.key[:SHORT]}-{entry.generation}{_SUFFIX}"
