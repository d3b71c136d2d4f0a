"""The server's tables, beside the coordinator's in its database.

The cache knows nothing of them. They are not made again from documents: what the
cache holds outlives them, jobs that wait and names of files and models do not.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, Text, inspect
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, insert, select

from motools.cache.database import Database
from motools.errors import CacheVersionError

VERSION: Final = 1

_LONG: Final = BigInteger().with_variant(Integer(), "sqlite")


def _text(*, null: bool = False) -> Column[str]:
    return Column(Text, nullable=null)


class ServerRow(SQLModel, registry=registry()):
    """Base of the tables, with metadata of its own."""


class FactRow(ServerRow, table=True):
    """One fact about the tables: ``version``."""

    __tablename__ = "server_facts"

    name: str = Field(primary_key=True)
    value: str


class FileRow(ServerRow, table=True):
    """A file that was uploaded, or that a job made."""

    __tablename__ = "server_files"

    number: int | None = Field(default=None, primary_key=True, sa_type=_LONG)
    """Rises with time: lists are in its order."""
    id: str = Field(unique=True)
    account: str
    filename: str = Field(sa_column=_text())
    purpose: str
    bytes: int = Field(sa_type=_LONG)
    digest: str
    """BLAKE3-256 of the bytes as they arrived."""
    created_at: int = Field(sa_type=_LONG)


class JobRow(ServerRow, table=True):
    """A fine-tuning job. What was ordered never changes; the rest is how far it is."""

    __tablename__ = "server_jobs"
    __table_args__ = (
        Index("server_jobs_by_account", "account", "number"),
        Index("server_jobs_by_status", "status", "number"),
    )

    number: int | None = Field(default=None, primary_key=True, sa_type=_LONG)
    id: str = Field(unique=True)
    account: str
    base_model: str
    """As the server calls it."""
    training_file: str
    suffix: str | None
    metadata_: str = Field(sa_column=Column("metadata", Text, nullable=False))
    config: str = Field(sa_column=_text())
    """JSON of the fields of ``FineTuneConfig``, without its base model."""
    hyperparameters: str = Field(sa_column=_text())
    """JSON: what the answer reports of them."""
    replicate: int
    expected_key: str | None
    """The key that the client planned: with any other, the job is not run."""
    status: str
    key: str | None
    error: str | None = Field(sa_column=_text(null=True))
    fine_tuned_model: str | None
    result_file: str | None
    trained_tokens: int | None = Field(sa_type=_LONG)
    hit: bool | None
    created_at: int = Field(sa_type=_LONG)
    finished_at: int | None = Field(sa_type=_LONG)


class MetadataRow(ServerRow, table=True):
    """One pair of a job's metadata, to be found by."""

    __tablename__ = "server_metadata"
    __table_args__ = (Index("server_metadata_by_pair", "name", "value"),)

    job: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    value: str


class EventRow(ServerRow, table=True):
    """Something that happened to a job."""

    __tablename__ = "server_events"
    __table_args__ = (Index("server_events_by_job", "job", "number"),)

    number: int | None = Field(default=None, primary_key=True, sa_type=_LONG)
    id: str = Field(unique=True)
    job: str
    level: str
    type: str
    message: str = Field(sa_column=_text())
    data: str | None = Field(sa_column=_text(null=True))
    created_at: int = Field(sa_type=_LONG)


class ModelRow(ServerRow, table=True):
    """A caller's name for a trained model, or for a checkpoint on the way to it."""

    __tablename__ = "server_models"
    __table_args__ = (Index("server_models_by_job", "job"),)

    number: int | None = Field(default=None, primary_key=True, sa_type=_LONG)
    id: str = Field(unique=True)
    account: str
    base_model: str
    job: str
    key: str
    """Of the entry that holds it."""
    step: int | None = Field(sa_type=_LONG)
    """Of a checkpoint; None: the end of the training."""
    checkpoint: str | None
    loss: float | None
    created_at: int = Field(sa_type=_LONG)


def ensure(database: Database) -> bool:
    """Have the tables there.

    Returns:
        True when they were made just now.

    Raises:
        CacheVersionError: a newer motools has made them.
    """
    with database.write() as transaction:
        return _ensure(transaction.connection)


def _ensure(connection: Connection) -> bool:
    if not inspect(connection).has_table("server_facts"):
        ServerRow.metadata.create_all(connection)
        connection.execute(insert(FactRow), [{"name": "version", "value": str(VERSION)}])
        return True
    found = connection.execute(select(FactRow.value).where(FactRow.name == "version")).scalar_one()
    if int(found) != VERSION:
        raise CacheVersionError(
            f"the server's tables have version {found}, this motools knows {VERSION}: "
            "upgrade motools (pip install -U motools), or serve another cache"
        )
    return False
