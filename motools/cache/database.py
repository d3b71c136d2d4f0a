"""The coordinator's database, as far as the rest of the cache sees it.

Reads go through the driver; writes are transactions that take the cache's one
write lock at their start, so that what they read stays true until they commit.
What differs between SQLite and PostgreSQL is in the
rooms named after them.

No connection crosses a fork, used or not: SQLite counts a process's locks in
memory, a child inherits the count but not the locks, and what it commits can be
lost; of PostgreSQL, parent and child would talk over one socket. So all
connections are closed before a fork, and made again when needed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from motools.cache.layout import SCHEMA
from motools.errors import CacheVersionError

if TYPE_CHECKING:
    from sqlalchemy import Connection

BUSY_SECONDS: Final = 60.0
"""How long the write lock is waited for."""

_MANY: Final = 100
"""Rows from which it pays to write a statement out for the driver."""

FACTS: Final = "SELECT name, value FROM meta"


class Result(Protocol):
    """What a statement did, or found."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    def __iter__(self) -> Iterator[Any]: ...

    def all(self) -> Sequence[Any]:
        """Every row that it found."""

    def first(self) -> Any | None:
        """The first of them."""

    def scalar(self) -> Any | None:
        """What is first in that."""

    def scalar_one(self) -> Any:
        """The same, of the one that there must be."""

    def mappings(self) -> Iterable[Mapping[Any, Any]]:
        """Every row, by column."""


class Transaction:
    """Statements that become true together. Parameters are named, as in ``:key``.

    Attributes:
        connection: the same transaction, for statements that are made of the schema.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def run(self, sql: str, **parameters: Any) -> Result:
        """Run one statement."""
        from sqlalchemy import text

        return self.connection.execute(text(sql), parameters)

    def run_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run one statement for each of some rows."""
        from sqlalchemy import text

        if len(rows) < _MANY:
            if rows:
                self.connection.execute(text(sql), list(rows))
            return
        # Of thousands of rows, SQLAlchemy's way to the driver is most of the time.
        statement: Any = text(sql).compile(dialect=self.connection.dialect)
        self.connection.exec_driver_sql(statement.string, list(rows))


class Database(ABC):
    """One cache's tables, and who may write to them.

    Attributes:
        clock: SQL for the coordinator's time, in seconds since 1970.
        scope: tells this machine's memos from others' in the same tables.
    """

    clock: ClassVar[str]
    scope: str = ""

    def __init__(self) -> None:
        self.gate = _Gate()
        with _forks:
            _databases.add(self)

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, outside any transaction. Placeholders are question marks.

        Raises:
            CacheUnavailableError: the database cannot be read, so the answer is unknown.
        """
        with self.gate:
            return self._rows(sql, parameters)

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction that holds the write lock from its start; committed at the end.

        Raises:
            CacheUnavailableError: it could not be begun or committed, and was rolled back.
        """
        with self.gate, self._begun() as transaction:
            yield transaction

    @abstractmethod
    def change(self, sql: str, parameters: Sequence[Any]) -> int:
        """Run one UPDATE as a transaction of its own; returns how many rows it changed.

        It may be run twice, and need not wait for the write lock: what it
        changes and what it goes by must be in the same row.

        Raises:
            CacheUnavailableError: it may or may not have been done.
        """

    def close(self) -> None:
        """Close all connections, once what they are used for is done; later uses make new ones."""
        with self.gate.shut() as idle:
            if idle:
                self.disconnect()

    @abstractmethod
    def disconnect(self) -> None:
        """Close all connections. Nobody may be using one."""

    def abandon(self) -> None:  # noqa: B027 - where there is nothing to forget
        """Forget all connections, as they are another process's; none is closed."""

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What the tables say of themselves (``schema.MetaRow``); empty: there are no tables.

        Raises:
            CacheUnavailableError: they cannot be read, or are another cache's.
        """

    @abstractmethod
    def prepare(self, connection: Connection) -> None:
        """Make what the tables need to be in, inside the transaction that makes them."""

    @abstractmethod
    def check(self) -> None:
        """Read all of it.

        Raises:
            CorruptDatabaseError: it is damaged.
        """

    @abstractmethod
    def set_aside(self, quarantine: Path) -> str:
        """Put the tables where nobody uses them; returns where. There must be some."""

    @abstractmethod
    def size(self) -> int:
        """Bytes that it takes."""

    @abstractmethod
    def label(self, name: str) -> tuple[str, str]:
        """SQL for one of an entry's labels, with a placeholder, and what to put there."""

    @abstractmethod
    def _rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]: ...

    @abstractmethod
    def _begun(self) -> AbstractContextManager[Transaction]:
        """A transaction with the write lock, committed at the end of the block."""


class _Gate:
    """Statements pass side by side; while it is shut, none is under way."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._shut = False
        self._mine = threading.local()

    def __enter__(self) -> None:
        mine = self._count()
        with self._changed:
            while self._shut and not mine:  # who is inside already must be able to finish
                self._changed.wait()
            self._inside += 1
        self._mine.count = mine + 1

    def __exit__(self, *_: object) -> None:
        self._mine.count -= 1
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def _count(self) -> int:
        return int(getattr(self._mine, "count", 0))

    @contextlib.contextmanager
    def shut(self) -> Iterator[bool]:
        """Let nobody in and wait for those inside; False: they did not come out in time."""
        with self._changed:
            self._shut = True
            try:
                self._changed.wait_for(lambda: self._inside == self._count(), BUSY_SECONDS)
                yield not self._inside
            finally:
                self._shut = False
                self._changed.notify_all()


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_forks = threading.Lock()
_shut = contextlib.ExitStack()


def _before_fork() -> None:
    _forks.acquire()
    for database in list(_databases):
        if _shut.enter_context(database.gate.shut()):
            database.disconnect()


def _after_fork() -> None:
    _shut.close()
    _forks.release()


def _after_fork_in_child() -> None:
    for database in list(_databases):
        database.abandon()
    _after_fork()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)


def check_version(found: int, known: int = SCHEMA) -> None:
    """Refuse a database from the future.

    Raises:
        CacheVersionError: ``found`` is newer than ``known``.
    """
    if found > known:
        raise CacheVersionError(
            f"the database has schema version {found}, this motools knows {known}: "
            "upgrade motools (pip install -U motools), or use another cache directory"
        )
