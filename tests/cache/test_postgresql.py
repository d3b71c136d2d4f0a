"""PostgreSQL as the coordinator: what only a server can do to a cache.

What holds whichever database coordinates is in the other modules.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from motools.cache import Cache, Claim
from motools.cache.dial import Server as Dialled
from motools.cache.layout import DATABASE, MARKER
from motools.cache.postgresql import PostgreSQL
from motools.cache.reindex import reindex
from motools.errors import (
    CacheUnavailableError,
    CorruptDatabaseError,
    KeyNotFoundError,
    LeaseTimeoutError,
    SettingsError,
)
from motools.settings import Settings
from tests import postgresql
from tests.cache.conftest import Runs, action
from tests.cache.steps import watched
from tests.postgresql import Server

pytestmark = pytest.mark.parametrize("coordinator", ["postgresql"], indirect=True)

ACTION = action()
OpenCache = Callable[..., Cache]
NOBODY = "postgresql://me:hunter2@127.0.0.1:1/motools"


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """One that may be stopped."""
    with postgresql.running() as server:
        yield server


def restart(server: Server, *, down: float) -> None:
    server.stop()
    time.sleep(down)
    server.start()


def schema_of(cache: Cache) -> str:
    assert isinstance(cache.database, PostgreSQL)
    return cache.database.schema


# Connections that break.


def test_a_restart_in_the_middle_of_a_lease_goes_unnoticed(
    own_server: Server, root: Path, tmp_path: Path
) -> None:
    """Invariant 7: the heartbeat goes on, so the other host does not take over."""
    settings = Settings(database_url=own_server.url, lease_seconds=5.0)
    cache = Cache.open(root, settings=settings)
    (tmp_path / "second").mkdir()
    for name in (MARKER, "objects", "entries", "journal", "tmp", "trash", "quarantine"):
        (tmp_path / "second" / name).symlink_to(root / name)
    elsewhere = Cache.open(tmp_path / "second", settings=settings)
    claim = cache.claim(ACTION)
    assert isinstance(claim, Claim)
    with claim:
        restart(own_server, down=0.5)
        with pytest.raises(LeaseTimeoutError):
            elsewhere.get_or_run(ACTION, Runs(), timeout=7.0)
        entry = claim.commit("made before and after")
    assert elsewhere.get_or_run(ACTION, Runs()).value == entry.value == "made before and after"
    assert entry.generation == 1
    for opened in (cache, elsewhere):
        opened.close()


def test_a_run_whose_connections_are_lost_at_any_step(
    server: Server, open_cache: OpenCache, runs: Runs
) -> None:
    """Invariants 1 and 6: the answer is right or refused, and the next try sets it right."""
    cache = open_cache()
    refused = survived = 0
    steps: list[str] = []
    with watched(steps.append):
        cache.get_or_run(action("rehearsal"), runs)
    for moment in range(len(steps)):
        wanted, count = action(moment), 0

        def at(_step: str, moment: int = moment) -> None:
            nonlocal count
            count += 1
            if count == moment + 1:
                server.disconnect_all()

        try:
            with watched(at):
                value = cache.get_or_run(wanted, runs).value
            survived += 1
        except CacheUnavailableError as problem:
            assert "PostgreSQL at" in str(problem)
            found = cache.look_up([wanted])[0]
            value = None if found is None else found.value
            refused += 1
        entry = cache.get_or_run(wanted, runs, timeout=0)
        assert value in (None, entry.value)
        assert (entry.generation, entry.files["log.txt"].read_text()) == (1, "done\n")
    assert refused > 5
    assert survived > 5


@pytest.mark.parametrize("arrived", [True, False])
def test_a_commit_whose_answer_is_lost_is_found_out(
    cache: Cache, runs: Runs, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    cache.get_or_run(action("warm"), runs)
    commit = psycopg.Connection.commit
    lost: list[bool] = []

    def lose(connection: psycopg.Connection[Any]) -> None:
        if "entries" not in said or lost:
            return commit(connection)
        lost.append(True)
        if arrived:
            commit(connection)
        connection.close()
        raise psycopg.OperationalError("the connection was lost")

    said: list[str] = []
    monkeypatch.setattr(psycopg.Connection, "commit", lose)
    with watched(lambda step: said.append("entries") if "INTO', 'entries'" in step else None):
        if arrived:
            assert cache.get_or_run(ACTION, runs).generation == 1
        else:
            with pytest.raises(CacheUnavailableError, match="the connection was lost"):
                cache.get_or_run(ACTION, runs)
    assert lost == [True]
    assert (cache.look_up([ACTION]) != [None]) == arrived
    assert cache.get_or_run(ACTION, runs, timeout=0).generation == 1
    assert runs.count == (2 if arrived else 3)


def test_a_commit_is_unknown_while_nobody_can_be_asked(
    own_server: Server, root: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache.open(root, settings=Settings(database_url=own_server.url))
    monkeypatch.setattr("motools.cache.dial.PATIENCE", 0.2)
    commit = psycopg.Connection.commit

    def lose(connection: psycopg.Connection[Any]) -> None:
        commit(connection)
        connection.close()
        own_server.stop()
        raise psycopg.OperationalError("lost")

    cache.memo.record("test", "before", "", 0)
    monkeypatch.setattr(psycopg.Connection, "commit", lose)
    with pytest.raises(CacheUnavailableError, match="unknown whether it did"):
        cache.memo.record("test", "subject", "", 1)
    monkeypatch.undo()
    own_server.start()
    assert cache.memo.recall("test", "subject", "") == 1
    cache.close()


def test_a_server_that_is_away_is_not_a_miss(
    own_server: Server, root: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 6."""
    cache = Cache.open(root, settings=Settings(database_url=own_server.url))
    cache.get_or_run(ACTION, runs)
    monkeypatch.setattr("motools.cache.dial.PATIENCE", 0.3)
    own_server.stop()
    try:
        for ask in (
            lambda: cache.look_up([ACTION]),
            lambda: cache.get_or_run(ACTION, runs),
            lambda: Cache.open(root, settings=Settings(database_url=own_server.url)),
        ):
            with pytest.raises(CacheUnavailableError, match=f"PostgreSQL at {own_server.place}"):
                ask()
    finally:
        own_server.start()
    assert cache.get_or_run(ACTION, runs).hit
    assert runs.count == 1
    cache.close()


