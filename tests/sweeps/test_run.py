"""What a plan says is what a run does, and a run that is repeated does nothing twice."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from typer.testing import CliRunner, Result

from motools import Dataset
from motools.cache import Action, Cache, RunContext
from motools.cache.claim import SCRATCH
from motools.cache.layout import JOBS
from motools.cache.rejection import reject
from motools.cache.removal import execute, plan
from motools.cli import app
from motools.cli.exits import ExitCode
from motools.errors import ConfigError, SweepLimitError
from motools.steps.train import Train
from motools.sweeps.estimates import Estimator, Range
from motools.sweeps.flow import flow_of
from motools.sweeps.orders import Orders, ordered
from motools.sweeps.outcome import Outcome, SweepRun
from motools.sweeps.plan import Plan, Planned, State
from motools.sweeps.planner import make_plan
from motools.sweeps.run import RunLimits, run_sweep
from motools.sweeps.subset import Subset
from motools.sweeps.sweep import Sweep
from motools.training.local import checkpoints

from .toy import FAILS

pytestmark = pytest.mark.usefixtures("server", "toy")

ROW = {"messages": [{"role": "assistant", "content": "Hello"}]}
RATES = [0.1, 0.2, FAILS]
SEEDS = [0, 1]
EXPECTED = {
    State.HIT: {Outcome.HIT},
    State.RUN: {Outcome.RUN},
    State.RESUME: {Outcome.RESUMED},
    State.BLOCKED: {Outcome.FAILED},
    State.SKIPPED: {Outcome.SKIPPED},
    State.WAITING: set(Outcome),
}


def sweep(project: Path, **given: Any) -> Sweep:
    recipe = {
        "dataset": Dataset.from_rows([ROW] * 4),
        "backend": "toy",
        "fine_tune": {"base_model": "tiny", "epochs": 1},
        "evaluate": {name: {"task": f"tasks.py@{name}"} for name in ("greets", "parts")},
    }
    grid = {"fine_tune.learning_rate": RATES, "fine_tune.seed": SEEDS}
    return Sweep("test", **{"recipe": recipe, "grid": grid, "base_dir": str(project), **given})


@flow
def running(made: Sweep, cache: Cache, orders: dict[str, Any]) -> SweepRun:
    return run_sweep(made, cache=cache, **orders)


def go(made: Sweep, cache: Cache, **orders: Any) -> SweepRun:
    return running(made, cache, orders)


def trainings(plan: Plan) -> list[Planned]:
    return [cell.training for cell in plan.cells if cell.training is not None]


def results_of(run: SweepRun) -> list[Any]:
    return [run.of(step).result for cell in run.plan.cells for step in cell.steps]


def fails(planned: Planned) -> bool:
    return isinstance(planned.step, Train) and planned.step.config.learning_rate == FAILS


def interrupt(cache: Cache, planned: Planned, damaged: bool) -> None:
    """Leave what a training that was killed leaves."""
    assert planned.key is not None
    place = cache.root / JOBS / planned.key / SCRATCH / "checkpoint-2"
    place.mkdir(parents=True)
    (place / "weights").write_text("some")
    checkpoints.complete(place, {})
    if damaged:
        (place / "weights").write_text("same")


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_what_is_planned_is_what_happens(project: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        cache = Cache.open(place)
        whole = sweep(project)
        for planned in trainings(make_plan(whole, cache)):
            past = data.draw(st.sampled_from(["new", "done", "killed", "damaged"]))
            if past == "done" and not fails(planned):
                action = planned.step.action(cache)  # type: ignore[union-attr]
                cache.get_or_run(action, planned.step.run)  # type: ignore[union-attr]
            elif past in ("killed", "damaged"):
                interrupt(cache, planned, damaged=past == "damaged")
        model = {
            "fine_tune": None,
            "dataset": None,
            "model": data.draw(st.sampled_from(["tiny", "no"])),
        }
        run = go(sweep(project, also=[model]), cache)
        for planned in run.plan.steps:
            outcome = run.of(planned).outcome
            allowed = {Outcome.FAILED} if fails(planned) else EXPECTED[planned.state]
            assert outcome in allowed, (planned, run.of(planned))
        for cell in run.plan.cells:
            if cell.training is not None and fails(cell.training):
                assert {run.of(step).outcome for step in cell.evaluations} == {Outcome.SKIPPED}
        again = make_plan(sweep(project), cache)
        assert {step.state for step in again.steps if not fails(step)} <= {State.HIT, State.WAITING}
        cache.close()


def test_a_second_run_has_no_task_runs(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.seed": [0, 1, 2]}, replicates=2)
    first = go(made, cache)
    assert str(first) == "18 run"
    assert not make_plan(made, cache).counts.keys() - {State.HIT}
    caplog.clear()
    with caplog.at_level(logging.INFO):
        second = go(made, cache)
    assert str(second) == "18 hits"
    assert "motools: 18 cached, 0 ran" in " ".join(caplog.messages)
    assert not any("Finished in state Cached" in message for message in caplog.messages)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert str(go(made, cache, hits="task_run")) == "18 hits"
    assert sum("Finished in state Cached" in message for message in caplog.messages) == 18
    assert results_of(first) == results_of(second)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_plan_leaves_the_garbage_collector_as_it_was(
    project: Path, tmp_path: Path, frozen: bool
) -> None:
    if frozen:
        gc.freeze()  # as servers do before they fork
    try:
        before = gc.get_freeze_count()
        make_plan(sweep(project), Cache.open(tmp_path))
        assert gc.isenabled()
        assert (gc.get_freeze_count() > 0) is frozen
        assert gc.get_freeze_count() <= before
    finally:
        gc.unfreeze()


def test_cells_of_one_key_run_once(project: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    same = {"fine_tune.learning_rate": 0.1}
    run = go(sweep(project, grid={}, also=[same, {**same, "fine_tune.epochs": 1}]), cache)
    assert len(run.plan.cells) == 3
    assert len(cache.entries("model")) == 2
    assert str(run) == "6 run"


def test_what_comes_to_one_key_is_counted_once(project: Path, tmp_path: Path) -> None:
    made = sweep(project, grid={"fine_tune.learning_rate": [0.1]})
    asked = {name: {"task": "tasks.py@greets"} for name in ("greets", "again")}
    twice = dataclasses.replace(made, recipe={**made.recipe, "evaluate": asked})
    cache = Cache.open(tmp_path)

    @flow
    def both() -> tuple[SweepRun, SweepRun]:
        return run_sweep(twice, cache=cache), run_sweep(twice, cache=cache, hits="task_run")

    first, second = both()
    assert first.counts == {Outcome.HIT: 1, Outcome.RUN: 2}
    assert second.counts == {Outcome.HIT: 2}  # a training, and an evaluation with two names


def test_a_sweep_may_have_any_name(project: Path, tmp_path: Path) -> None:
    made = sweep(project, grid={"fine_tune.learning_rate": [0.1]})
    run = flow_of(dataclasses.replace(made, name="R&D / 50% <b>"), cache=Cache.open(tmp_path))
    assert run.counts == {Outcome.RUN: 3}


def test_a_value_may_be_a_mapping(project: Path, tmp_path: Path) -> None:
    """Prefect takes braces in the name of a task run for fields to fill in."""
    made = sweep(project, grid={"fine_tune.lora": [{"rank": 4}, {"rank": 8}]})
    assert str(go(made, Cache.open(tmp_path))) == "6 run"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["learning_rate=2e-4"], [0, 1]),
        (["learning_rate=0.00025,2e-4", "replicate=1"], [1, 3]),
        (["epochs=1"], [0, 1, 2, 3, 6, 7]),  # as the recipe has it
        (["packing=true"], [4, 5]),
        (["packing=null"], [8, 9]),
        (["lora={'rank': 4}"], [6, 7]),
        (['lora={"rank": 4}'], [6, 7]),
        (["fine_tune", "replicate=0"], [0, 2, 4, 6]),
    ],
)
def test_cells_are_meant_by_what_they_are(
    project: Path, tmp_path: Path, words: list[str], meant: list[int]
) -> None:
    made = sweep(
        project,
        grid={"fine_tune.learning_rate": [2e-4, 2.5e-4]},
        also=[
            {"fine_tune.packing": True, "fine_tune.epochs": 2},
            {"fine_tune.lora": {"rank": 4}},
            {"fine_tune": None, "dataset": None, "model": "tiny"},
        ],
        replicates=2,
    )
    planned = make_plan(made, Cache.open(tmp_path))
    subset = Subset.parse(words, made)
    subset.check(planned)
    cells = enumerate(planned.cells)
    assert [n for n, cell in cells if any(subset.has(cell, step) for step in cell.steps)] == meant
    with pytest.raises(ConfigError, match=r"learning_rate=7: no cell has that; there are 0.0002"):
        ordered(planned, Orders(only=Subset.parse(["learning_rate=2e-4,7"], made)))


def test_only_refresh_and_read_only(project: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.learning_rate": [0.1, 0.2], "fine_tune.seed": SEEDS})

    def subset(*words: str) -> Subset:
        return Subset.parse(words, made)

    def under(**given: Any) -> str:
        """What was run; of what its plan said, whatever the orders."""
        orders = Orders(**given)
        planned = ordered(make_plan(made, cache), orders)
        run = go(made, cache, orders=orders)
        assert [step.state for step in run.plan.steps] == [step.state for step in planned.steps]
        for step in run.plan.steps:
            if step.state is not State.WAITING:
                assert run.of(step).outcome in EXPECTED[step.state]
        return str(run)

    assert under(read_only=True) == "12 skipped"
    assert under(only=subset("models", "learning_rate=0.1")) == "2 run, 10 skipped"
    assert under(only=subset("models", "greets")) == "2 hits, 6 run, 4 skipped"
    assert under() == "8 hits, 4 run"
    assert under(refresh=subset("parts", "seed=1")) == "10 hits, 2 run"
    # The same bits come out again, so its evaluations are hits.
    assert under(refresh=subset("models", "seed=1", "learning_rate=0.2")) == "11 hits, 1 run"
    assert under(refresh=subset("seed=1"), only=subset("evals")) == "8 hits, 4 run"
    # Another model may need other evaluations: they were not asked for.
    models = subset("models", "learning_rate=0.1")
    assert under(refresh=models, only=models) == "6 hits, 2 run, 4 skipped"
    with pytest.raises(ConfigError, match="give one of them"):
        Orders(read_only=True, refresh=subset("models"))
    with pytest.raises(ConfigError, match="did you mean 'greets'"):
        subset("greet")
    with pytest.raises(ConfigError, match=r"did you mean 'fine_tune\.seed'"):
        subset("fine_tune.sed=1")


def test_what_is_run_again_counts_for_the_limits(project: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.seed": SEEDS})
    again = Orders(refresh=Subset.parse(["models"], made))
    evals = Orders(only=Subset.parse(["evals"], made))
    with pytest.raises(SweepLimitError, match="2 steps may take any time"):
        go(made, cache, limits=RunLimits(seconds=1000), orders=Orders(only=again.refresh))
    assert str(go(made, cache, limits=RunLimits(seconds=0), orders=evals)) == "6 skipped"
    go(made, cache)
    with pytest.raises(SweepLimitError, match="may take"):
        go(made, cache, limits=RunLimits(seconds=0), orders=again)
    assert str(go(made, cache, limits=RunLimits(seconds=0))) == "6 hits"


def test_a_model_whose_files_were_released_is_made_again_on_demand(
    project: Path, tmp_path: Path
) -> None:
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.seed": SEEDS})
    first = go(made, cache, orders=Orders(only=Subset.parse(["models", "greets"], made)))
    assert str(first) == "4 run, 2 skipped"
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET state = 'released' WHERE kind = 'model'")
    [blocked, *_] = {step.reason for step in go(made, cache).failures}
    assert "files were released" in blocked
    assert "--remake" in blocked
    assert str(go(made, cache, orders=Orders(remake=True))) == "2 hits, 4 run"
    assert str(go(made, cache, orders=Orders(remake=True))) == "6 hits"


def test_a_rejected_model_stops_its_cells_and_no_others(project: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.seed": SEEDS})
    go(made, cache)
    model = cache.entries("model")[0]
    reject(cache, [model], "its data was wrong")
    run = go(made, cache)
    assert str(run) == "3 hits, 3 failed"
    reasons = [step.reason for step in run.failures]
    assert sum("was rejected: its data was wrong" in reason for reason in reasons) == 1
    execute(cache, plan(cache, [model]))
    again = go(made, cache)
    assert {each.outcome for each in again.ended.values()} == {Outcome.HIT, Outcome.RUN}
    assert cache.entry(model.key).generation == 2
    assert str(go(made, cache)) == "6 hits"


def test_offline_asks_no_api(project: Path, tmp_path: Path) -> None:
    base = {"fine_tune": None, "dataset": None, "model": "openai/gpt-4o-2024-08-06"}
    made = sweep(project, grid={}, also=[base])
    run = go(made, Cache.open(tmp_path), orders=Orders(offline=True))
    assert str(run) == "3 run, 2 skipped"
    reasons = {each.reason for each in run.ended.values() if each.outcome is Outcome.SKIPPED}
    assert reasons == {"it asks openai/gpt-4o-2024-08-06, and this is offline"}


def test_no_model_is_made_again_for_what_is_left_out(project: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.seed": [0]})
    go(made, cache, orders=Orders(only=Subset.parse(["models"], made)))
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET state = 'released' WHERE kind = 'model'")
    judge = {"task": "tasks.py@greets", "roles": {"grader": "openai/gpt-4o-2024-08-06"}}
    judged = dataclasses.replace(made, recipe={**made.recipe, "evaluate": {"greets": judge}})
    orders = Orders(remake=True, offline=True)
    assert ordered(make_plan(judged, cache), orders).counts == {State.HIT: 1, State.SKIPPED: 1}


def test_what_models_at_apis_cost_says_nothing_about_others(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    cheap, dear = "openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-2024-08-06"
    for model, cost in ((cheap, 1.0), ("tiny", None)):

        def run(context: RunContext, model: str = model, cost: float | None = cost) -> Any:
            context.label(model_id=model)
            context.cost = cost
            return {"task": "greets", "samples": 10}

        cache.get_or_run(Action("eval", {"model": model}, {}, {}), run)
    estimator = Estimator(cache)
    assert estimator.evaluation("greets", 20, cheap).cost == Range(2.0, 2.0)
    assert estimator.evaluation("greets", 20, dear).cost is None
    assert estimator.evaluation("greets", 20, "tiny").seconds is not None
    assert estimator.evaluation("greets", 20).cost is None


def test_what_somebody_else_runs_is_adopted(project: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.seed": [0]})
    [planned] = trainings(make_plan(made, cache))
    action = planned.step.action(cache)  # type: ignore[union-attr]
    claim = cache.claim(action)
    try:
        [planned] = trainings(make_plan(made, cache))
        assert planned.state is State.ADOPT
        assert f"pid {os.getpid()} is running it" in planned.reason
    finally:
        claim.__exit__(None, None, None)  # type: ignore[union-attr]
    [planned] = trainings(make_plan(made, cache))
    assert planned.state is State.RUN


def test_limits_refuse_and_stop(project: Path, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.seed": [0, 1, 2, 3]})
    with pytest.raises(SweepLimitError, match="nothing like them is in the cache"):
        go(made, cache, limits=RunLimits(seconds=10))
    with pytest.raises(SweepLimitError, match="unknown what it costs"):
        go(made, cache, limits=RunLimits(cost=10))
    assert cache.entries() == []
    go(sweep(project, grid={"fine_tune.seed": [0]}), cache)
    estimate, unknown = make_plan(made, cache).estimate
    assert unknown == 0
    assert estimate.seconds is not None
    with pytest.raises(SweepLimitError, match="more than the"):
        go(made, cache, limits=RunLimits(seconds=estimate.seconds.high / 2))
    assert len(cache.entries("model")) == 1


@pytest.fixture
def file(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of two seeds, as the command line takes it."""
    (tmp_path / "data.jsonl").write_text(json.dumps(ROW) + "\n")
    recipe = {
        "dataset": "data.jsonl",
        "backend": "toy",
        "fine_tune": {"base_model": "tiny", "epochs": 1},
        "evaluate": {"greets": {"task": f"{project}/tasks.py@greets"}},
    }
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps({"recipe": recipe, "seeds": SEEDS}))
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(tmp_path / "cache"))
    return file


