"""Servers that tests run as root start as nobody: some refuse to be root, and none has to be."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any


def as_somebody() -> dict[str, Any]:
    """What to start a server's process with."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def give(place: Path) -> None:
    """Have a directory belong to whom servers run as."""
    place.chmod(0o755)
    if somebody := as_somebody():
        os.chown(place, somebody["user"], somebody["group"])


def reachable(folder: Path, program: str, place: Path) -> Path:
    """A folder, or a copy of it where nobody can read; below root's home he cannot.

    Args:
        folder: with programs.
        program: one of them, relative.
        place: where to copy it to.
    """
    with contextlib.suppress(OSError):
        test = ["test", "-r", folder / program]
        if not subprocess.run(test, capture_output=True, **as_somebody()).returncode:
            return folder
    return Path(shutil.copytree(folder, place / "programs", symlinks=True))
