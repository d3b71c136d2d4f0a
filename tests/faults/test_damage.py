"""Bytes that rot: blobs, documents, the database."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Action, Cache
from motools.cache.layout import blob_name, entry_name
from motools.cache.reindex import reindex
from motools.cache.sqlite import SQLite
from motools.errors import (
    CorruptBlobError,
    CorruptDatabaseError,
    CorruptDocumentError,
    MissingBlobError,
)

CONTENT = b"the weights of a model" * 100


def action(number: int = 1) -> Action:
    return Action("function", config={"n": number}, backend={"name": "test", "recipe": 1})


def run(context: Any) -> str:
    (context.directory / "weights.bin").write_bytes(CONTENT)
    return "made"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    cache = Cache.open(tmp_path / "cache")
    cache.get_or_run(action(), run)
    cache.close()
    return tmp_path / "cache"


def the_blob(root: Path) -> Path:
    [row] = Cache.open(root).get_or_run(action(), run).file_rows
    return root / blob_name(row[1])


def rewrite(path: Path, data: bytes) -> None:
    """Change bytes as a careless program would, with the times put back."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_altered_bytes_of_the_same_size_are_not_served(root: Path) -> None:
    blob = the_blob(root)
    rewrite(blob, CONTENT[:-1] + b"!")
    entry = Cache.open(root).get_or_run(action(), run)
    with pytest.raises(CorruptBlobError, match=r"altered.*quarantine"):
        entry.files["weights.bin"]
    assert not blob.exists()
    assert list((root / "quarantine").iterdir())


def test_truncated_blob_is_an_error_not_a_miss(root: Path) -> None:
    rewrite(the_blob(root), CONTENT[:10])
    cache = Cache.open(root)
    with pytest.raises(MissingBlobError, match="motools cache clear"):
        cache.look_up([action()])
    with pytest.raises(MissingBlobError):
        cache.get_or_run(action(), run)


def test_clearing_a_damaged_entry_lets_it_be_made_again(root: Path) -> None:
    from motools.cache import removal

    blob = the_blob(root)
    rewrite(blob, CONTENT[:10])
    cache = Cache.open(root)
    removal.execute(cache, removal.plan(cache, cache.entries()))
    entry = cache.get_or_run(action(), run)
    assert not entry.hit
    assert entry.files["weights.bin"].read_bytes() == CONTENT


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_truncated_database_names_the_way_out(root: Path, length: int) -> None:
    database = root / "cache.db"
    rewrite(database, database.read_bytes()[:length])
    if length:
        with pytest.raises(CorruptDatabaseError, match="motools cache reindex"):
            Cache.open(root).look_up([action()])
        found = reindex(root)
        assert found.entries == 1
        assert found.damaged is not None
        assert Path(found.damaged).exists()
    # An empty database beside documents is made anew from them before it answers.
    entry = Cache.open(root).get_or_run(action(), run)
    assert entry.hit
    assert entry.files["weights.bin"].read_bytes() == CONTENT


def test_lost_database_is_made_anew(root: Path) -> None:
    for path in root.glob("cache.db*"):
        path.unlink()
    assert Cache.open(root).get_or_run(action(), run).hit


def test_damaged_row_is_not_served(root: Path) -> None:
    import sqlite3

    with sqlite3.connect(root / "cache.db") as connection:
        connection.execute("UPDATE entries SET value = '\"forged\"'")
    connection.close()
    with pytest.raises(CorruptDocumentError, match="motools cache reindex"):
        Cache.open(root).look_up([action()])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"made"', b'"fake"'),
        lambda data: b"",
        lambda data: data.replace(b'\\"n\\":1', b'\\"n\\":2'),
    ],
    ids=["cut", "value", "empty", "action"],
)
def test_damaged_document_is_reported_and_not_used(root: Path, damage: Any) -> None:
    cache = Cache.open(root)
    healthy = cache.get_or_run(action(2), run)
    cache.close()
    document = root / entry_name(action().key)
    altered = damage(document.read_bytes())
    assert altered != document.read_bytes()
    document.write_bytes(altered)
    for path in root.glob("cache.db*"):
        path.unlink()
    found = reindex(root)
    assert [problem.name for problem in found.problems] == [entry_name(action().key)]
    cache = Cache.open(root)
    assert cache.look_up([action()]) == [None]
    assert cache.get_or_run(action(2), run).key == healthy.key


def test_a_database_whose_first_writer_was_killed_is_read(tmp_path: Path) -> None:
    """It is not in WAL mode yet, and only who may write can roll back what was begun."""
    path = tmp_path / "cache.db"
    pid = os.fork()
    if not pid:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("CREATE TABLE meta (name, value)")
        connection.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("n", "v" * 4000)] * 100)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert path.with_name("cache.db-journal").stat().st_size
    assert SQLite(path).facts() == {}
