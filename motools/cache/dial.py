"""Dialling: connections to a PostgreSQL server, and what its errors mean.

A server that has answered before, or says that it is not ready yet, is called
again for a while, so that a restart goes unnoticed; one that never answered is
not waited for.
"""

from __future__ import annotations

import os
import time
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import DataCorrupted, IndexCorrupted, UndefinedTable

from motools.errors import CacheUnavailableError, CorruptDatabaseError, SettingsError

PATIENCE: Final = 30.0
"""How many seconds a server that restarts is waited for."""

_PAUSE: Final = 0.1
_OLDEST: Final = 130_000
_SECRETS: Final = ("password", "sslpassword")

_GIVEN: Final[dict[str, Any]] = {
    "application_name": "motools",
    "connect_timeout": 10,
    "client_encoding": "utf8",
    # A standby may not know yet what was committed.
    "target_session_attrs": "read-write",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_NOT_READY: Final = (
    "starting up",
    "shutting down",
    "not yet accepting connections",
    "recovery mode",
    "too many clients",
    "connection slots are reserved",
)

_HINTS: Final = {
    "25006": "it is read-only, perhaps a standby: name the primary",
    "42501": "its user may not do that: GRANT CREATE ON DATABASE to it",
    "53100": "its disk is full: make room there",
    "55P03": "another process holds this cache's write lock: run it again",
}


class Server:
    """One PostgreSQL server, as a URL names it.

    Args:
        url: ``postgresql://user@host:port/database``. It may hold a password,
            which is in no error.

    Attributes:
        name: host, port and database, for people.

    Raises:
        SettingsError: it is not such a URL.
    """

    def __init__(self, url: str) -> None:
        given = _parsed(url)
        host = given.get("host") or os.environ.get("PGHOST") or "localhost"
        port = given.get("port") or os.environ.get("PGPORT") or 5432
        self.name = f"PostgreSQL at {host}:{port}/{given.get('dbname', '')}".rstrip("/")
        self._secrets = [str(given[name]) for name in _SECRETS if given.get(name)]
        self._parameters = {**_GIVEN, **given}
        self._has_answered = False

    def connect(self, setup: str) -> psycopg.Connection:
        """A new connection, in autocommit mode.

        Args:
            setup: SQL to run on it first.

        Raises:
            CacheUnavailableError: the server cannot be reached or cannot be used.
        """
        until = time.monotonic() + PATIENCE
        while True:
            try:
                connection = psycopg.connect(autocommit=True, **self._parameters)
                connection.execute(setup.encode())
                break
            except psycopg.Error as problem:
                text = str(problem)
                waits = self._has_answered or any(sign in text for sign in _NOT_READY)
                if not waits or time.monotonic() > until:
                    self._has_answered = False
                    raise self._unreachable(text) from problem
            time.sleep(_PAUSE)
        self._has_answered = True
        self._check(connection)
        return connection

    def explained(self, problem: psycopg.Error) -> CacheUnavailableError:
        """What a statement's error means to a user of the cache."""
        text = self._masked(str(problem))
        if isinstance(problem, UndefinedTable | DataCorrupted | IndexCorrupted):
            return CorruptDatabaseError(
                f"{self.name}: the cache's tables are damaged ({text}). The entries are safe in "
                "their documents: run `motools cache reindex` to make the tables again"
            )
        hint = _HINTS.get(problem.sqlstate or "", "run it again")
        return CacheUnavailableError(f"{self.name}: {text}; {hint}")

    def _unreachable(self, text: str) -> CacheUnavailableError:
        return CacheUnavailableError(
            f"{self.name} cannot be used ({self._masked(text)}): see that it runs and lets you "
            "in, and that MOTOOLS_DATABASE_URL (database_url) is right"
        )

    def _check(self, connection: psycopg.Connection) -> None:
        version = connection.info.server_version
        encoding = connection.info.parameter_status("server_encoding")
        if version < _OLDEST:
            connection.close()
            raise CacheUnavailableError(
                f"{self.name} has version {version // 10_000}: motools needs 13 or later"
            )
        if encoding != "UTF8":
            connection.close()
            raise CacheUnavailableError(
                f"{self.name} holds text as {encoding}: make a database with ENCODING 'UTF8'"
            )

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())


def _parsed(url: str) -> dict[str, Any]:
    if url.startswith(("postgresql://", "postgres://")):
        try:
            return {name: part for name, part in conninfo_to_dict(url).items() if part is not None}
        except psycopg.ProgrammingError:
            pass  # its message may hold the password
    raise SettingsError(
        "database_url is not of the form postgresql://user@host:port/database. It is not shown "
        "here because it may hold a password"
    ) from None
