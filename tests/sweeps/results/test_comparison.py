"""Two evaluations on the same samples, from logs that Inspect wrote."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from motools.artifacts import Evaluation
from motools.cache import Action, Cache, RunContext
from motools.errors import ConfigError
from motools.steps.evaluate import evaluation_of
from motools.sweeps.comparison import Comparison, compare
from motools.sweeps.statistics import Method, PairedTest
from tests.sweeps.results.conftest import Swept


@pytest.fixture
def both(asked: Swept) -> tuple[Evaluation, Evaluation]:
    """Nine and three right answers."""
    steps = [cell.evaluations[0] for cell in asked.plan.cells]
    first, second = (evaluation_of(step.entry) for step in steps if step.entry is not None)
    return first, second


def by_score(found: Iterable[Comparison]) -> dict[str, Comparison]:
    return {each.score: each for each in found}


def test_the_same_samples_are_paired(both: tuple[Evaluation, Evaluation]) -> None:
    found = by_score(compare(*both))
    assert found.keys() == {"includes", "lengths.length"}
    right = found["includes"]
    assert (right.mean_a, right.mean_b, right.difference) == pytest.approx((0.9, 0.3, -0.6))
    assert (right.pairs, right.samples, right.unpaired, right.altered) == (10, 10, 0, 0)
    assert right.test is PairedTest.MCNEMAR
    assert right.p_value == pytest.approx(2 / 2**6)  # six got worse, none better
    assert right.row["interval"] == "95% Agresti-Min"
    assert right.row["low"] < -0.6 < right.row["high"] < 0


def test_other_scores_are_tested_by_permutation(both: tuple[Evaluation, Evaluation]) -> None:
    length = by_score(compare(*both))["lengths.length"]
    assert length.difference == pytest.approx(6 * (1 - 1 / 7) / 10)
    assert (length.test, length.row["interval"]) == (PairedTest.PERMUTATION, "95% t")
    assert length.p_value == pytest.approx(2 / 2**6)
    other = by_score(compare(*both, test=PairedTest.WILCOXON, method=Method.BCA))["includes"]
    assert (other.test, other.row["interval"]) == (PairedTest.WILCOXON, "95% bca")
    with pytest.raises(ConfigError, match=r"lengths.length: mcnemar is for scores of 0 and 1"):
        compare(*both, test=PairedTest.MCNEMAR)


def logged(cache: Cache, name: str, samples: list[dict[str, Any]]) -> Evaluation:
    """An entry with a log that says this of its samples."""
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalSample,
        EvalSpec,
        write_eval_log,
    )
    from inspect_ai.scorer import Score

    def run(context: RunContext) -> Any:
        spec = EvalSpec(
            created="2026-01-01T00:00:00+00:00",
            task="made",
            dataset=EvalDataset(),
            model="none/none",
            config=EvalConfig(),
        )
        made = [
            EvalSample(
                id=each["id"],
                epoch=each.get("epoch", 1),
                input=each.get("input", "?"),
                target="!",
                scores={"judge": Score(value=each["score"])},
            )
            for each in samples
        ]
        log = EvalLog(eval=spec, status="success", samples=made)
        write_eval_log(log, str(context.directory / "log.eval"))
        return {"scores": {}, "stderr": {}, "samples": len(made), "task": "made"}

    return evaluation_of(cache.get_or_run(Action(kind="eval", config={"name": name}), run))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.open(tmp_path / "cache")


def test_epochs_of_a_sample_are_one_observation(cache: Cache) -> None:
    """Six pairs of two samples say as little as two samples do."""

    def samples(scores: dict[str, str]) -> list[dict[str, Any]]:
        return [
            {"id": name, "epoch": epoch, "score": score}
            for name, grades in scores.items()
            for epoch, score in enumerate(grades, 1)
        ]

    a = logged(cache, "a", samples({"x": "III", "y": "IIC"}))
    b = logged(cache, "b", samples({"x": "CCC", "y": "CCP"}))
    (found,) = compare(a, b)
    assert (found.pairs, found.samples, found.test) == (6, 2, PairedTest.PERMUTATION)
    assert (found.mean_a, found.mean_b) == pytest.approx((1 / 6, 11 / 12))
    assert found.p_value == 0.5


def test_what_has_no_counterpart_is_counted(cache: Cache) -> None:
    a = [
        {"id": 1, "score": 1},
        {"id": 2, "score": True},
        {"id": 3, "score": 0},
        {"id": 4, "score": 1, "input": "before"},
        {"id": 5, "score": "no number"},
        {"id": 6, "score": float("nan")},
    ]
    b = [
        {"id": 1, "score": 0},
        {"id": 2, "score": "I"},
        {"id": 4, "score": 1, "input": "after"},
        {"id": 5, "score": 1},
        {"id": 6, "score": 1},
        {"id": 7, "score": 1},
    ]
    (found,) = compare(logged(cache, "a", a), logged(cache, "b", b))
    assert (found.pairs, found.unpaired, found.altered) == (2, 4, 1)
    assert found.difference == -1.0


def test_nothing_in_common_is_said(cache: Cache) -> None:
    a = logged(cache, "a", [{"id": 1, "score": 1}])
    other = logged(cache, "b", [{"id": 2, "score": 1}])
    altered = logged(cache, "c", [{"id": 1, "score": 1, "input": "other"}])
    words = logged(cache, "d", [{"id": 1, "score": "fine"}])
    with pytest.raises(ConfigError, match="have no sample in common: no id"):
        compare(a, other)
    with pytest.raises(ConfigError, match="1 have the same id and another input"):
        compare(a, altered)
    with pytest.raises(ConfigError, match="no score in common that is a number"):
        compare(a, words)