def test_a_server_that_never_answered_is_an_error(root: Path) -> None:
    with pytest.raises(CacheUnavailableError, match=r"at 127.0.0.1:1/motools .*DATABASE_URL"):
        Cache.open(root, settings=Settings(database_url=NOBODY))


def test_a_process_takes_few_connections(server: Server, cache: Cache, runs: Runs) -> None:
    """However many threads it has: servers let in a hundred."""
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(5):
            cache.get_or_run(action(f"{number} {turn}"), lambda _: 1)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    most = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ((now,),) = server.run(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE application_name = 'motools' AND locktype = 'advisory'"
        )
        most = max(most, now)
    assert most == 1
    assert len(cache.entries()) == 80


# One store and its tables.


def test_caches_share_a_server(cache: Cache, tmp_path: Path, runs: Runs) -> None:
    other = Cache.open(tmp_path / "other")
    assert schema_of(other) != schema_of(cache)
    cache.get_or_run(ACTION, runs)
    assert other.look_up([ACTION]) == [None]
    assert not other.get_or_run(ACTION, runs).hit
    other.close()


def test_tables_of_another_cache_are_refused(cache: Cache, runs: Runs) -> None:
    cache.get_or_run(ACTION, runs)
    with cache.database.write() as transaction:
        transaction.run("UPDATE meta SET value = 'theirs' WHERE name = 'cache_id'")
    with pytest.raises(CacheUnavailableError, match=r"belongs to another cache, theirs"):
        Cache.open(cache.root)


