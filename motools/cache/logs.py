"""Links to the logs of evaluations, so that a viewer finds them all below ``evals/``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from motools.cache.entry import Entry
from motools.cache.layout import EVALS, blob_name
from motools.digest import SHORT

_SUFFIX: Final = ".eval"


def link(entry: Entry) -> Path | None:
    """The link to an evaluation's log, made if it is not there; None: it has no log here.

    Whether the log's bytes are as they were is for its reader to ask (``entry.file``).
    """
    digests = [digest for path, digest, *_ in entry.file_rows if path.endswith(_SUFFIX)]
    if not digests or entry.state != "live":
        return None
    place = entry.root / EVALS / _name(entry)
    if not os.path.lexists(place):
        target = os.path.relpath(entry.root / blob_name(digests[0]), place.parent)
        with contextlib.suppress(FileExistsError):  # another process made the same link
            place.symlink_to(target)
    return place


def unlink(root: Path, keys: Iterable[str]) -> None:
    """Remove the links of some entries, so that no viewer shows what was cleared."""
    shorts = {key[:SHORT] for key in keys}
    for place in (root / EVALS).iterdir() if shorts else ():
        if place.is_symlink() and place.stem.rsplit("-", 2)[-2:][0] in shorts:
            place.unlink(missing_ok=True)


def _name(entry: Entry) -> str:
    """``task-key-generation.eval``, for people and unique."""
    task = str(entry.labels.get("task_id", entry.kind))
    readable = "".join(c if c.isalnum() or c in "-_" else "_" for c in task)
    return f"{readable}-{entry.key[:SHORT]}-{entry.generation}{_SUFFIX}"
