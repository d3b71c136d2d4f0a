"""SQLite as the coordinator: ``cache.db``, for the processes of one machine.

Each thread reads on a connection of its own. Nothing else in this process may
open the file: closing any other descriptor of it would drop SQLite's locks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.cache.database import BUSY_SECONDS, FACTS, Database
from motools.cache.driver import DriverTransaction
from motools.cache.mounts import check_file_system
from motools.errors import CacheUnavailableError, CorruptDatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ROOM: Final = 1 << 20
"""Bytes that what SQLite keeps beside the file may grow by at a time, and some more."""

_ENDS: Final = ("", "-wal", "-shm")

_LEFT_BEHIND: Final = (
    sqlite3.SQLITE_READONLY_ROLLBACK,
    sqlite3.SQLITE_READONLY_RECOVERY,
    sqlite3.SQLITE_READONLY_CANTINIT,
)
"""Why a database cannot be read until somebody who may write has looked at it."""


class SQLite(Database):
    """A file, ``cache.db``.

    Args:
        path: the file; its directory must exist.
    """

    clock = "(julianday('now') - 2440587.5) * 86400.0"

    def __init__(self, path: Path) -> None:
        check_file_system(path.parent)
        super().__init__()
        self.path = path
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()
        self._local = threading.local()
        self._writer: sqlite3.Connection | None = None
        self._parents: sqlite3.Connection | None = None

    def disconnect(self) -> None:
        """Close all connections. Nobody may be using one."""
        for reader in list(self._readers):
            reader.connection.close()
        self._readers = weakref.WeakSet()
        self._local = threading.local()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def facts(self) -> dict[str, str]:
        """What the tables say of themselves; empty: there are no tables."""
        if not self.path.exists():
            return {}
        try:
            return dict(self.read(FACTS))
        except CorruptDatabaseError as problem:
            if "no such table" in str(problem):
                return {}
            raise

    def prepare(self, connection: Connection) -> None:
        """The file is made by whoever writes first."""

    def check(self) -> None:
        """Read all of it."""
        if self.path.exists():
            found = self.read("PRAGMA quick_check")
            if found[0][0] != "ok":
                raise CorruptDatabaseError(str(found[0][0]))
            self.facts()

    def set_aside(self, quarantine: Path) -> str:
        """Move the file away. No other process may be using it."""
        self.close()
        aside = quarantine / f"{self.path.name}.{time.time_ns()}"
        for source, end in zip(self._files(), _ENDS, strict=True):
            if source.exists():
                source.replace(f"{aside}{end}")
        return str(aside)

    def size(self) -> int:
        """Bytes that the file and what SQLite keeps beside it take."""
        total = 0
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):  # SQLite removes its log at the end
                total += path.stat().st_size
        return total

    def label(self, name: str) -> tuple[str, str]:
        """SQL for one of an entry's labels, with a placeholder, and what to put there."""
        return "json_extract(labels, ?)", f'$."{name}"'

    def _rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        try:
            try:
                return self._reader().execute(sql, parameters).fetchall()
            except sqlite3.OperationalError as problem:
                if problem.sqlite_errorcode not in _LEFT_BEHIND:
                    raise
                self._recover()
                return self._reader().execute(sql, parameters).fetchall()
        except sqlite3.Error as problem:
            raise self._explained(problem) from problem

    def _recover(self) -> None:
        """Undo what a killed writer left half done, which a connection that only reads may not."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema")

    def change(self, sql: str, parameters: Sequence[Any]) -> int:
        """Run one UPDATE as a transaction of its own; returns how many rows it changed."""
        with self.gate, self._begun() as transaction:
            return transaction.driver.execute(sql, parameters).rowcount

    @contextlib.contextmanager
    def _begun(self) -> Iterator[DriverTransaction]:
        try:
            with self._my_turn():
                driver = self._writing()
                driver.execute("BEGIN IMMEDIATE")
                with DriverTransaction(driver) as transaction:
                    yield transaction
        except sqlite3.Error as problem:
            raise self._explained(problem) from problem

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        """One of this process's threads writes at a time.

        SQLite has those that wait for its lock ask again now and then, up to a tenth
        of a second apart; here the next one goes on at once.
        """
        turn = self._turn
        if not turn.acquire(timeout=BUSY_SECONDS):
            raise self._explained(sqlite3.OperationalError("database is locked"))
        try:
            yield
        finally:
            turn.release()

    def abandon(self) -> None:
        """After a fork, whose turn it was in the parent is nothing to the child."""
        self._turn = threading.Lock()
        # In the middle of a write the parent could not close it; here it must not be closed.
        self._parents, self._writer = self._writer, None

    def _free(self) -> int:
        try:
            status = os.statvfs(self.path.parent)
        except OSError:
            return _ROOM  # it is not for want of room that it cannot be looked at
        return status.f_bavail * status.f_frsize

    def _files(self) -> list[Path]:
        return [self.path.with_name(self.path.name + end) for end in _ENDS]

    def _reader(self) -> sqlite3.Connection:
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                cached_statements=64,
                check_same_thread=False,  # closed by whichever thread forks
            )
            reader = self._local.reader = _Reader(connection)
            with self._lock:
                self._readers.add(reader)
        return reader.connection

    def _writing(self) -> sqlite3.Connection:
        """The connection for writes; the threads of a process could only wait for each other."""
        if self._writer is None:
            self._writer = sqlite3.connect(
                self.path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute("PRAGMA synchronous=FULL")
        return self._writer

    def _explained(self, problem: sqlite3.Error) -> CacheUnavailableError:
        text = str(problem)
        if any(
            sign in text for sign in ("malformed", "not a database", "disk image", "no such table")
        ):
            return CorruptDatabaseError(
                f"{self.path} is damaged ({text}). The entries are safe in their documents: "
                f"run `motools cache reindex --cache-dir {self.path.parent}` to rebuild it"
            )
        hints = {
            "readonly": "the cache directory is read-only: make it writable, "
            "or point --cache-dir elsewhere",
            "unable to open": "check that the directory exists and is writable",
            "disk is full": "free some space "
            "(`motools cache size --breakdown` shows what takes it)",
            "locked": "another process holds it, or the file system cannot lock: "
            "use a local disk, or PostgreSQL through MOTOOLS_DATABASE_URL",
            "disk I/O": "the disk failed or the file system cannot lock: "
            "use a local disk, or PostgreSQL through MOTOOLS_DATABASE_URL",
        }
        if "disk I/O" in text and (free := self._free()) < _ROOM:
            # SQLite says so of a file that it could not make longer.
            return CacheUnavailableError(
                f"{self.path}: {text}: the disk is full ({free:,} bytes are free); "
                f"{hints['disk is full']}"
            )
        hint = next((hint for sign, hint in hints.items() if sign in text), "run it again")
        return CacheUnavailableError(f"{self.path}: {text}; {hint}")


class _Reader:
    """One thread's connection for reads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
