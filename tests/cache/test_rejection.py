"""Rejections: what was rejected is never served, and what is made after it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from motools.cache import Cache
from motools.cache.rejection import reject, rejections, withdraw
from motools.cache.removal import execute, plan
from motools.cache.undelete import undelete
from motools.errors import KeyNotFoundError, RejectedError
from motools.steps.wait import claim_when_free
from tests.cache.conftest import Runs, action, lose_the_database
from tests.postgresql import BOTH

OpenCache = Callable[..., Cache]


@BOTH
def test_a_rejected_result_is_never_served(cache: Cache, runs: Runs) -> None:
    entry, other = cache.get_or_run(action(1), runs), cache.get_or_run(action(2), runs)
    reject(cache, [entry], "its dataset was poisoned")
    said = f"function {entry.key[:12]} was rejected: its dataset was poisoned.*--withdraw"
    for ask in (
        lambda: cache.look_up([action(1)]),
        lambda: cache.look_up([action(2), action(1)]),
        lambda: cache.get_or_run(action(1), runs),
    ):
        with pytest.raises(RejectedError, match=said):
            ask()
    assert runs.count == 2
    assert [found and found.value for found in cache.look_up([action(2)])] == [other.value]
    assert rejections(cache.database).keys() == {entry.key}

    made = cache.get_or_run(action(1), runs, refresh=True)
    assert (made.generation, runs.count) == (2, 3)
    assert cache.get_or_run(action(1), runs).generation == 2
    assert rejections(cache.database) == {}

    reject(cache, [made], "again")
    with pytest.raises(RejectedError, match="again"):
        cache.look_up([action(1)])
    withdraw(cache, [entry.key])
    assert cache.get_or_run(action(1), runs).generation == 2
    with pytest.raises(KeyNotFoundError, match="is not rejected"):
        withdraw(cache, [entry.key])


@BOTH
def test_what_somebody_else_rejects_is_not_served_from_then_on(
    open_cache: OpenCache, runs: Runs
) -> None:
    mine, theirs = open_cache(), open_cache()
    entries = [mine.get_or_run(action(n), runs) for n in range(3)]
    asked = [action(n) for n in range(3)]
    assert [found and found.key for found in mine.look_up(asked)] == [e.key for e in entries]
    reject(theirs, [entries[1]], "wrong")
    with pytest.raises(RejectedError, match=entries[1].key[:12]):
        mine.look_up(asked)
    withdraw(theirs, [entries[1].key])
    assert [found and found.key for found in mine.look_up(asked)] == [e.key for e in entries]


async def test_waiting_without_blocking_refreshes_it_too(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(action(), runs)
    reject(cache, [entry], "wrong")
    with pytest.raises(RejectedError):
        await claim_when_free(cache, action())
    claim = await claim_when_free(cache, action(), refresh=True)
    with claim:  # type: ignore[union-attr]
        assert claim.commit(runs(claim.context)).generation == 2  # type: ignore[union-attr]


def test_clearing_and_undeleting_keep_it(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(action(), runs)
    reject(cache, [entry], "wrong")
    execute(cache, plan(cache, [entry]))
    assert cache.look_up([action()]) == [None]
    undelete(cache, [entry.key])
    with pytest.raises(RejectedError):
        cache.look_up([action()])
    execute(cache, plan(cache, [entry]))
    assert cache.get_or_run(action(), runs).generation == 2  # clearing is one way to go on


@BOTH
def test_it_outlives_the_database(open_cache: OpenCache, runs: Runs) -> None:
    cache = open_cache()
    reject(cache, [cache.get_or_run(action(), runs)], "wrong")
    cache.close()
    lose_the_database(cache.root)
    with pytest.raises(RejectedError, match="wrong"):
        open_cache().look_up([action()])
