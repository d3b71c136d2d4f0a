"""Checkpoints: what a training that was killed goes on from.

The trainer writes a checkpoint file by file, so one that was being written when
the power went looks like any other. A checkpoint therefore counts only once it
has been *sealed*: every file is durable, and ``COMPLETE.json``, written last and
in one piece, holds their sizes and digests. Before anything of a checkpoint is
loaded, all of it is held against that manifest, so only bytes that this very
job wrote are ever read.

::

    scratch/checkpoint-12/
    ├── adapter_model.safetensors  optimizer.pt  scheduler.pt  rng_state.pth  …
    └── COMPLETE.json              written last
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from motools.digest import canonical_json, hash_file
from motools.durable import sync
from motools.errors import TrainingError

MANIFEST: Final = "COMPLETE.json"
KEPT: Final = 2
"""Sealed checkpoints that stay: the newest, and one more in case a disk damages that."""

_SCHEMA: Final = "motools.checkpoint/1"
_NAME: Final = re.compile(r"checkpoint-(\d+)")
# Without any of these the trainer would go on in silence, with other numbers.
_NEEDED: Final = ("optimizer.pt", "scheduler.pt", "trainer_state.json")

Skipped: TypeAlias = Callable[[int, str], None]
"""Told of every checkpoint that is not used: its step, and why."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was verified.

    Attributes:
        directory: where it is.
        step: the last optimizer step that it holds.
        facts: what was given when it was sealed.
    """

    directory: Path
    step: int
    facts: dict[str, Any]


def _nothing_lost(_facts: dict[str, Any]) -> None:
    """Nothing but the checkpoint itself is needed."""


def _random(devices: int) -> list[str]:
    """Files with the state of the random numbers of each device."""
    return [f"rng_state_{n}.pth" for n in range(devices)] if devices > 1 else ["rng_state.pth"]


def seal(directory: Path, facts: dict[str, Any]) -> None:
    """Make a checkpoint that has just been written one that counts, and drop the oldest.

    Args:
        directory: ``checkpoint-<step>``.
        facts: JSON that whoever goes on from it needs besides the files, among it
            ``devices``: how many made it.

    Raises:
        TrainingError: a file that resuming needs was not written.
    """
    needed = [*_NEEDED, *_random(facts.get("devices", 1))]
    if missing := [name for name in needed if not (directory / name).is_file()]:
        raise TrainingError(f"the trainer wrote no {missing[0]} into {directory}")
    complete(directory, facts)
    for _, old in _found(directory.parent)[KEPT:]:
        shutil.rmtree(old)


def complete(directory: Path, facts: dict[str, Any]) -> None:
    """Make the files of a directory durable, then write the manifest that holds them together."""
    files = {}
    for name, path in _files(directory).items():
        sync(path)
        digest = hash_file(path)
        files[name] = [digest.hex, digest.size]
    manifest = {"schema": _SCHEMA, "files": files, "facts": facts}
    draft = directory.with_name(f".{directory.name}")
    draft.write_bytes(canonical_json(manifest))
    sync(draft)
    sync(directory)
    draft.replace(directory / MANIFEST)
    sync(directory)
    sync(directory.parent)


def last(
    scratch: Path, skipped: Skipped, lost: Callable[[dict[str, Any]], str | None] = _nothing_lost
) -> Checkpoint | None:
    """The newest checkpoint whose every byte is as it was sealed, or None.

    The ones that cannot be gone on from are reported, then removed: their places are
    written to again, and the next to be sealed are older than they.

    Args:
        scratch: where they are.
        skipped: is told of each that is not used.
        lost: says from its facts what else is missing to go on from one; None: nothing.
    """
    for step, directory in _found(scratch):
        try:
            facts = verify(directory)
            why = lost(facts)
        except ValueError as problem:
            why = str(problem)
        if why is None:
            return Checkpoint(directory, step, facts)
        skipped(step, why)
        shutil.rmtree(directory)
    return None


def newest(scratch: Path) -> int | None:
    """The step of the checkpoint that :func:`last` would find; touches nothing."""
    for step, directory in _found(scratch):
        try:
            verify(directory)
        except ValueError:
            continue
        return step
    return None


def verify(directory: Path) -> dict[str, Any]:
    """The facts of a directory whose every byte is as it was when it was completed.

    Raises:
        ValueError: it is not; the message says in what.
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ValueError("it was not finished") from None
    except ValueError:
        raise ValueError(f"{MANIFEST} is damaged") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != _SCHEMA:
        raise ValueError(f"{MANIFEST} is not one of {_SCHEMA}")
    files, found = manifest["files"], _files(directory)
    if strange := sorted(files.keys() ^ found.keys()):
        raise ValueError(f"{strange[0]} is {'missing' if strange[0] in files else 'not its own'}")
    for name, (digest, size) in files.items():
        path = found[name]
        if path.stat().st_size != size or hash_file(path).hex != digest:
            raise ValueError(f"{name} is damaged")
    facts: dict[str, Any] = manifest["facts"]
    return facts


def _found(scratch: Path) -> list[tuple[int, Path]]:
    """Step and directory of everything that is called a checkpoint, newest first."""
    named = [(_NAME.fullmatch(path.name), path) for path in scratch.glob("checkpoint-*")]
    return sorted(((int(m[1]), path) for m, path in named if m and path.is_dir()), reverse=True)


def _files(directory: Path) -> dict[str, Path]:
    paths = (path for path in directory.rglob("*") if not path.is_dir())
    files = {path.relative_to(directory).as_posix(): path for path in sorted(paths)}
    files.pop(MANIFEST, None)
    return files
