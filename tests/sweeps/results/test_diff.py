"""Two sweeps, step by step."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache
from motools.sweeps.diff import StepDiff, Where, diff
from motools.sweeps.planner import make_plan
from motools.sweeps.sweep import Sweep
from tests.sweeps.results.conftest import TUNED, fill, written


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache with everything of the first sweep but the missing cell."""
    root = tmp_path_factory.mktemp("diff")
    cache = Cache.open(root / "cache")
    fill(written(root, TUNED), cache)
    return cache


@pytest.fixture
def a(cache: Cache) -> Sweep:
    """The first sweep."""
    return Sweep.from_mapping(TUNED, cache.root.parent)


def changed(**values: Any) -> dict[str, Any]:
    made = copy.deepcopy(TUNED)
    made["recipe"]["fine_tune"] |= values
    return made


def against(a: Sweep, cache: Cache, values: dict[str, Any]) -> list[StepDiff]:
    """The first sweep and another one beside it."""
    b = Sweep.from_mapping(values, a.base_dir)
    return diff(make_plan(a, cache), make_plan(b, cache), cache)


def counts(found: list[StepDiff]) -> dict[Where, int]:
    return dict(Counter(each.where for each in found))


def test_the_same_sweep_has_no_difference(a: Sweep, cache: Cache) -> None:
    """The cell that is not trained yet included, whose evaluations have no keys."""
    found = against(a, cache, TUNED)
    assert counts(found) == {Where.BOTH: 12 + 13 * 2}


def test_a_field_outside_the_grid(a: Sweep, cache: Cache) -> None:
    found = against(a, cache, changed(epochs=6))
    assert counts(found) == {Where.BOTH: 2, Where.CHANGED: 12 * 3}
    training = next(each for each in found if each.side.planned.name == "fine_tune")
    assert training.differences is not None
    assert [str(each) for each in training.differences] == ["config.epochs: 3 → 6"]
    quiz = next(each for each in found if each.side.planned.name == "quiz")
    assert quiz.differences is not None
    assert "inputs.model" in {each.field for each in quiz.differences}
    assert quiz.scores == {}


def test_cells_that_only_one_has(a: Sweep, cache: Cache) -> None:
    values = copy.deepcopy(TUNED)
    values["grid"]["fine_tune.learning_rate"] = [1e-3, 1e-2]
    found = counts(against(a, cache, values))
    assert found == {Where.BOTH: 6 * 3 + 2, Where.ONLY_A: 6 * 3, Where.ONLY_B: 6 * 3}


def test_a_path_that_only_one_varies(a: Sweep, cache: Cache) -> None:
    """A learning rate that is fixed is the same parameter as one in the grid."""
    values = changed(learning_rate=1e-3, epochs=6)
    del values["grid"]["fine_tune.learning_rate"]
    found = counts(against(a, cache, values))
    assert found == {Where.BOTH: 2, Where.CHANGED: 6 * 3, Where.ONLY_A: 6 * 3}


def test_a_row_of_a_dataset_and_what_it_did_to_scores(
    a: Sweep, cache: Cache, tmp_path: Path
) -> None:
    other = written(tmp_path / "b", TUNED)
    message = [{"role": "user", "content": "data"}, {"role": "assistant", "content": "no"}]
    (tmp_path / "b" / "data.jsonl").write_text(json.dumps({"messages": message}) + "\n")
    fill(other, cache)
    found = diff(make_plan(a, cache), make_plan(other, cache), cache)
    assert counts(found) == {Where.BOTH: 6 + 7 * 2, Where.CHANGED: 6 * 3}
    training = next(each for each in found if each.where is Where.CHANGED)
    assert training.differences is not None
    whole, row = training.differences
    assert whole.field == "inputs.dataset"
    assert str(row) == "row 1, messages[1].content: 'yes' → 'no'"
    quiz = next(e for e in found if e.where is Where.CHANGED and e.side.planned.name == "quiz")
    assert quiz.scores["includes/accuracy"] == (0.25, 0.25)


def test_what_cannot_be_run_is_not_the_same(a: Sweep, cache: Cache) -> None:
    """Nothing is known of the key of an evaluation whose task cannot be found."""
    values = copy.deepcopy(TUNED)
    values["recipe"]["evaluate"] = {"quiz": {"task": "tasks.py@no_such_task"}}
    values["grid"] = {"fine_tune.learning_rate": [1e-4], "dataset": ["data.jsonl"]}
    values |= {"seeds": [0], "also": []}
    found = against(a, cache, values)
    (blocked,) = [each for each in found if each.b and each.b.planned.name == "quiz"]
    assert (blocked.where, blocked.differences) == (Where.CHANGED, None)
