"""The coordinator's tables, their version, and how older ones are brought up.

Imported for writes and reports only: look-ups and lists use the driver, since
importing SQLAlchemy takes longer than ten thousand of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, Text, inspect, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, insert, select, update

from motools.cache.database import check_version
from motools.cache.layout import SCHEMA

_LONG: Final = BigInteger().with_variant(Integer(), "sqlite")
"""Of SQLite, any integer has eight bytes; of PostgreSQL, only this one."""


class Row(SQLModel, registry=registry()):
    """Base of the tables, with metadata of its own: users have SQLModel tables too."""


class MetaRow(Row, table=True):
    """One fact about the database itself: ``schema_version``, ``cache_id``."""

    __tablename__ = "meta"

    name: str = Field(primary_key=True)
    value: str


class EntryRow(Row, table=True):
    """One generation of a key's result. Immutable but for ``state``."""

    __tablename__ = "entries"
    __table_args__ = (
        Index("entries_by_kind", "kind", "created_at"),
        Index("entries_by_time", "created_at"),
    )

    key: str = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    kind: str
    action: str = Field(sa_column=Column(Text, nullable=False))
    """Canonical JSON whose BLAKE3-256 is ``key``."""
    value: str = Field(sa_column=Column(Text, nullable=False))
    tree: str | None
    files: str = Field(sa_column=Column(Text, nullable=False))
    """JSON list of ``[path, digest, size, executable]``: the tree, spelled out."""
    remote: str | None = Field(sa_column=Column(Text))
    checksum: str
    """BLAKE3-256 of value, tree, files and remote: what a hit is checked against."""
    state: str
    """``live``, ``remote`` (bytes fetched when used), ``released`` (bytes gone on purpose) or
    ``trash``."""
    labels: str = Field(sa_column=Column(Text, nullable=False))
    provenance: str = Field(sa_column=Column(Text, nullable=False))
    created_at: float
    duration: float
    cost: float | None
    trashed_at: float | None = None


class EntryBlobRow(Row, table=True):
    """Which entry needs which blob."""

    __tablename__ = "entry_blobs"
    __table_args__ = (Index("entry_blobs_by_digest", "digest"),)

    key: str = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    digest: str = Field(primary_key=True)


class BlobRow(Row, table=True):
    """A blob that some entry needs or needed, and its file as last hashed."""

    __tablename__ = "blobs"

    digest: str = Field(primary_key=True)
    size: int = Field(sa_type=_LONG)
    state: str
    """``live`` or ``trash``."""
    signature: str | None
    """Size, mtime, ctime and inode when last hashed; None: hash before use."""
    trashed_at: float | None = None


class MarkRow(Row, table=True):
    """What people say of a key; see ``marks``."""

    __tablename__ = "marks"
    __table_args__ = (Index("marks_by_name", "name"),)

    key: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    """``pin``, ``tag:…``, ``note``, ``released``, ``rejected``, ``signature:…``."""
    value: str = Field(sa_column=Column(Text, nullable=False))
    made_at: float


class TakenOffRow(Row, table=True):
    """A mark that somebody took off; it travels as marks do."""

    __tablename__ = "taken_off"

    key: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    made_at: float


class LeaseRow(Row, table=True):
    """Who may run a key. The row stays when the lease ends, so tokens only rise."""

    __tablename__ = "leases"

    key: str = Field(primary_key=True)
    token: int
    holder: str | None
    """Host and process, for people; None: free."""
    domain: str | None
    """Where the holder's kernel lock can be seen (``lease.lock_domain``); None: it committed."""
    acquired_at: float
    expires_at: float
    """By the coordinator's clock."""
    reads: str | None = Field(default=None, sa_column=Column(Text))
    """The digests in what is run, with spaces between: other hosts leave those bytes alone."""


class JobRow(Row, table=True):
    """One attempt to submit paid work for a key; see ``journal``."""

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_state", "state"),)

    key: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    state: str
    job_id: str | None
    provider: str
    sender: str
    domain: str
    intended_at: float
    updated_at: float
    note: str


class OutboxRow(Row, table=True):
    """A document that is behind the tables and has to be written."""

    __tablename__ = "outbox"

    id: int | None = Field(default=None, primary_key=True, sa_type=_LONG)
    name: str


class MemoRow(Row, table=True):
    """A fact that is cheap to forget; see ``memo``."""

    __tablename__ = "memos"

    namespace: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    signature: str
    value: str = Field(sa_column=Column(Text, nullable=False))


class StatisticsRow(Row, table=True):
    """How often and when an entry was used."""

    __tablename__ = "statistics"

    key: str = Field(primary_key=True)
    hits: int = Field(sa_type=_LONG)
    last_used_at: float


def _add_marks(connection: Connection) -> None:
    """From 1 to 2. Written out, since ``MarkRow`` may change again."""
    connection.execute(
        text(
            "CREATE TABLE marks (key VARCHAR NOT NULL, name VARCHAR NOT NULL, "
            "value TEXT NOT NULL, made_at FLOAT NOT NULL, PRIMARY KEY (key, name))"
        )
    )
    connection.execute(text("CREATE INDEX marks_by_name ON marks (name)"))


def _add_taken_off(connection: Connection) -> None:
    """From 2 to 3. Written out, since ``TakenOffRow`` may change again."""
    connection.execute(
        text(
            "CREATE TABLE taken_off (key VARCHAR NOT NULL, name VARCHAR NOT NULL, "
            "made_at FLOAT NOT NULL, PRIMARY KEY (key, name))"
        )
    )


def _add_reads(connection: Connection) -> None:
    """From 3 to 4."""
    connection.execute(text("ALTER TABLE leases ADD COLUMN reads TEXT"))


MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {
    1: _add_marks,
    2: _add_taken_off,
    3: _add_reads,
}
"""From a version to the next one: how its tables are brought up."""


def ensure(
    connection: Connection,
    cache_id: str,
    migrations: Mapping[int, Callable[[Connection], None]] = MIGRATIONS,
    target: int = SCHEMA,
) -> bool:
    """Bring the database to the present version inside the caller's transaction.

    Returns:
        True when the tables were made just now.

    Raises:
        CacheVersionError: the database is newer than this code.
    """
    if not inspect(connection).has_table("meta"):
        Row.metadata.create_all(connection)
        facts = {"schema_version": str(target), "cache_id": cache_id}
        connection.execute(insert(MetaRow), [{"name": n, "value": v} for n, v in facts.items()])
        return True
    version = int(
        connection.execute(
            select(MetaRow.value).where(MetaRow.name == "schema_version")
        ).scalar_one()
    )
    check_version(version, target)
    for step in range(version, target):
        migrations[step](connection)
    if version < target:
        connection.execute(
            update(MetaRow).where(col(MetaRow.name) == "schema_version").values(value=str(target))
        )
    return False
