"""PostgreSQL beside SQLite: what it costs to claim and commit, and to look up."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from motools.cache import Action, Cache
from motools.settings import Settings
from tests import postgresql
from tests.benchmarks.figures import Figure

_WRITERS = 32
_SECONDS = 5.0


def coordinators(count: int = 10_000) -> list[Figure]:
    """Both databases, durable, on the disk of the temporary directory."""
    figures = []
    with postgresql.running(tempfile.gettempdir(), durable=True) as server:
        for who, url in (("SQLite", ""), ("PostgreSQL", server.url)):
            with tempfile.TemporaryDirectory() as place:
                cache = Cache.open(place, settings=Settings(database_url=url))
                figures += [
                    Figure("claim and commit", who, _runs(cache), "documents synced, no files"),
                    Figure("take and give up a lease", who, _leases(cache, "one", 100)),
                    Figure(f"the same, {_WRITERS} processes at once", who, _many_leases(cache)),
                    Figure(f"look_up of {count:,} actions, no files", who, _look_up(cache, count)),
                ]
                cache.close()
    return sorted(figures, key=lambda figure: figure.what)


def _action(number: int) -> Action:
    return Action("function", {}, {"n": number}, {"name": "bench", "recipe": 1})


def _runs(cache: Cache) -> float:
    times = []
    for number in range(100):
        started = time.perf_counter()
        cache.get_or_run(_action(-1 - number), lambda _context: 1)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _leases(cache: Cache, key: str, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        lease = cache.leases.try_take(key, lambda _why: None)
        assert lease is not None
        cache.leases.release(lease)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _many_leases(cache: Cache) -> float:
    """Seconds per lease, of all processes together."""
    with tempfile.TemporaryDirectory() as place:
        with _forked(lambda n: _until_told(cache, n, Path(place))):
            time.sleep(_SECONDS)
            (Path(place) / "stop").touch()
        done = sum(int(path.read_text()) for path in Path(place).glob("[0-9]*"))
    return _SECONDS / done


def _until_told(cache: Cache, number: int, place: Path) -> None:
    count = 0
    while not (place / "stop").exists():
        _leases(cache, f"{number}", 1)
        count += 1
    (place / f"{number}").write_text(str(count))


@contextmanager
def _forked(work: Callable[[int], None]) -> Iterator[None]:
    children = []
    for number in range(_WRITERS):
        pid = os.fork()
        if pid == 0:
            try:
                work(number)
            finally:
                os._exit(0)
        children.append(pid)
    yield
    for pid in children:
        os.waitpid(pid, 0)


def _look_up(cache: Cache, count: int) -> float:
    _fill(cache, count)
    times = []
    for _ in range(5):
        actions = [_action(number) for number in range(count)]
        started = time.perf_counter()
        found = cache.look_up(actions)
        times.append(time.perf_counter() - started)
        assert all(found)
    return statistics.median(times)


def _fill(cache: Cache, count: int) -> None:
    """Rows as runs would make them, in one transaction."""
    from motools.cache.commit import INSERT_ENTRY
    from motools.cache.entry import COLUMNS, checksum

    names = COLUMNS.split(", ")
    row = dict(zip(names, cache.index.get(_action(-1).key).row, strict=True))
    rows = [
        {
            **row,
            "key": action.key,
            "action": action.canonical.decode(),
            "checksum": checksum(action.key, row["value"], None, "[]", None),
        }
        for action in map(_action, range(count))
    ]
    with cache.database.write() as transaction:
        transaction.run_many(INSERT_ENTRY, rows)
