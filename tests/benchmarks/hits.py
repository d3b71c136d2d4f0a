"""A warm hit, one at a time and ten thousand at once."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from motools.cache import Action, Cache
from tests.benchmarks.figures import Figure, median_of_each

_CONFIG = {"learning_rate": 1e-4, "epochs": 3, "seed": 0, "lora": {"rank": 8, "alpha": 16}}
_ROUNDS = 3_000


def _action(number: int) -> Action:
    return Action(
        kind="function",
        inputs={"dataset": "ab" * 32},
        config={**_CONFIG, "n": number},
        backend={"name": "bench", "recipe": 1},
    )


def _run(context: object) -> dict[str, float]:
    (context.directory / "scores.txt").write_text("0.5")  # type: ignore[attr-defined]
    return {"score": 0.5}


def _scores(number: int, config: dict[str, object]) -> dict[str, float]:
    return {"score": 0.5 + number}


def one_hit() -> list[Figure]:
    """One hit in a warm process, with the key made anew each time."""
    what = "a warm hit"
    with tempfile.TemporaryDirectory() as place:
        calls = {"motools": _motools_call(Path(place)), **_peer_calls(Path(place))}
        medians = median_of_each(calls, _ROUNDS)
        medians |= _slow_peers(Path(place))
    return [Figure(what, who, seconds) for who, seconds in medians.items()]


def many_hits(count: int = 10_000) -> list[Figure]:
    """``look_up`` of many actions that are all hits."""
    with tempfile.TemporaryDirectory() as place:
        cache = Cache.open(place)
        for number in range(count):
            cache.get_or_run(_action(number), _run)
        times = []
        for _ in range(5):
            actions = [_action(number) for number in range(count)]
            started = time.perf_counter()
            found = cache.look_up(actions)
            times.append(time.perf_counter() - started)
            assert all(found)
        peer = _diskcache_many(Path(place), count)
    what = f"look_up of {count:,} actions, all hits"
    return [
        Figure(what, "motools", statistics.median(times), "keys, checksums and files checked"),
        Figure(what, "diskcache", peer, "no checks"),
    ]


def _motools_call(place: Path):  # type: ignore[no-untyped-def]
    cache = Cache.open(place / "motools")
    return lambda: cache.get_or_run(_action(1), _run)


def _peer_calls(place: Path):  # type: ignore[no-untyped-def]
    import diskcache
    import joblib

    remembered = joblib.Memory(place / "joblib", verbose=0).cache(_scores)
    disk = diskcache.Cache(str(place / "diskcache"))
    memoised = disk.memoize()(_scores)
    return {
        "joblib.Memory": lambda: remembered(1, _CONFIG),
        "diskcache": lambda: memoised(1, _CONFIG),
    }


def _slow_peers(place: Path) -> dict[str, float]:
    return {"redun": _redun(place), "Prefect INPUTS": _prefect(place)}


def _redun(place: Path) -> float:
    import logging

    from redun import Scheduler, task
    from redun.config import Config

    logging.getLogger("redun").setLevel(logging.ERROR)
    config = Config({"backend": {"db_uri": f"sqlite:///{place / 'redun.db'}"}})
    scheduler = Scheduler(config=config)
    scheduler.load()
    scores = task(name="scores", namespace="bench", version="1")(_scores)
    return median_of_each({"redun": lambda: scheduler.run(scores(1, _CONFIG))}, 50)["redun"]


def _prefect(place: Path) -> float:
    import os

    os.environ.setdefault("PREFECT_HOME", str(place / "prefect"))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    from prefect import flow, task
    from prefect.cache_policies import INPUTS

    scores = task(cache_policy=INPUTS, persist_result=True)(_scores)
    times: list[float] = []

    @flow
    def bench() -> None:
        scores(1, _CONFIG)
        for _ in range(100):
            started = time.perf_counter()
            scores(1, _CONFIG)
            times.append(time.perf_counter() - started)

    bench()
    return statistics.median(times)


def _diskcache_many(place: Path, count: int) -> float:
    import diskcache

    disk = diskcache.Cache(str(place / "diskcache-many"))
    with disk.transact():
        for number in range(count):
            disk[_action(number).key] = {"score": 0.5}
    keys = [_action(number).key for number in range(count)]
    started = time.perf_counter()
    assert all(disk.get(key) for key in keys)
    return time.perf_counter() - started
