"""Transactions on SQLite's own driver."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from motools.cache.database import Result, Transaction

if TYPE_CHECKING:
    from sqlalchemy import Connection


class DriverTransaction(Transaction):
    """A transaction through the driver: to load SQLAlchemy takes longer than most commands.

    Args:
        driver: a connection on which it has begun.
    """

    def __init__(self, driver: sqlite3.Connection) -> None:
        self.driver = driver
        self._others = contextlib.ExitStack()

    def __enter__(self) -> DriverTransaction:
        return self

    def __exit__(self, kind: Any, problem: Any, trace: Any) -> None:
        try:
            if kind is None:
                self.driver.execute("COMMIT")
        finally:
            if self.driver.in_transaction:
                self.driver.execute("ROLLBACK")
            self._others.close()

    @cached_property
    def connection(self) -> Connection:  # type: ignore[override]
        """SQLAlchemy's connection on the same one."""
        from sqlalchemy import StaticPool, create_engine

        lent = _Lent(self.driver)
        engine = create_engine("sqlite://", creator=lambda: lent, poolclass=StaticPool)
        return self._others.enter_context(engine.connect())

    def run(self, sql: str, **parameters: Any) -> Result:
        """Run one statement."""
        return _Found(self.driver.execute(sql, parameters))

    def run_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run one statement for each of some rows."""
        if rows:
            self.driver.executemany(sql, rows)


class _Lent:
    """A connection that others may use, and not end anything on."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def commit(self) -> None:
        """Whoever lent it does that."""

    rollback = close = commit


class _Found:
    """What a statement did, or found: all of it, as what is still read keeps a commit waiting."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._names = [column[0] for column in cursor.description or ()]
        self._rows: list[Any] = cursor.fetchall()
        self.rowcount = cursor.rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        return self._rows

    def first(self) -> Any | None:
        return self._rows[0] if self._rows else None

    def scalar(self) -> Any | None:
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        [(value,)] = self._rows
        return value

    def mappings(self) -> list[dict[str, Any]]:
        return [dict(zip(self._names, row, strict=True)) for row in self._rows]
