"""A sweep's results: one by one, as a data frame, and as means."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.errors import ConfigError, MissingExtraError
from motools.sweeps import extras, parameters
from motools.sweeps.frames import results, write_parquet
from motools.sweeps.plan import State
from motools.sweeps.planner import make_plan
from motools.sweeps.results import FIXED, Results, of_plan
from motools.sweeps.statistics import Method
from motools.sweeps.subset import Subset
from motools.sweeps.summary import Summary, summarise
from tests.sweeps.results.conftest import TUNED, Swept, fill, is_missing, made_up, written


@pytest.fixture
def found(tuned: Swept) -> Results:
    return of_plan(tuned.plan)


def test_every_score_of_every_cell_is_a_row(tuned: Swept, found: Results) -> None:
    cells = tuned.sweep.cells()
    there = [cell for cell in cells if not is_missing(cell)]
    assert len(found.rows) == len(there) * 2 * 2 + (len(cells) - len(there)) * 2
    accuracies = [
        row["value"]
        for row in found.rows
        if row["score"] == "includes/accuracy" and row["evaluation"] == "quiz"
    ]
    assert accuracies == [made_up(cell) for cell in there]
    first = found.rows[0]
    assert list(first) == ["learning_rate", "dataset", "seed", "model", *FIXED]
    assert (first["learning_rate"], first["dataset"], first["seed"]) == (1e-4, "data.jsonl", 0)
    assert (first["stderr"], first["samples"], first["training_cost"]) == (0.0625, 10, 2.0)
    assert tuned.cache.entry(first["eval_key"]).action["inputs"]["model"]
    assert tuned.cache.entry(first["model_key"]).duration == first["training_seconds"]


def test_what_is_missing_is_a_row_without_values(found: Results) -> None:
    missing = [row for row in found.rows if row["state"] != "hit"]
    assert [row["evaluation"] for row in missing] == ["quiz", "short"]
    assert all(row["value"] is None and row["eval_key"] is None for row in missing)
    assert all(row["seed"] == 2 and row["model_key"] for row in missing)
    assert found.missing == {"waiting": 2}


def test_a_base_model_has_no_parameters_of_training(found: Results) -> None:
    base = found.rows[-1]
    assert base["model"] == "tiny"
    assert base["learning_rate"] is base["dataset"] is base["model_key"] is None


def test_wide_has_a_column_for_every_score(found: Results) -> None:
    assert len(found.wide) == 13 * 2
    row = found.wide[0]
    assert (row["includes/accuracy"], row["includes/accuracy stderr"]) == (0.25, 0.0625)
    assert row["lengths/mean"] == 1.5
    assert not {"score", "value", "stderr"} & row.keys()


def test_only_some_evaluations(tuned: Swept) -> None:
    only = Subset.parse(["short", "learning_rate=1e-3"], tuned.sweep)
    found = of_plan(tuned.plan, only)
    assert {(row["evaluation"], row["learning_rate"]) for row in found.rows} == {("short", 1e-3)}
    assert found.missing == {"waiting": 1}


def test_a_frame_has_one_type_in_a_column(tuned: Swept, tmp_path: Path) -> None:
    import pandas as pd

    frame = results(tuned.sweep, tuned.cache)
    types = {name: str(frame[name].dtype) for name in ("learning_rate", "seed", "value", "samples")}
    assert types == {
        "learning_rate": "float64",
        "seed": "Int64",
        "value": "float64",
        "samples": "Int64",
    }
    assert math.isnan(frame[frame.state == "waiting"].value.iloc[0])
    mean = frame[(frame.score == "includes/accuracy") & (frame.evaluation == "quiz")].value.mean()
    assert mean == pytest.approx(0.349, abs=0.01)
    path = tmp_path / "out.parquet"
    write_parquet(of_plan(tuned.plan).rows, path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame, check_dtype=False)


def test_a_column_of_mixed_values_is_text(tmp_path: Path) -> None:
    from motools.sweeps.frames import frame

    rows = [{"lora": value} for value in (None, '{"rank": 8}', True, 4)]
    assert frame(rows).lora.tolist()[1:] == ['{"rank": 8}', "true", "4"]
    write_parquet(rows, tmp_path / "mixed.parquet")


def test_columns_are_as_short_as_they_can_be() -> None:
    varied = ["fine_tune", "fine_tune.seed", "evaluate.quiz.seed", "fine_tune.lora.rank"]
    assert parameters.columns([*varied, "evaluate.quiz.task"], FIXED) == {
        "fine_tune.seed": "fine_tune.seed",
        "evaluate.quiz.seed": "evaluate.quiz.seed",
        "fine_tune.lora.rank": "rank",
        "evaluate.quiz.task": "evaluate.quiz.task",  # `task` is a column of every sweep
    }


def test_groups_that_are_given_whole_are_told_apart(tmp_path: Path) -> None:
    rates = [{"base_model": "tiny", "learning_rate": rate} for rate in (1e-4, 1e-3)]
    grid = {"fine_tune": rates, "dataset": ["data.jsonl"]}
    sweep = written(tmp_path, {**TUNED, "grid": grid, "seeds": None, "also": []})
    cache = Cache.open(tmp_path / "cache")
    fill(sweep, cache)
    found = of_plan(make_plan(sweep, cache))
    assert len(found.wide) == 4
    assert [(each.n, each.parameters["learning_rate"]) for each in summarise(found)] == [
        (1, rate) for rate in (1e-4, 1e-3) for _ in range(4)
    ]
    one = Subset.parse(["learning_rate=1e-3", "quiz"], sweep)
    assert len(of_plan(make_plan(sweep, cache), one).rows) == 2


def test_an_evaluation_is_called_as_its_own_cell_does(tmp_path: Path) -> None:
    """Asked for less, one cell's quiz is the other's short one."""
    recipe = {**TUNED["recipe"], "fine_tune": None, "dataset": None, "model": "tiny"}
    limits = {"evaluate.quiz.task_args": [{}, {"limit": 4}]}
    sweep = written(tmp_path, {"recipe": recipe, "grid": limits})
    cache = Cache.open(tmp_path / "cache")
    fill(sweep, cache)
    plan = make_plan(sweep, cache)
    assert plan.counts == {State.HIT: 2}
    names = [row["evaluation"] for row in of_plan(plan).wide]
    assert names == ["quiz", "short", "quiz", "short"]
    assert len(of_plan(plan, Subset.parse(["quiz"], sweep)).wide) == 3  # one step, however named


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"no_such_library.*'motools\[frames\]'"):
        extras.needed("no_such_library.part", "frames")


def _of(found: list[Summary], **wanted: object) -> Summary:
    (one,) = [
        each
        for each in found
        if each.evaluation == "quiz"
        and each.score == "includes/accuracy"
        and all(each.parameters[name] == value for name, value in wanted.items())
    ]
    return one


def test_means_are_over_seeds(found: Results) -> None:
    full = _of(summarise(found), learning_rate=1e-4, dataset="data.jsonl")
    assert (full.n, full.missing, full.mean, full.deviation) == (3, 0, 0.3125, 0.0625)
    assert full.interval is not None
    half = 4.302652729696142 * 0.0625 / math.sqrt(3)  # the table's quantile for two degrees
    assert (full.interval.low, full.interval.high) == pytest.approx((0.3125 - half, 0.3125 + half))
    assert full.row["interval"] == "95% t"
    partial = _of(summarise(found), learning_rate=1e-3, dataset="other.jsonl")
    assert (partial.n, partial.missing, partial.mean) == (2, 1, 0.40625)


def test_one_value_has_no_interval(found: Results) -> None:
    base = _of(summarise(found), model="tiny")
    assert (base.n, base.mean, base.deviation, base.interval) == (1, 0.125, None, None)
    assert base.row["interval"] == "none: fewer than two values"


def test_values_of_two_types_are_not_repeats(found: Results) -> None:
    """A task may be asked for 1 of something, or for the share 1.0 of it."""
    first = next(each for each in found.measurements if each.value is not None)
    shown = [
        dataclasses.replace(first, parameters={"shown": value}, eval_key=str(value))
        for value in (1, 1.0, True)
    ]
    means = summarise(Results({"shown": "shown"}, tuple(shown), {}))
    assert [(repr(each.parameters["shown"]), each.n) for each in means] == [
        ("1", 1),
        ("1.0", 1),
        ("True", 1),
    ]


def test_means_over_something_else(found: Results) -> None:
    over = _of(summarise(found, ["dataset", "seed"], method=Method.BCA), learning_rate=1e-4)
    assert (over.n, over.mean) == (6, 0.25)
    assert over.row["interval"] == "95% bca"
    with pytest.raises(ConfigError, match="learning_rat: no such field; did you mean 'learning_ra"):
        summarise(found, ["learning_rat"])


def test_cells_that_come_to_one_evaluation_count_once(found: Results) -> None:
    twice = Results(found.columns, found.measurements * 2, found.missing)
    assert _of(summarise(twice), learning_rate=1e-4, dataset="data.jsonl").n == 3
