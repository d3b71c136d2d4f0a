"""Cached tasks against a real Prefect server: labels, values, and how often things run."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, task, unmapped
from prefect.runtime import flow_run
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.tasks import Task

from motools import Dataset
from motools.arguments import tagged
from motools.cache import Cache
from motools.errors import CacheError, ConfigError, ResultError, SourceError
from motools.source import describe
from motools.tasks import CachedTask, cached_task, use_cache

pytestmark = pytest.mark.usefixtures("server")


Labels = Callable[[UUID, int], list[str]]


def runs(log: Path) -> int:
    return len(log.read_text().splitlines())


def note(log: Path) -> None:
    with log.open("a") as lines:
        lines.write("ran\n")


@cached_task(unhashed=("log",))
def double(x: int, log: Path) -> dict[str, int]:
    """Twice as much."""
    note(log)
    return {"doubled": 2 * x}


@cached_task(unhashed=("log",))
async def double_slowly(x: int, log: Path) -> dict[str, int]:
    note(log)
    await asyncio.sleep(0.01)
    return {"doubled": 2 * x}


def fetched() -> int:
    return 1


def test_the_version_of_a_task_counts_in_the_tasks_that_call_it() -> None:
    """It says that what the source does not show, a service perhaps, is another now."""

    def calling(inner: Any) -> Any:
        def outer() -> int:
            return 1 + int(inner())

        return describe(outer).digest

    first, again, second = (calling(cached_task(fetched, version=v)) for v in ("1", "1", "2"))
    assert first == again != second != calling(cached_task(fetched))


@cached_task(unhashed=("log",), version="1", retries=2)
def flaky(log: Path) -> int:
    note(log)
    if runs(log) < 2:
        raise RuntimeError("not yet")
    return runs(log)


@task
def outer(x: int, log: Path) -> dict[str, int]:
    return double(x, log)


def this_run() -> UUID:
    return UUID(flow_run.id)


def test_a_hit_is_labelled_cached_and_returns_the_plain_value(
    cache: Cache, log: Path, labels: Labels
) -> None:
    @flow
    def calls() -> tuple[UUID, list[Any]]:
        return this_run(), [double(1, log), double(1, log), double(2, log)]

    run, values = calls()
    assert values == [{"doubled": 2}, {"doubled": 2}, {"doubled": 4}]
    assert labels(run, 3) == ["Completed", "Cached", "Completed"]
    run, values = calls()
    assert values == [{"doubled": 2}, {"doubled": 2}, {"doubled": 4}]
    assert labels(run, 3) == ["Cached"] * 3
    assert runs(log) == 2


def test_async_tasks(cache: Cache, log: Path, labels: Labels) -> None:
    @flow
    async def calls() -> tuple[UUID, list[Any]]:
        first = await double_slowly(1, log)
        return this_run(), [first, await double_slowly(1, log)]

    run, values = asyncio.run(calls())
    assert values == [{"doubled": 2}] * 2
    assert labels(run, 2) == ["Completed", "Cached"]
    assert runs(log) == 1


def test_async_calls_of_one_key_at_once_run_once(cache: Cache, log: Path) -> None:
    @flow
    async def calls() -> list[Any]:
        return await asyncio.gather(*(double_slowly(1, log) for _ in range(5)))

    assert asyncio.run(calls()) == [{"doubled": 2}] * 5
    assert runs(log) == 1


def test_submit_and_map(cache: Cache, log: Path, labels: Labels) -> None:
    @flow
    def calls() -> tuple[UUID, list[Any]]:
        mapped = double.map([1, 2, 1], log=log).result()
        return this_run(), [*mapped, double.submit(2, log).result()]

    expected = [{"doubled": 2}, {"doubled": 4}, {"doubled": 2}, {"doubled": 4}]
    run, values = calls()
    assert values == expected
    assert sorted(labels(run, 4)) == ["Cached", "Cached", "Completed", "Completed"]
    run, values = calls()
    assert values == expected
    assert labels(run, 4) == ["Cached"] * 4
    assert runs(log) == 2


@dataclass
class Shelf:
    books: int

    def __len__(self) -> int:
        return self.books

    @cached_task(unhashed=("log",))
    def more(self, x: int, log: Path) -> int:
        note(log)
        return self.books + x

    @cached_task(unhashed=("log",))
    async def more_slowly(self, x: int, log: Path) -> int:
        note(log)
        await asyncio.sleep(0.01)
        return self.books + x

    @cached_task(version="1")
    def as_stated(self, x: int) -> int:
        return self.books + x

    @classmethod
    @cached_task
    def name(cls, x: int) -> str:
        return f"{cls.__name__} {x}"

    @staticmethod
    @cached_task
    def half(x: int) -> float:
        return x / 2

    @cached_task
    @classmethod
    def label(cls, x: int = 0) -> str:
        return f"{cls.__name__}: {x}"

    @cached_task
    @staticmethod
    def third(x: int) -> float:
        return x / 3


class LongShelf(Shelf):
    pass


def test_each_bound_method_keeps_the_object_that_it_was_taken_from(cache: Cache, log: Path) -> None:
    shelves = [Shelf(books) for books in range(4)]
    assert [more(1, log) for more in [shelf.more for shelf in shelves]] == [1, 2, 3, 4]
    assert runs(log) == 4
    assert [Shelf.more(shelf, 1, log) for shelf in shelves] == [1, 2, 3, 4]  # the same calls
    assert [shelf.more.with_options(retries=1)(1, log) for shelf in shelves] == [1, 2, 3, 4]
    assert runs(log) == 4

    async def gather() -> list[int]:
        return await asyncio.gather(*[more(1, log) for more in [s.more_slowly for s in shelves]])

    assert asyncio.run(gather()) == [1, 2, 3, 4]
    assert asyncio.run(Shelf.more_slowly(shelves[2], 1, log)) == 3
    assert runs(log) == 8
    names = [cls.name for cls in (Shelf, LongShelf)]
    if sys.version_info < (3, 13):  # later ones have their own way to bind these
        assert isinstance(names[0], CachedTask)
    assert [name(1) for name in names] == ["Shelf 1", "LongShelf 1"]
    assert shelves[0].half(3) == Shelf.half(3) == 1.5


def test_bound_methods_in_threads_and_flows(cache: Cache, log: Path, labels: Labels) -> None:
    shelves = [Shelf(books) for books in range(4)]
    together = threading.Barrier(4, timeout=60)

    def add(shelf: Shelf) -> int:
        more = shelf.more.with_options(cache=cache.root)
        together.wait()
        return more(1, log)

    assert Shelf(4).more(1, log) == 5
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(add, shelves)) == [1, 2, 3, 4]

    @flow
    def shelve() -> tuple[UUID, list[int]]:
        bound = [shelf.more for shelf in shelves]
        direct = [more(2, log) for more in bound]
        submitted = [more.submit(3, log) for more in bound]
        mapped = bound[0].map([4, 5], unmapped(log))
        renamed = bound[3].with_options(retries=1, name="other")
        found = [*direct, *(future.result() for future in submitted), *mapped.result()]
        return this_run(), [*found, renamed(2, log)]

    run, values = shelve()
    assert values == [2, 3, 4, 5, 3, 4, 5, 6, 4, 5, 5]
    assert runs(log) == 15
    assert labels(run, 11).count("Cached") == 1


def test_class_and_static_methods_in_threads_and_flows(cache: Cache) -> None:
    @flow
    def shelve() -> list[Any]:
        made = [LongShelf.label, Shelf.label, LongShelf(1).label]
        futures = [label.submit(2) for label in made] + [Shelf.third.submit(6)]
        mapped = LongShelf.label.map([3, 4]), Shelf(1).third.map([3, 9]), Shelf.half.map([4])
        found = [future.result() for future in futures]
        return [*found, *(value for futures in mapped for value in futures.result())]

    assert [LongShelf.label(), Shelf(1).label(1), Shelf.third(3)] == ["LongShelf: 0", "Shelf: 1", 1]
    expected = ["LongShelf: 2", "Shelf: 2", "LongShelf: 2", 2.0]
    assert shelve() == [*expected, "LongShelf: 3", "LongShelf: 4", 1.0, 3.0, 2.0]
    assert LongShelf.label.with_options(retries=1)(2) == "LongShelf: 2"
    # As from Python 3.13 a task is bound that stands below @classmethod.
    name = MethodType(vars(Shelf)["name"].__func__, Shelf)
    assert name(1) == "Shelf 1"
    for lost in (name.submit, name.map, name.with_options):  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match=r"name: .*put @cached_task above @classmethod"):
            lost()


def test_a_bound_method_stands_in_keys_with_its_object(cache: Cache) -> None:
    assert tagged(Shelf(1).more, "x") == tagged(Shelf(1).more, "x")
    assert tagged(Shelf(1).more, "x") != tagged(Shelf(2).more, "x")
    assert tagged(Shelf(1).as_stated, "x") == tagged(Shelf(1).as_stated, "x")
    assert tagged(Shelf(1).as_stated, "x") != tagged(Shelf(2).as_stated, "x")
    assert tagged(Shelf(2).more.with_options(retries=1), "x") == tagged(Shelf(2).more, "x")


def test_other_processes_share_the_cache(cache: Cache, log: Path, labels: Labels) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def calls() -> tuple[UUID, list[Any]]:
        return this_run(), double.map([1, 2, 1], log=log).result()

    for expected in (["Cached", "Completed", "Completed"], ["Cached"] * 3):
        run, values = calls()
        assert values == [{"doubled": 2}, {"doubled": 4}, {"doubled": 2}]
        assert sorted(labels(run, 3)) == expected
    assert runs(log) == 2
    assert double(1, log) == {"doubled": 2} and runs(log) == 2  # and so does this one


def test_bound_methods_in_other_processes(cache: Cache, log: Path) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def shelve() -> list[int]:
        bound = [Shelf(books).more for books in (1, 2)]
        return [future.result() for future in [more.submit(1, log) for more in bound]]

    assert shelve() == [2, 3]
    assert Shelf(2).more(1, log) == 3
    assert runs(log) == 2


def test_subflows_and_tasks_in_tasks(cache: Cache, log: Path, labels: Labels) -> None:
    inner_runs: list[UUID] = []

    @flow
    def inner() -> dict[str, int]:
        inner_runs.append(this_run())
        return double(1, log)

    @flow
    def calls() -> tuple[UUID, list[Any]]:
        return this_run(), [outer(1, log), inner(), outer(1, log)]

    run, values = calls()
    assert values == [{"doubled": 2}] * 3
    # Each outer task ran and its inner one hit: the label is of the innermost alone.
    assert sorted(labels(run, 5)) == ["Cached", *["Completed"] * 4]
    assert labels(inner_runs[0], 1) == ["Cached"]
    assert runs(log) == 1


def test_failures_are_retried_and_never_kept(cache: Cache, log: Path, labels: Labels) -> None:
    @flow
    def calls() -> tuple[UUID, int]:
        return this_run(), flaky(log)

    run, value = calls()
    assert (value, runs(log)) == (2, 2)
    assert labels(run, 1) == ["Completed"]
    run, value = calls()
    assert (value, runs(log)) == (2, 2)
    assert labels(run, 1) == ["Cached"]
    [entry] = cache.entries()
    assert entry.value == 2 and entry.labels["function"].endswith(".flaky")


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_is_raised_the_key_is_free_again(
    cache: Cache, log: Path, problem: type[BaseException]
) -> None:
    @cached_task(unhashed=("log",), version=f"fails once with {problem.__name__}")
    def fails_once(log: Path) -> int:
        note(log)
        if runs(log) == 1:
            raise problem
        return 7

    @flow
    def calls() -> int:
        return fails_once(log)

    with pytest.raises(problem):
        calls()
    assert cache.entries() == []
    assert calls() == 7 and calls() == 7
    assert runs(log) == 2


@cached_task(version="1")
def itself(x: int) -> int:
    return itself(x) + 1


@cached_task(version="1")
async def itself_later(x: int) -> int:
    return sum(await asyncio.gather(itself_later(x), asyncio.sleep(0, 1)))


@cached_task(version="1")
def there(x: int) -> int:
    return back(x)


@cached_task(version="1")
def back(x: int) -> int:
    return there(x)


@cached_task(version="1")
def down(x: int) -> int:
    return down(x - 1) + 1 if x else 0


@cached_task(version="1", unhashed="entered")
def slow(x: int, entered: threading.Event) -> int:
    entered.set()
    time.sleep(0.1)
    return x


@pytest.mark.parametrize(
    "call", [lambda: itself(1), lambda: asyncio.run(itself_later(1)), lambda: there(1)]
)
def test_a_task_that_asks_for_its_own_key_is_an_error(
    call: Callable[[], Any], cache: Cache
) -> None:
    problems = []

    def run() -> None:
        try:
            call()
        except CacheError as problem:
            problems.append(str(problem))

    # It waited for itself for ever once: that may not keep the tests from ending.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert len(problems) == 1 and "asked for by its own run" in problems[0]
    assert cache.entries() == []


def test_other_arguments_and_other_threads_may_ask(cache: Cache) -> None:
    assert down(3) == 3
    entered = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        ask = slow.with_options(cache=cache.root)
        first = pool.submit(ask, 1, entered)
        assert entered.wait(60)
        second = pool.submit(ask, 1, entered)
        assert first.result(60) == second.result(60) == 1
    assert len(cache.entries()) == 5


def test_threads_that_a_chosen_cache_does_not_reach_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOTOOLS_CACHE_DIR", raising=False)

    def ask(call: Callable[[], int]) -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(call).result(60)

    def inside() -> int:
        with use_cache("chosen"):
            return down(0)

    async def to_thread() -> int:
        return await asyncio.to_thread(down, 0)

    with ThreadPoolExecutor(1) as older:
        older.submit(int).result(60)
        with use_cache("chosen") as chosen:
            with pytest.raises(CacheError, match=r"'ThreadPool.*chosen'\).*copy_context"):
                ask(lambda: down(0))
            assert not (tmp_path / ".motools").exists()
            carried = contextvars.copy_context()
            assert ask(lambda: carried.run(down, 0)) == ask(inside) == asyncio.run(to_thread()) == 0
            assert ask(lambda: down.with_options(cache=chosen)(0)) == 0
            assert len(chosen.entries()) == 1
            assert older.submit(down, 0).result(60) == 0  # it uses what it used before
    assert (tmp_path / ".motools").exists()
    with use_cache(".motools"):
        assert ask(lambda: down(0)) == 0
    with use_cache("chosen"):
        pass
    assert ask(lambda: down(0)) == 0


def test_timeouts(cache: Cache, log: Path) -> None:
    @cached_task(unhashed=("log",), version="1", timeout_seconds=1.5)
    def slow(log: Path) -> int:
        note(log)
        time.sleep(0 if runs(log) > 1 else 5)
        return 1

    @cached_task(unhashed=("log",), version="1", timeout_seconds=1.5)
    async def slow_async(log: Path) -> int:
        note(log)
        await asyncio.sleep(0 if runs(log) > 3 else 5)
        return 2

    @flow
    def calls() -> int:
        return slow(log)

    @flow
    async def calls_async() -> int:
        return await slow_async(log)

    with pytest.raises(TimeoutError):
        calls()
    assert calls() == 1 and runs(log) == 2
    with pytest.raises(TimeoutError):
        asyncio.run(calls_async())
    assert asyncio.run(calls_async()) == 2 and runs(log) == 4


def test_refresh(cache: Cache, log: Path, labels: Labels) -> None:
    fresh = double.with_options(refresh_cache=True, name="double afresh", retries=1)
    assert isinstance(fresh, CachedTask) and fresh.retries == 1 and double.retries == 0

    @flow
    def calls() -> UUID:
        double(1, log)
        fresh(1, log)
        double(1, log)
        with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}):
            double(1, log)
            double.with_options(refresh_cache=False)(1, log)
        return this_run()

    assert labels(calls(), 5) == ["Completed", "Completed", "Cached", "Completed", "Cached"]
    assert runs(log) == 3
    [entry] = cache.entries()
    assert entry.generation == 3
    fresh(1, log)  # outside a flow too
    assert runs(log) == 4


def test_each_task_may_have_a_cache_of_its_own(cache: Cache, log: Path, tmp_path: Path) -> None:
    elsewhere = double.with_options(cache=tmp_path / "other")

    @flow
    def calls() -> None:
        elsewhere(1, log)
        elsewhere.submit(1, log).result()
        with use_cache(tmp_path / "third"):
            double.submit(1, log).result()

    calls()
    assert runs(log) == 2 and cache.entries() == []


@pytest.mark.parametrize(
    "options",
    [
        {"cache_policy": None},
        {"cache_key_fn": lambda *_: "k"},
        {"cache_expiration": 3},
        {"result_storage": "local-file-system/x"},
        {"result_storage_key": "k"},
        {"result_serializer": "pickle"},
        {"persist_result": True},
    ],
)
def test_a_second_cache_beside_the_cache_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} cannot be set"):
        cached_task(**options)(lambda: 1)
    with pytest.raises(ConfigError, match=f"{next(iter(options))} cannot be set"):
        double.with_options(**options)


def test_what_cannot_be_cached_is_refused(cache: Cache) -> None:
    with pytest.raises(SourceError, match="generator"):

        @cached_task
        def numbers() -> Any:
            yield 1

    @cached_task
    def a_set() -> Any:
        return {"deep": [{1, 2}]}

    @flow
    def calls() -> None:
        a_set()

    with pytest.raises(ResultError, match=r"result\['deep'\]\[0\]: set"):
        calls()
    assert cache.entries() == []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (len, "not written in Python"),
        (functools.partial(max, 1), "not written in Python"),
        (functools.lru_cache(fetched), "in the place of _lru_cache_wrapper"),
        (Shelf, "a class is no function; write a function that returns Shelf"),
        ("v1", r"write @cached_task\(version='v1'\)"),
        (1, "int is no function"),
        (classmethod(len), "not written in Python"),
    ],
)
def test_what_is_no_function_is_refused(function: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cached_task(function)


def test_a_version_stands_for_a_source_that_is_none(cache: Cache) -> None:
    square = cached_task(functools.partial(pow, 2), version="1")
    assert (square(3), square(3)) == (8, 8)
    assert len(cache.entries()) == 1


def test_a_parameter_called_self_is_given_by_position(cache: Cache) -> None:
    @cached_task
    def name(self: int) -> int:
        return self

    assert name(1) == 1
    for call in (name, name.submit, name.map):
        with pytest.raises(ConfigError, match=r"name: .*'self' cannot be given by name"):
            call(self=1)


def test_it_is_still_that_function(log: Path) -> None:
    assert isinstance(double, Task) and double.name == "double"
    assert double.__doc__ == "Twice as much." and double.description == "Twice as much."
    assert double.__module__ == __name__ and double.fn.__name__ == "double"
    assert 'return {"doubled": 2 * x}' in (double.source_code or "")
    assert double.task_key == Task(double.__wrapped__.__wrapped__).task_key  # type: ignore[attr-defined]


def test_results_are_fresh_objects(cache: Cache, log: Path) -> None:
    double(1, log)["doubled"] = 99
    assert double(1, log) == {"doubled": 2}


def test_no_server_is_asked_outside_a_flow(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, os, socket, threading

            listener = socket.create_server(("127.0.0.1", 0))
            asked = []
            threading.Thread(target=lambda: asked.append(listener.accept()), daemon=True).start()
            os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}/api"

            from motools import tasks

            ran = []

            @tasks.cached_task(version="1", retries=1)
            def add(a, b):
                ran.append(1)
                return a + b

            @tasks.cached_task(version="1")
            async def later(a):
                ran.append(2)
                return a

            assert [add(1, 2), add(1, b=2)] == [3, 3]
            assert [asyncio.run(later(1)), asyncio.run(later(1))] == [1, 1]
            assert ran == [1, 2], ran
            assert not asked
            """
        )
    )
    subprocess.run([sys.executable, script], check=True, cwd=tmp_path, timeout=60)
    assert (tmp_path / ".motools" / "cache.db").exists()


def test_12_prefects_own_cache_is_off() -> None:
    """Invariant 12: one cache, one truth, also after ``with_options``."""
    from prefect.cache_policies import NO_CACHE

    from motools import evaluate, fine_tune, upload_dataset

    own = cached_task(lambda number: number)
    for each in (own, own.with_options(retries=1), upload_dataset, fine_tune, evaluate):
        assert each.cache_policy == NO_CACHE
        assert each.persist_result is False


@cached_task
def count_rows(dataset: Dataset, times: int) -> int:
    return len(dataset) * times


def test_map_takes_a_dataset_as_one_argument(server: None, cache: Cache) -> None:
    @flow
    def counts() -> list[int]:
        return count_rows.map(Dataset.from_rows([{"a": 1}, {"a": 2}, {"a": 3}]), [1, 2]).result()

    assert counts() == [3, 6]
