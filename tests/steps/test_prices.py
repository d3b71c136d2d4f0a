"""Prices: what was counted becomes money where a price is known, and nowhere else."""

from __future__ import annotations

import pytest

from motools.steps.prices import Spent, of_answers, of_training
from motools.training.provider import JobResult

USAGE = {
    "openai/judge": {"input_tokens": 2_000_000, "output_tokens": 500_000},
    "openai-api/lab/own": {"input_tokens": 1_000_000, "output_tokens": 1_000_000},
    "motools/0123": {"input_tokens": 9_000_000, "output_tokens": 9_000_000},
}
APIS = {"openai/judge": "openai/judge", "openai-api/lab/own": "lab"}
JUDGE = {"million_input_tokens": 0.5, "million_output_tokens": 2.0}
FREE = {"million_input_tokens": 0.0, "million_output_tokens": 0.0}
PRICED = {"lab": {"small": 3.0, "million_tokens": 1.5}}


@pytest.mark.parametrize(
    ("prices", "spent"),
    [
        ({}, Spent(None, ("openai/judge", "openai-api/lab/own"))),
        ({"openai/judge": JUDGE}, Spent(None, ("openai/judge", "openai-api/lab/own"))),
        ({"openai/judge": JUDGE, "lab": JUDGE}, Spent(4.5, ("openai/judge", "openai-api/lab/own"))),
        ({"openai/judge": JUDGE, "lab": FREE}, Spent(2.0, ("openai/judge",))),
        ({"openai/judge": FREE, "lab": FREE}, Spent(0.0, ())),
        ({"lab": {"million_input_tokens": 1.0}}, Spent(None, tuple(APIS))),
    ],
)
def test_answers(prices: dict[str, dict[str, float]], spent: Spent) -> None:
    assert of_answers(USAGE, prices, APIS) == spent


def test_models_of_this_machine_take_no_money() -> None:
    assert of_answers(USAGE, {"openai/judge": JUDGE}, {}) == Spent(None, ())


@pytest.mark.parametrize(
    ("cost", "tokens", "base", "money"),
    [
        (None, 2_000_000, "large", 3.0),
        (None, 2_000_000, "small", 6.0),
        (None, None, "small", None),
        (7.0, 2_000_000, "small", 7.0),
    ],
)
def test_trainings(cost: float | None, tokens: int | None, base: str, money: float | None) -> None:
    metrics = {} if tokens is None else {"trained_tokens": tokens}
    result = JobResult(model=None, metrics=metrics, cost=cost)  # type: ignore[arg-type]
    assert of_training(result, PRICED, "lab", base) == money
    assert of_training(result, {}, "lab", base) == cost
