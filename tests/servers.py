"""Servers that tests start: in memory, as nobody, and no longer than who starts them.

Some refuse to be root, and none has to be.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar


class Server(Protocol):
    """Something that was started."""

    def stop(self) -> None:
        """End it."""


Started = TypeVar("Started", bound=Server)


@contextlib.contextmanager
def served(
    start: Callable[[Path], Started], prefix: str, parent: str | None = None
) -> Iterator[Started]:
    """A server with a directory of its own, until the block is left.

    Args:
        start: starts it in an empty directory with a short path.
        prefix: of the directory's name.
        parent: where the directory is; by default in memory, where there is such a thing.
    """
    if parent is None and os.access("/dev/shm", os.W_OK):
        parent = "/dev/shm"
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        give(place)
        server = start(place)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def spawn(
    command: list[str], log: Path, *, end: str = "KILL", **circumstances: Any
) -> subprocess.Popen[bytes]:
    """Start a program that ends with the thread that starts it.

    Args:
        command: the program, and its arguments.
        log: the file that what it says is added to.
        end: the signal that it is sent then.
        circumstances: as for ``Popen``.
    """
    leash = ["setpriv", "--pdeathsig", end] if shutil.which("setpriv") else []
    with log.open("ab") as said:
        return subprocess.Popen(
            [*leash, *command], stdout=said, stderr=said, **circumstances, **as_somebody()
        )


def await_answer(ask: Callable[[], Any], ended: Callable[[], str], seconds: float) -> None:
    """Return once a server answers.

    Args:
        ask: raises while it does not.
        ended: what it said, if it is no more.
        seconds: how long to wait.

    Raises:
        RuntimeError: it has ended, or takes too long.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask()
        except Exception as problem:
            if (said := ended()) or time.monotonic() > deadline:
                raise RuntimeError(f"no answer: {problem}; {said}") from problem
            time.sleep(0.02)
        else:
            return


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
