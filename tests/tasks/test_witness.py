"""What a flow run says about the cache: log lines, events, and one table."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.task_runners import ProcessPoolTaskRunner
from typer.testing import CliRunner

from motools.cache import Cache
from motools.cli import app
from motools.tasks import cached_task, run_context, tally, witness

pytestmark = pytest.mark.usefixtures("server")

Events = Callable[[UUID, int], list[dict[str, Any]]]
Tables = Callable[[UUID], list[Any]]

begun, go_on = threading.Event(), threading.Event()


@cached_task(unhashed=("log",))
def priced(x: int, log: Path) -> int:
    context = run_context()
    context.report("half way", done=0.5)
    context.cost = 0.25
    with log.open("a") as lines:
        lines.write("ran\n")
    return x


@cached_task(version="1")
def held() -> int:
    begun.set()
    assert go_on.wait(60)
    return 1


@flow(name="pricing")
def pricing(log: Path, *numbers: int, refresh: bool = False) -> UUID:
    asked = priced.with_options(refresh_cache=True) if refresh else priced
    for number in numbers:
        asked(number, log)
    return UUID(flow_run.id)


def test_log_lines(cache: Cache, log: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        pricing(log, 1)
        assert "half way" in caplog.messages
        assert not any(message.startswith("Cached:") for message in caplog.messages)
        pricing(log, 1)
    [line] = [message for message in caplog.messages if message.startswith("Cached:")]
    [entry] = cache.entries()
    assert line.startswith(f"Cached: function {entry.key[:12]} made by flow 'pricing' run '")
    assert re.search(r" \d+ m?s ago, saved \d+ ms and", line)
    assert line.endswith(" and 0.25 in money")


def test_events(cache: Cache, log: Path, events: Events) -> None:
    def names(run: UUID, count: int) -> list[str]:
        return [event["event"].removeprefix("motools.cache.") for event in events(run, count)]

    assert names(pricing(log, 1, 1), 3) == ["miss", "stored", "hit"]
    run = pricing(log, 1, refresh=True)
    assert names(run, 3) == ["stale", "miss", "stored"]
    [entry] = cache.entries()
    event = events(run, 3)[-1]
    assert event["resource"]["prefect.resource.id"] == f"motools.entry.{entry.key}"
    assert event["payload"]["key"] == entry.key and event["payload"]["kind"] == "function"


def test_very_many_hits_share_an_event(
    cache: Cache, log: Path, events: Events, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    pricing(log, 1, 2, 3)
    monkeypatch.setattr(witness, "_EACH", 2)

    @flow
    def sweeping(count: int) -> UUID:
        witness.tell_hits(cache.entries()[:count])
        tally.watch(sweeping)
        return UUID(flow_run.id)

    each = events(sweeping(2), 2)
    assert [event["event"] for event in each] == ["motools.cache.hit"] * 2
    run = sweeping(3)
    [event] = events(run, 1)
    assert event["event"] == "motools.cache.hits"
    assert (event["payload"]["kind"], event["payload"]["count"]) == ("function", 3)
    [table] = tables(run)
    assert (rows(table)[-1]["hit"], rows(table)[-1]["cost saved"]) == (3, 0.75)


def test_waiting_is_said(cache: Cache, events: Events) -> None:
    @flow
    def both() -> UUID:
        first = held.submit()
        assert begun.wait(60)
        second = held.submit()
        events(UUID(flow_run.id), 2)
        go_on.set()
        assert first.result() == second.result() == 1
        return UUID(flow_run.id)

    names = [event["event"].removeprefix("motools.cache.") for event in events(both(), 4)]
    assert sorted(names) == ["hit", "miss", "stored", "wait"]


def test_one_table_for_each_flow_run(cache: Cache, log: Path, tables: Tables) -> None:
    inner: list[UUID] = []

    @flow
    def outer() -> UUID:
        inner.append(pricing(log, 1, 2))
        priced.map([1, 2, 3], log=log).result()
        return UUID(flow_run.id)

    run = outer()
    [table] = tables(run)
    [function, total] = rows(table)
    assert {**function, "kind": "all"} == total
    assert (total["hit"], total["ran"]) == (2, 1)
    assert (total["cost saved"], total["cost spent"]) == (0.5, 0.25)
    assert table["type"] == "table" and table["description"].startswith("2 cached, 1 ran, saved ")
    [table] = tables(inner[0])
    assert (rows(table)[-1]["hit"], rows(table)[-1]["ran"]) == (0, 2)


def test_the_table_counts_other_processes_and_failed_flows(
    cache: Cache, log: Path, tables: Tables
) -> None:
    failed: list[UUID] = []

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def fails() -> None:
        failed.append(UUID(flow_run.id))
        priced.map([1, 1], log=log).result()
        raise RuntimeError("after all of that")

    with pytest.raises(RuntimeError):
        fails()
    [table] = tables(failed[0])
    assert (rows(table)[-1]["hit"], rows(table)[-1]["ran"]) == (1, 1)
    assert log.read_text() == "ran\n"


@cached_task
def inverse(x: int) -> float:
    return 1 / x


def test_a_task_run_is_explained_by_its_id_and_its_name(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[Any] = []

    @flow
    def inverses() -> None:
        states.extend(inverse(x, return_state=True) for x in (1, 1, 0))

    inverses()
    made, hit, failed = [state.state_details.task_run_id for state in states]
    [entry] = cache.entries()
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(cache.root))

    def explained(name: object) -> Any:
        command = ["cache", "explain", str(name), "--format", "json"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert explained(made)["key"] == explained(hit)["key"] == entry.key
    missed = explained(failed)
    assert (missed["state"], missed["other"]) == ("miss", entry.key)
    [row] = missed["differences"]
    assert (row["field"], row["this"], row["other"]) == ("config.arguments.x", 0, 1)
    with get_client(sync_client=True) as client:
        name = client.read_task_run(failed).name
    assert explained(name)["key"] == missed["key"]


def rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(table["data"])
    return found


@cached_task(version="1")
def counted() -> int:
    for n in range(5):
        run_context().report(f"counting: {n} of 4", done=n, total=4)
    return 4


@flow(name="counting")
def counting() -> UUID:
    counted()
    return UUID(flow_run.id)


def test_progress_is_an_artifact_and_a_few_lines(
    cache: Cache, tables: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run = counting()
    [artifact] = [found for found in tables(run) if found["type"] == "progress"]
    assert artifact["data"] == 100
    assert artifact["description"] == "counting: 4 of 4"
    assert artifact["task_run_id"] is not None
    assert [m for m in caplog.messages if "counting: " in m] == [
        "counting: 0 of 4",
        "counting: 4 of 4",
    ]
