"""The schema has a version: older databases are brought up, newer ones refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from motools.cache import Cache, layout, schema
from motools.errors import CacheUnavailableError, CacheVersionError
from tests.cache.conftest import Runs, action

GOLDEN = Path(__file__).parents[1] / "golden" / "cache-v1.sql"


def dump(root: Path) -> str:
    with sqlite3.connect(root / "cache.db") as connection:
        text = "\n".join(connection.iterdump())
    connection.close()
    return text


def columns(database: Path) -> dict[str, dict[str, tuple[str, bool, int]]]:
    """Of each table: its columns' types, whether they may be null, and their place in the key."""
    connection = sqlite3.connect(database)
    tables = [
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    found = {
        table: {
            name: (kind, not required, key)
            for _, name, kind, required, _, key in connection.execute(f"PRAGMA table_info({table})")
        }
        for table in tables
    }
    connection.close()
    return found


def restored(root: Path) -> None:
    """A cache directory with the golden database of version 1."""
    Cache.open(root).close()
    for path in root.glob("cache.db*"):
        path.unlink()
    connection = sqlite3.connect(root / "cache.db")
    connection.executescript(GOLDEN.read_text())
    connection.close()


def test_a_database_of_version_1_is_read(root: Path) -> None:
    restored(root)
    cache = Cache.open(root)
    entry = cache.look_up([action("golden")])[0]
    assert entry is not None
    assert entry.value == {"answer": 42, "text": "caf\u00e9"}
    assert entry.labels == {"function": "golden"}
    assert not cache.get_or_run(action("new"), lambda context: 1).hit


def test_version_2_has_marks_beside_all_that_was_there(root: Path) -> None:
    restored(root)
    cache = Cache.open(root)
    key = action("golden").key
    assert cache.marks.of(key) == {}
    cache.marks.set(key, "note", "caf\u00e9")
    assert Cache.open(root).marks.of(key) == {"note": "caf\u00e9"}
    assert cache.look_up([action("golden")])[0] is not None


def test_version_3_keeps_marks_and_knows_what_was_taken_off(root: Path) -> None:
    restored(root)
    connection = sqlite3.connect(root / "cache.db")
    connection.executescript(
        "CREATE TABLE marks (key VARCHAR NOT NULL, name VARCHAR NOT NULL, value TEXT NOT NULL, "
        "made_at FLOAT NOT NULL, PRIMARY KEY (key, name));"
        "CREATE INDEX marks_by_name ON marks (name);"
        "INSERT INTO marks VALUES ('k', 'note', 'of version 2', 1.0);"
        "UPDATE meta SET value = '2' WHERE name = 'schema_version'"
    )
    connection.close()
    marks = Cache.open(root).marks
    assert marks.of("k") == {"note": "of version 2"}
    assert marks.drop("k", "note")
    assert Cache.open(root).marks.of("k") == {}


def test_new_tables_are_those_of_the_last_version(root: Path, tmp_path: Path) -> None:
    Cache.open(root).close()
    restored(tmp_path / "old")
    Cache.open(tmp_path / "old").get_or_run(action("new"), lambda context: 1)
    assert columns(root / "cache.db") == columns(tmp_path / "old" / "cache.db")


def test_a_newer_database_is_refused_and_untouched(root: Path, runs: Runs) -> None:
    Cache.open(root).get_or_run(action(), runs)
    connection = sqlite3.connect(root / "cache.db")
    connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    connection.commit()
    connection.close()
    before = dump(root)
    with pytest.raises(CacheVersionError, match=r"schema version 99.*upgrade motools"):
        Cache.open(root)
    assert dump(root) == before


def test_a_newer_layout_is_refused(root: Path) -> None:
    Cache.open(root).close()
    marker = root / "motools.json"
    marker.write_text(marker.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(CacheVersionError, match=r"layout 2.*upgrade motools"):
        Cache.open(root)


def add_column(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE statistics ADD COLUMN note TEXT"))


def test_migrations_run_in_order_and_once(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'cache.db'}")
    with engine.begin() as connection:
        assert schema.ensure(connection, "id", {}, target=1)
    ran: list[int] = []

    def second(connection: Connection) -> None:
        ran.append(1)
        add_column(connection)

    def third(connection: Connection) -> None:
        ran.append(2)
        assert "note" in {
            column["name"] for column in inspect(connection).get_columns("statistics")
        }

    for _ in range(2):
        with engine.begin() as connection:
            assert not schema.ensure(connection, "id", {1: second, 2: third}, target=3)
    assert ran == [1, 2]


def test_a_migration_that_fails_leaves_the_old_tables(root: Path, runs: Runs) -> None:
    cache = Cache.open(root)
    cache.get_or_run(action(), runs)
    before = dump(root)

    def broken(connection: Connection) -> None:
        add_column(connection)
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"), cache.database.write() as transaction:
        schema.ensure(
            transaction.connection, cache.id, {layout.SCHEMA: broken}, target=layout.SCHEMA + 1
        )
    assert dump(root) == before
    assert Cache.open(root).get_or_run(action(), runs).hit


def test_many_who_open_an_old_cache_at_once_bring_it_up_once(root: Path) -> None:
    restored(root)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from motools.cache import Cache, layout, schema, database, reindex\n"
        "from sqlalchemy import text\n"
        "def second(connection):\n"
        "    connection.execute(text('ALTER TABLE statistics ADD COLUMN note TEXT'))\n"
        "last, following = layout.SCHEMA, layout.SCHEMA + 1\n"
        "schema.ensure.__defaults__ = ({**schema.MIGRATIONS, last: second}, following)\n"
        "layout.SCHEMA = following\n"
        "database.check_version.__defaults__ = (following,)\n"
        f"print(len(Cache.open({str(root)!r}).entries()))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    answers = [process.communicate(timeout=60) for process in running]
    assert [out for out, _ in answers] == ["1\n"] * 8, answers
    assert "note" in columns(root / "cache.db")["statistics"]


def test_the_tables_are_of_version_4() -> None:
    """A change of tables needs a migration, and this number to rise."""
    assert layout.SCHEMA == 4
    assert set(schema.MIGRATIONS) == set(range(1, layout.SCHEMA))


def test_a_cache_outlives_its_marker(root: Path, runs: Runs) -> None:
    kept = Cache.open(root).get_or_run(action(), runs)
    (root / "motools.json").write_text("{")
    with pytest.raises(CacheUnavailableError, match="delete it"):
        Cache.open(root, create=False)
    (root / "motools.json").unlink()
    assert Cache.open(root, create=False).entry(kept.key).value == kept.value
