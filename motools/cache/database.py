"""Connections to the coordinator's database.

Reads go through the driver on a connection of the calling thread; writes are
transactions through SQLAlchemy that take the write lock at their start, so
that what they read stays true until they commit. Nothing else in this process
may open ``cache.db``: closing any other descriptor of it would drop SQLite's
locks.

No connection crosses a fork, used or not: SQLite counts a process's locks in
memory, a child inherits the count but not the locks, and what it commits can be
lost. So all connections are closed before a fork, and made again when needed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.cache.layout import SCHEMA
from motools.errors import CacheUnavailableError, CacheVersionError, CorruptDatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine

BUSY_SECONDS: Final = 60.0

CLOCK: Final = "(julianday('now') - 2440587.5) * 86400.0"
"""The coordinator's time in seconds since 1970, in SQL."""

LOCAL_FILE_SYSTEMS: Final = frozenset(
    {
        *("apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "ntfs3"),
        *("overlay", "ramfs", "reiserfs", "tmpfs", "ufs", "xfs", "zfs"),
    }
)
"""File systems whose locks SQLite can rely on."""


class Transaction:
    """Statements that become true together. Parameters are named, as in ``:key``."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def run(self, sql: str, **parameters: Any) -> CursorResult[Any]:
        """Run one statement."""
        from sqlalchemy import text

        return self.connection.execute(text(sql), parameters)

    def run_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run one statement for each of some rows."""
        from sqlalchemy import text

        if rows:
            self.connection.execute(text(sql), list(rows))


class Database:
    """The SQLite database of one cache.

    Args:
        path: the file; its directory must exist.
    """

    def __init__(self, path: Path) -> None:
        check_file_system(path.parent)
        self.path = path
        self.gate = _Gate()
        self._lock = threading.Lock()
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()
        self._local = threading.local()
        self._engine: Engine | None = None
        with _forks:
            _databases.add(self)

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, outside any transaction.

        Raises:
            CacheUnavailableError: the database cannot be read, so the answer is unknown.
        """
        with self.gate:
            try:
                return self._reader().execute(sql, parameters).fetchall()
            except sqlite3.Error as problem:
                raise self._explained(problem) from problem

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction that holds the write lock from its start; committed at the end.

        Raises:
            CacheUnavailableError: it could not be begun or committed, and was rolled back.
        """
        from sqlalchemy.exc import DBAPIError

        with self.gate:
            try:
                with self._writer().begin() as connection:
                    yield Transaction(connection)
            except DBAPIError as problem:
                if isinstance(problem.orig, sqlite3.Error):
                    raise self._explained(problem.orig) from problem
                raise

    def close(self) -> None:
        """Close all connections, once what they are used for is done; later uses make new ones."""
        with self.gate.shut() as idle:
            if idle:
                self.disconnect()

    def disconnect(self) -> None:
        """Close all connections. Nobody may be using one."""
        for reader in list(self._readers):
            reader.connection.close()
        self._readers = weakref.WeakSet()
        self._local = threading.local()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

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

    def _writer(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine

    def _make_engine(self) -> Engine:
        from sqlalchemy import create_engine, event

        engine = create_engine(
            f"sqlite:///{self.path}",
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            max_overflow=-1,  # threads wait for SQLite's write lock, not for a connection
        )

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        @event.listens_for(engine, "begin")
        def take_write_lock(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

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
        hint = next((hint for sign, hint in hints.items() if sign in text), "run it again")
        return CacheUnavailableError(f"{self.path}: {text}; {hint}")


class _Reader:
    """One thread's connection for reads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection


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


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def check_version(found: int, known: int = SCHEMA) -> None:
    """Refuse a database from the future.

    Raises:
        CacheVersionError: ``found`` is newer than ``known``.
    """
    if found > known:
        raise CacheVersionError(
            f"cache.db has schema version {found}, this motools knows {known}: "
            "upgrade motools (pip install -U motools), or use another cache directory"
        )


def check_file_system(directory: Path, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Refuse directories whose locks SQLite cannot rely on.

    Raises:
        CacheUnavailableError: the file system is not known to be local.
    """
    if not mounts.exists():
        return  # not Linux: no list to hold it against
    kind = file_system(directory, mounts)
    if kind not in LOCAL_FILE_SYSTEMS:
        raise CacheUnavailableError(
            f"{directory} is on {kind}, where SQLite's locks cannot be relied on. "
            "Put the cache on a local disk (--cache-dir, MOTOOLS_CACHE_DIR), "
            "or let PostgreSQL coordinate (MOTOOLS_DATABASE_URL)"
        )


def file_system(directory: Path, mounts: Path) -> str:
    """The type of the file system that holds a directory, from ``mountinfo`` (proc(5))."""
    wanted = os.stat(directory).st_dev
    device = f"{os.major(wanted)}:{os.minor(wanted)}"
    lines = [line.split(" - ") for line in mounts.read_text().splitlines()]
    for mount, source in lines:
        if mount.split()[2] == device:
            return source.split()[0]
    # Some file systems (btrfs, overlay) report a device of their own in stat: go by path.
    real, best, kind = os.path.realpath(directory), "", "an unknown file system"
    for mount, source in lines:
        point = mount.split()[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, source.split()[0]
    return kind
