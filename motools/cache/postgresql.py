"""PostgreSQL as the coordinator: for the processes of several machines.

Each cache has a schema of its own, so that many share a server. Its write lock
is an advisory lock, taken at the start of every transaction and given back by
the server when the transaction has ended, however it ended. So writers come one
after another, as they do in SQLite, and what holds there holds here.

A connection that breaks is made again. A read is asked again; a transaction
that had not come to its end is undone by the server, and refused here; of one
whose end was not heard of, the server is asked whether it became true.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.errors import UndefinedTable

from motools.cache.database import BUSY_SECONDS, FACTS, Database, Transaction
from motools.cache.dial import Server
from motools.errors import CacheUnavailableError, CorruptDatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_ATTEMPTS: Final = 3

_SETUP: Final = f"""
SET search_path TO {{schema}};
SET synchronous_commit TO on;
SET default_transaction_isolation TO 'read committed';
SET lock_timeout TO '{BUSY_SECONDS:.0f}s';
SET idle_in_transaction_session_timeout TO '{BUSY_SECONDS / 2:.0f}s';
SET tcp_keepalives_idle TO 15;
SET tcp_keepalives_interval TO 5;
SET tcp_keepalives_count TO 3;
"""
"""Read committed, so that what is read under the write lock is as the lock's last holder left it.