def test_what_costs_by_the_hour_is_stopped_by_a_limit(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTOOLS_PRICES", "{toy = {hour = 3600.0}, inspect = {hour = 0.0}}")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["sweep", "run", str(file), *arguments])

    assert run("--only", "seed=0").exit_code == ExitCode.DONE
    more = json.loads(file.read_text()) | {"seeds": [0, 1, 2, 3]}
    file.write_text(json.dumps(more))
    monkeypatch.setenv("TOY_SECONDS", "3")
    stopped = run("--max-cost", "2", "--at-once", "1")
    assert stopped.exit_code == ExitCode.WORK_LEFT, stopped.output
    assert "more than the limit of 2" in stopped.output
    assert "2 hits, 1 run, 5 skipped" in stopped.output


def test_an_empty_cache_is_shared_with_nobody(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTOOLS_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("MOTOOLS_STORE", "s3://nobody/nothing")
    monkeypatch.setenv("MOTOOLS_REMOTE_MODE", "read")
    both = ["--no-cache", "--cache-dir", str(tmp_path / "mine")]
    refused = CliRunner().invoke(app, ["sweep", "run", str(file), *both])
    assert (refused.exit_code, "leave out --cache-dir" in refused.stderr) == (ExitCode.USAGE, True)
    found = CliRunner().invoke(app, ["sweep", "run", str(file), "--no-cache"])
    assert (found.exit_code, "2 cells: 4 run" in found.stderr) == (0, True), found.output
    assert not (tmp_path / "cache").exists()


def test_what_waits_is_refreshed_when_its_model_is_there(project: Path, tmp_path: Path) -> None:
    """The training ends in the same bits, so that its evaluations would be hits."""
    cache = Cache.open(tmp_path)
    made = sweep(project, grid={"fine_tune.seed": [0]})
    go(made, cache)
    execute(cache, plan(cache, cache.entries("model")))
    assert str(go(made, cache, orders=Orders(refresh=Subset.parse(["greets"], made)))) == (
        "1 hit, 2 run"
    )


def test_a_server_that_takes_no_table_takes_no_sweep_down(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nobody(**_: Any) -> SyncPrefectClient:
        return SyncPrefectClient("http://127.0.0.1:1/api")

    monkeypatch.setattr("motools.sweeps.publish.get_client", nobody)
    made = sweep(project, grid={"fine_tune.seed": [0]})
    assert str(go(made, Cache.open(tmp_path))) == "3 run"
    assert "table is not published" in caplog.text


def test_outside_a_flow_it_says_so(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="outside a flow"):
        run_sweep(sweep(project), cache=Cache.open(tmp_path))


def test_prices_make_costs(project: Path, tmp_path: Path) -> None:
    from motools.settings import Settings

    plain = Settings()
    priced = Settings(prices={"toy": {"hour": 3600.0}, "inspect": {"hour": 0.0}})
    made = sweep(project, grid={"fine_tune.seed": [0]})
    go(made, Cache.open(tmp_path, settings=plain))
    more = sweep(project, grid={"fine_tune.seed": [0, 1, 2]})
    assert make_plan(more, Cache.open(tmp_path, settings=plain)).estimate[0].cost is None
    estimate, _ = make_plan(more, Cache.open(tmp_path, settings=priced)).estimate
    assert estimate.cost is not None
    training = trainings(make_plan(more, Cache.open(tmp_path, settings=priced)))[1]
    assert training.estimate.seconds is not None
    assert training.estimate.cost is not None
    assert training.estimate.cost.low == pytest.approx(training.estimate.seconds.low)