def test_another_coordinator_takes_over_only_when_told(
    root: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """Two coordinators of one store would each run what the other runs."""

    monkeypatch.setenv("MOTOOLS_DATABASE_URL", "")
    first = Cache.open(root)
    first.get_or_run(action(0), runs)
    first.close()
    turns = [(server.url, "cache.db coordinates"), ("", "PostgreSQL coordinates")] * 2
    for number, (url, so_far) in enumerate(turns, 1):
        monkeypatch.setenv("MOTOOLS_DATABASE_URL", url)
        with pytest.raises(CacheUnavailableError, match=f"{so_far}.*motools cache reindex"):
            Cache.open(root)
        assert reindex(root).problems == ()
        cache = Cache.open(root)
        assert None not in cache.look_up([action(n) for n in range(number)])
        cache.get_or_run(action(number), runs)
        cache.close()
        assert (root / DATABASE).exists() == (url == "")


def test_lost_tables_are_made_again(server: Server, cache: Cache, runs: Runs) -> None:
    cache.get_or_run(ACTION, runs)
    cache.close()
    server.run(f"DROP TABLE {schema_of(cache)}.entries")
    with pytest.raises(CorruptDatabaseError, match="motools cache reindex"):
        cache.look_up([ACTION])
    found = reindex(cache.root)
    assert (found.entries, found.problems) == (1, ())
    assert found.damaged is not None
    assert found.damaged.startswith(f"the schema {schema_of(cache)}_")
    assert Cache.open(cache.root).get_or_run(ACTION, runs).hit


def test_a_prefix_means_its_characters(cache: Cache, runs: Runs) -> None:
    """However the database sorts text."""
    key = cache.get_or_run(ACTION, runs).key
    assert cache.entry(key[:8].upper()).key == key
    with pytest.raises(KeyNotFoundError):
        cache.entry(f"{key[:4]}-{key[4:8]}")


def test_memos_are_of_one_machine(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one may have another file there, and other libraries."""
    cache.memo.record("test", "/path", "signature", 1)
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    elsewhere = Cache.open(cache.root)
    assert elsewhere.memo.recall("test", "/path", "signature") is None
    assert cache.memo.recall("test", "/path", "signature") == 1
    cache.memo.record("test", "long" * 5_000, "signature", 2)
    assert cache.memo.recall("test", "long" * 5_000, "signature") == 2
    elsewhere.close()


def test_how_connections_are_configured(cache: Cache) -> None:
    """Invariant 11."""
    shown = "SELECT name, setting FROM pg_settings WHERE name IN ({})".format(
        "'synchronous_commit', 'transaction_isolation', 'lock_timeout'"
    )
    with cache.database.write() as transaction:
        assert {row[0]: row[1] for row in transaction.run(shown)} == {
            "synchronous_commit": "on",
            "transaction_isolation": "read committed",
            "lock_timeout": "60000",
        }


# Passwords and imports.


def test_a_password_is_in_no_error(root: Path) -> None:
    settings = Settings(database_url=NOBODY)
    said = [repr(settings)]
    for url in (NOBODY, "postgresql://me:hunter2@h:port:5/x", "mysql://me:hunter2@h/x"):
        try:
            Cache.open(root, settings=Settings(database_url=url))
        except (CacheUnavailableError, SettingsError):
            said.append(traceback.format_exc())
    assert len(said) == 4
    assert not [text for text in said if "hunter2" in text]
    problem = psycopg.OperationalError('cannot do "hunter2"')
    assert "hunter2" not in str(Dialled(NOBODY).explained(problem))


def test_a_password_is_in_no_record(server: Server, root: Path, runs: Runs) -> None:
    url = server.url.replace("postgres@", "postgres:hunter2@")
    cache = Cache.open(root, settings=Settings(database_url=url))
    cache.get_or_run(ACTION, runs)
    cache.digest_file(root / MARKER)
    cache.close()
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if b"hunter2" in path.read_bytes()]
    for table in ("meta", "entries", "blobs", "leases", "memos", "statistics"):
        rows = server.run(f"SELECT t::text FROM {schema_of(cache)}.{table} t")
        assert rows or table in ("statistics", "memos")
        assert not [row for row in rows if "hunter2" in row[0]]


def test_a_hit_needs_only_the_driver(cache: Cache, runs: Runs) -> None:
    cache.get_or_run(ACTION, runs)
    script = (
        "import sys; from motools.cache import Action, Cache\n"
        f"found = Cache.open({str(cache.root)!r}).entries()\n"
        "assert len(found) == 1; print('sqlalchemy' in sys.modules, 'psycopg' in sys.modules)"
    )
    said = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert said == "False True\n"