A snapshot of the whole transaction would be older than the lock. The rest has
the server end the transactions of clients that are stopped or out of reach.
"""

_LOCK: Final = (
    "SELECT CAST(pg_current_xact_id() AS text) FROM pg_advisory_xact_lock(hashtextextended(%s, 0))"
)


class PostgreSQL(Database):
    """A schema on a PostgreSQL server.

    Args:
        url: ``postgresql://user@host:port/database``.
        cache_id: from ``motools.json``; the schema is named after it.

    Raises:
        SettingsError: it is not such a URL.
    """

    # Not now(): that is when a transaction began, before it waited for the write lock.
    clock = "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"

    def __init__(self, url: str, cache_id: str) -> None:
        super().__init__()
        self.scope = f"{platform.node()}/"
        self.schema = f"motools_{cache_id[:12]}"
        self._cache_id = cache_id
        self._server = Server(url)
        self._setup = _SETUP.format(schema=_quoted(self.schema))
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection] = []
        self._engine: Engine | None = None

    def change(self, sql: str, parameters: Sequence[Any]) -> int:
        """Run one UPDATE as a transaction of its own; returns how many rows it changed.

        The server ends it by itself, so that a process stopped in the middle of
        a heartbeat does not keep the others from writing.
        """
        return len(self.read(f"{sql} RETURNING 1", parameters))

    def disconnect(self) -> None:
        """Close all connections. Nobody may be using one."""
        while self._idle:
            self._idle.pop().close()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def abandon(self) -> None:
        """Forget all connections, as they are another process's; none is closed."""
        self._idle = []
        if self._engine is not None:
            self._engine.dispose(close=False)
            self._engine = None

    def facts(self) -> dict[str, str]:
        """What the tables say of themselves; empty: there are no tables."""
        try:
            found = dict(self.read(FACTS))
        except CorruptDatabaseError as problem:
            if isinstance(problem.__cause__, UndefinedTable):
                return {}
            raise
        if found and found.get("cache_id") != self._cache_id:
            raise CacheUnavailableError(
                f"{self._server.name}: the schema {self.schema} belongs to another cache, "
                f"{found.get('cache_id')}: use another database, or restore this cache's "
                f"motools.json ({self._cache_id})"
            )
        return found

    def prepare(self, connection: Connection) -> None:
        """Make the schema."""
        from sqlalchemy.schema import CreateSchema

        # To read all documents may take long between two statements.
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout TO 0")
        known = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        if connection.exec_driver_sql(known, (self.schema,)).scalar() is None:
            connection.execute(CreateSchema(self.schema))

    def check(self) -> None:
        """Read all of it."""
        from motools.cache.schema import Row

        if self.facts():
            for table in Row.metadata.tables:
                self.read(f"SELECT count(*) FROM {table}")

    def set_aside(self, quarantine: Path) -> str:  # noqa: ARG002
        """Rename the schema."""
        aside = f"{self.schema}_{time.time_ns()}"
        with self.write() as transaction:
            names = f"{_quoted(self.schema)} RENAME TO {_quoted(aside)}"
            transaction.connection.exec_driver_sql(f"ALTER SCHEMA {names}")
        return f"the schema {aside}"

    def size(self) -> int:
        """Bytes that the tables take, with their indexes."""
        found = self.read(
            "SELECT CAST(COALESCE(SUM(pg_total_relation_size(c.oid)), 0) AS bigint) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = ? AND c.relkind = 'r'",
            (self.schema,),
        )
        return int(found[0][0])

    def label(self, name: str) -> tuple[str, str]:
        """SQL for one of an entry's labels, with a placeholder, and what to put there."""
        return "(CAST(labels AS json) ->> CAST(? AS text))", name

    def _rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        query = _for_driver(sql)
        for attempt in range(_ATTEMPTS):
            connection = self._reader()
            try:
                rows = connection.execute(query, parameters).fetchall()
            except psycopg.Error as problem:
                is_lost = connection.closed
                connection.close()
                if not is_lost or attempt == _ATTEMPTS - 1:
                    raise self._server.explained(problem) from problem
                self._drop_idle()
            except BaseException:  # perhaps in the middle of an answer
                connection.close()
                raise
            else:
                self._idle.append(connection)
                break
        return rows

    def _reader(self) -> psycopg.Connection:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return self._server.connect(self._setup)

    def _drop_idle(self) -> None:
        """The others are likely lost too: the server restarted."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    @contextlib.contextmanager
    def _begun(self) -> Iterator[Transaction]:
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.exc import TimeoutError as PoolTimeout

        try:
            connection, number = self._locked()
            with connection:
                yield Transaction(connection)
                try:
                    connection.commit()
                except DBAPIError as problem:
                    connection.close()
                    if not (problem.connection_invalidated and self._became_true(number)):
                        raise
        except DBAPIError as problem:
            if isinstance(problem.orig, psycopg.Error):
                raise self._server.explained(problem.orig) from problem
            raise
        except PoolTimeout as problem:
            raise CacheUnavailableError(
                f"{self._server.name}: other threads of this process have been writing for "
                f"{BUSY_SECONDS:.0f} s: run it again"
            ) from problem

    def _locked(self, *, again: bool = True) -> tuple[Connection, str]:
        """A transaction that holds the write lock, and its number on the server."""
        connection = self._writer().connect()
        try:
            number = connection.exec_driver_sql(_LOCK, (self._cache_id,)).scalar_one()
        except BaseException as problem:
            connection.close()
            if again and getattr(problem, "connection_invalidated", False):
                return self._locked(again=False)  # it was lost while nobody used it
            raise
        return connection, str(number)

    def _became_true(self, number: str) -> bool:
        """Whether a transaction was committed whose answer was lost.

        The write lock is free only once it has ended.
        """
        try:
            connection, _ = self._locked()
        except Exception as problem:
            raise CacheUnavailableError(
                f"{self._server.name} was lost while it committed, so that it is unknown whether "
                "it did. Once it is back, look again: what was committed is there"
            ) from problem
        with connection:
            status = connection.exec_driver_sql(
                "SELECT pg_xact_status(CAST(%s AS xid8))", (number,)
            ).scalar()
        return bool(status == "committed")

    def _writer(self) -> Engine:
        with self._lock:
            if self._engine is None:
                from sqlalchemy import create_engine

                # One connection: the threads of a process could only wait for each other's lock.
                self._engine = create_engine(
                    "postgresql+psycopg://",
                    creator=self._connect_writer,
                    pool_size=1,
                    max_overflow=0,
                    pool_timeout=BUSY_SECONDS,
                    use_native_hstore=False,
                )
            return self._engine

    def _connect_writer(self) -> psycopg.Connection:
        connection = self._server.connect(self._setup)
        connection.autocommit = False
        return connection


@lru_cache(maxsize=64)
def _for_driver(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
