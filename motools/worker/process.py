"""What a worker is started with, and its process, fresh or forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Start:
    """What a worker is started with.

    Attributes:
        module: has a function ``main`` for :func:`.serving.serve`, and calls it when run.
        environment: all of it.
        directory: the working directory.
        stdin: descriptor of its standard input.
        output: descriptor of its standard output and error.
        inherited: descriptors that it has under their numbers.
    """

    module: str
    environment: Mapping[str, str]
    directory: Path
    stdin: int
    output: int
    inherited: tuple[int, ...]


class Process(Protocol):
    """A worker that was started. It leads a session and a process group."""

    def terminate(self) -> None:
        """Ask it to end; nothing if it has ended."""

    def kill(self) -> None:
        """End it and its process group; nothing if it has ended."""

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended; False when the seconds were over first."""

    def status(self) -> int | None:
        """How it ended: minus the signal, or the exit status; None: nobody can know."""

    def close(self) -> None:
        """Let go of it, after it has ended."""


class Fresh:
    """A worker in an interpreter of its own."""

    def __init__(self, start: Start) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", start.module],
            stdin=start.stdin,
            stdout=start.output,
            stderr=subprocess.STDOUT,
            pass_fds=start.inherited,
            cwd=start.directory,
            env=start.environment,
            start_new_session=True,
        )

    def terminate(self) -> None:
        """See :class:`Process`."""
        self._process.terminate()

    def kill(self) -> None:
        """See :class:`Process`."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> bool:
        """See :class:`Process`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def status(self) -> int | None:
        """See :class:`Process`."""
        return self._process.wait()

    def close(self) -> None:
        """See :class:`Process`."""
