"""Statistics: counts add up, however many there are at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from motools.cache import Cache, Claim, statistics
from motools.errors import CacheUnavailableError
from motools.settings import Settings
from tests.cache.conftest import action
from tests.postgresql import BOTH


@BOTH
@pytest.mark.parametrize("count", [3, 300])
def test_counts_add_up(cache: Cache, count: int) -> None:
    keys = [f"{n:064x}" for n in range(count)]
    for _ in range(2):
        cache.statistics.count(*keys, keys[0])
        cache.flush()
    rows = cache.database.read("SELECT key, hits FROM statistics")
    assert dict(rows) == {**dict.fromkeys(keys, 2), keys[0]: 4}


def written(cache: Cache) -> dict[str, int]:
    return dict(cache.database.read("SELECT key, hits FROM statistics"))


@BOTH
def test_what_is_used_all_day_is_known_to_others_within_minutes(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.statistics.count("a")
    cache.statistics.count("b")
    assert written(cache) == {}  # a hit writes nothing
    monkeypatch.setattr(statistics, "FLUSH_AFTER", 0.0)
    cache.statistics.count("b")
    assert written(cache) == {"a": 1, "b": 2}


def test_what_was_used_before_a_long_run_is_known_while_it_runs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache.open(root, settings=Settings.load(lease_seconds=1.0))
    cache.statistics.count("a")
    monkeypatch.setattr(statistics, "FLUSH_AFTER", 0.0)
    claim = cache.claim(action())
    assert isinstance(claim, Claim)
    deadline = time.monotonic() + 60
    while not written(cache) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert written(cache) == {"a": 1}
    claim.abandon()
    cache.close()


def test_what_cannot_be_written_is_told_and_counted_later(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever uses an entry has it all the same."""
    monkeypatch.setattr(statistics, "FLUSH_AFTER", 0.0)
    with cache.database.write() as transaction:
        transaction.run("ALTER TABLE statistics RENAME TO gone")
    cache.statistics.count("a")
    assert "may look unused" in caplog.text
    with cache.database.write() as transaction:
        transaction.run("ALTER TABLE gone RENAME TO statistics")
    cache.statistics.count("a")
    assert written(cache) == {"a": 2}


def test_hits_do_not_wait_again_and_again_for_what_cannot_be_written(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def fail(counts: dict[str, int]) -> None:
        tried.append(len(counts))
        raise CacheUnavailableError("the database is locked")

    monkeypatch.setattr(cache.statistics, "_write", fail)
    for n in range(1_100):
        cache.statistics.count(f"{n}")
    assert tried == [1_000]
    monkeypatch.undo()
    cache.flush()
    assert len(written(cache)) == 1_100
