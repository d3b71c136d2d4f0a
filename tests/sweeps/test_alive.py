"""A sweep whose models live at a provider: what its plan says when some are gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from prefect import flow
from typer.testing import CliRunner

from motools import Dataset
from motools.cache import Cache
from motools.cache.current import cache_at
from motools.cli import app
from motools.errors import ConfigError
from motools.steps import alive
from motools.sweeps import document
from motools.sweeps.orders import Orders, ordered
from motools.sweeps.outcome import SweepRun
from motools.sweeps.plan import Plan, State
from motools.sweeps.planner import make_plan
from motools.sweeps.run import run_sweep
from motools.sweeps.sweep import Sweep
from tests.training import lab, openai_api
from tests.training.lessons import greeting_rows
from tests.training.openai_api import SNAPSHOT, OpenAIAPI, Refused

pytestmark = pytest.mark.usefixtures("server", "toy")

NOW = Orders(revalidate=0.0)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenAIAPI]:
    with openai_api.running() as api:
        api.course = ("succeeded",)
        lab.be(api, monkeypatch, tmp_path / "cache")
        yield api


@flow
def running(
    made: Sweep, cache: Cache, orders: Orders, hits: Literal["event", "task_run"] = "event"
) -> SweepRun:
    return run_sweep(made, cache=cache, orders=orders, hits=hits)


def test_a_sweep_goes_on_when_a_model_is_gone(
    api: OpenAIAPI, project: Path, tmp_path: Path
) -> None:
    cache = cache_at(tmp_path / "cache")
    recipe = {
        "dataset": Dataset.from_rows(greeting_rows()),
        "backend": "lab",
        "fine_tune": {"base_model": SNAPSHOT, "epochs": 1},
        "evaluate": {"greets": {"task": "tasks.py@greets"}},
    }
    made = Sweep("test", recipe, {"fine_tune.seed": [0, 1]}, base_dir=str(project))
    more = Sweep(
        "more",
        {
            **recipe,
            "evaluate": {name: {"task": f"tasks.py@{name}"} for name in ("greets", "parts")},
        },
        {"fine_tune.seed": [0, 1]},
        base_dir=str(project),
    )

    def planned(of: Sweep, orders: Orders = NOW) -> Plan:
        hours = orders.hours(cache.settings)
        return ordered(make_plan(of, cache, revalidate=hours), orders)

    assert running(made, cache, Orders()).plan.counts == {State.RUN: 2, State.WAITING: 2}
    first, second = (cell.training.entry for cell in planned(made).cells)
    assert planned(made).counts == {State.HIT: 4}

    # Out of reach: only what needs a model stops.
    api.fault(Refused(401), "GET", f"/models/{first.remote.id}", times=3)
    [one, other] = planned(more).cells
    assert one.training.state is State.BLOCKED
    assert "is there still is not known" in one.training.reason
    assert [step.state for step in one.evaluations] == [State.HIT, State.BLOCKED]
    assert [step.state for step in other.steps] == [State.HIT, State.HIT, State.RUN]
    assert planned(more, Orders(offline=True)).cells[0].training.state is State.HIT
    # A plan that only reads results asks nobody.
    asked = api.count("GET", f"/models/{first.remote.id}")
    assert make_plan(made, cache).counts == {State.HIT: 4}
    assert api.count("GET", f"/models/{first.remote.id}") == asked
    drawn, found = running(more, cache, NOW, "task_run"), running(more, cache, NOW)
    for each in (drawn, found):
        assert [str(each.of(step).outcome) for step in each.plan.cells[0].steps] == [
            "failed",
            "hit",
            "failed",
        ]
    assert str(drawn.of(drawn.plan.cells[1].evaluations[1]).outcome) == "run"

    # Shut down soon.
    api.models[first.remote.id]["shutdown_date"] = "2031-02-03"
    one = planned(made).cells[0]
    assert one.training.state is State.HIT
    assert "is shut down at" in one.training.reason and "2031-02-03" in one.training.reason

    # Gone: its evaluations are hits, what is new needs it again.
    del api.models[first.remote.id]
    one = planned(more).cells[0]
    assert [step.state for step in one.steps] == [State.HIT, State.HIT, State.BLOCKED]
    took = f"{first.duration:.0f} s and {first.cost:,.2f} in money"
    assert one.evaluations[1].reason == (
        f"its model is gone at the provider; making it again takes {took}, which --remake allows"
    )
    remade = planned(more, Orders(remake=True))
    assert remade.cells[0].training.state is State.RUN
    assert remade.cells[0].training.estimate.cost.high == first.cost
    assert len(api.jobs) == 2
    running(more, cache, Orders(remake=True))
    assert len(api.jobs) == 3
    assert not cache.entry(first.key).released
    assert second.key in {cell.training.key for cell in planned(more).cells}


def test_the_command_line_asks_when_it_is_told_to(
    api: OpenAIAPI, project: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in greeting_rows()))
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"recipe:\n  dataset: {rows}\n  backend: lab\n"
        f"  fine_tune: {{base_model: {SNAPSHOT}, epochs: 1}}\n"
    )
    cache = cache_at(tmp_path / "cache")
    running(document.read(file), cache, Orders())
    [entry] = cache.entries("model")
    api.models[entry.remote.id]["shutdown_date"] = "2031-02-03"

    def says(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    assert "2031" not in says("sweep", "plan", str(file))
    assert "2031-02-03" in says("sweep", "plan", str(file), "--revalidate")
    assert "2031-02-03" in says("sweep", "plan", str(file))
    assert "2031-02-03" in says("cache", "list", "models")
    listed = json.loads(says("cache", "list", "--format", "json"))
    assert [row["expires_at"] for row in listed if row["kind"] == "model"] == [
        "2031-02-03T00:00:00+00:00"
    ]
    assert "2031-02-03" in says("cache", "show", entry.key[:12])
    del api.models[entry.remote.id]
    shown = says("cache", "show", entry.key[:12], "--revalidate")
    assert "released" in shown and "at the provider" in shown
    assert "2031" not in says("cache", "list", "models", "--revalidate")
    assert (
        "at the provider"
        in json.loads(says("cache", "show", entry.key[:12], "--format", "json"))["released"]
    )
    assert alive.expiries(cache, [cache.entry(entry.key)]) == {}


def test_what_is_not_known_is_said_and_the_list_stands(api: OpenAIAPI, tmp_path: Path) -> None:
    cache = cache_at(tmp_path / "cache")
    step = lab.training()
    entry = cache.get_or_run(step.action(cache), step.run)
    api.secret = "another"
    result = CliRunner().invoke(app, ["cache", "list", "models", "--revalidate"])
    assert result.exit_code == 0
    assert entry.key[:12] in result.stdout
    assert "is there still is not known" in result.stderr


def test_offline_and_revalidate_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="offline asks no provider"):
        Orders(offline=True, revalidate=0.0)
