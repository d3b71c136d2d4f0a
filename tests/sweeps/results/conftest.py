"""Sweeps whose cells are in a cache: made-up scores of trainings, and evaluations truly run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from motools.artifacts import Model
from motools.cache import Cache, RunContext
from motools.sweeps.cell import Cell
from motools.sweeps.plan import Plan
from motools.sweeps.planner import make_plan
from motools.sweeps.sweep import Sweep

TASKS = '''\
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Score, includes, mean, scorer
from inspect_ai.solver import solver

QUESTIONS = [Sample(input=f"What is {n}?", target=str(n)) for n in range(10)]


@solver
def knowing(first, last):
    """Answers the questions from one number to another, and no others."""
    async def solve(state, generate):
        number = int(state.target.text)
        said = str(number) if first <= number < last else "no idea"
        state.output = ModelOutput.from_content("none", said)
        return state
    return solve


@scorer(metrics={"length": [mean()]})
def lengths():
    async def score(state, target):
        return Score(value={"length": len(state.output.completion) / 7})
    return score


@task
def quiz(first: int = 0, last: int = 10, limit: int = 10):
    return Task(
        dataset=QUESTIONS[:limit],
        solver=knowing(first, last),
        scorer=[includes(), lengths()],
    )
'''


@dataclass(frozen=True)
class Swept:
    """A sweep, the cache with its results, and where it is."""

    sweep: Sweep
    cache: Cache
    root: Path

    @property
    def plan(self) -> Plan:
        return make_plan(self.sweep, self.cache)

    @property
    def file(self) -> Path:
        return self.root / "sweep.yaml"


TUNED: dict[str, Any] = {
    "name": "greetings",
    "recipe": {
        "dataset": "data.jsonl",
        "fine_tune": {"base_model": "tiny", "epochs": 3},
        "evaluate": {
            "quiz": {"task": "tasks.py@quiz"},
            "short": {"task": "tasks.py@quiz", "task_args": {"limit": 4}},
        },
    },
    "grid": {
        "fine_tune.learning_rate": [1e-4, 1e-3],
        "dataset": ["data.jsonl", "other.jsonl"],
    },
    "seeds": [0, 1, 2],
    "also": [{"fine_tune": None, "model": "tiny"}],
}
"""Twelve trainings and the base model; the results of one training are missing."""

ASKED: dict[str, Any] = {
    "name": "asked",
    "recipe": {"model": "tiny", "evaluate": {"quiz": {"task": "tasks.py@quiz"}}},
    "variants": [
        {"evaluate.quiz.task_args.first": 0, "evaluate.quiz.task_args.last": 9},
        {"evaluate.quiz.task_args.first": 1, "evaluate.quiz.task_args.last": 4},
    ],
}
"""Two evaluations of the same samples: nine and three right answers out of ten."""


def written(root: Path, values: dict[str, Any]) -> Sweep:
    """A sweep, and its file: JSON is YAML."""
    root.mkdir(exist_ok=True)
    (root / "tasks.py").write_text(TASKS)
    for name in ("data", "other"):
        message = [{"role": "user", "content": name}, {"role": "assistant", "content": "yes"}]
        (root / f"{name}.jsonl").write_text(json.dumps({"messages": message}) + "\n")
    (root / "sweep.yaml").write_text(json.dumps(values))
    return Sweep.from_mapping(values, root)


def made_up(cell: Cell) -> float:
    """Better with a higher learning rate and more training; worse for the other dataset."""
    if cell.config is None:
        return 0.125
    rate = {1e-4: 0.25, 1e-3: 0.5}[cell.config.learning_rate or 0.0]
    other = 0.125 if cell.parameters["dataset"] == "other.jsonl" else 0.0
    return rate - other + 0.0625 * cell.config.seed


def is_missing(cell: Cell) -> bool:
    config, parameters = cell.config, cell.parameters
    return (
        config is not None
        and config.seed == 2
        and config.learning_rate == 1e-3
        and parameters["dataset"] == "other.jsonl"
    )


def fill(sweep: Sweep, cache: Cache) -> None:
    """Commit an entry for every step of a sweep but those of the missing cell."""
    for cell in sweep.cells():
        if is_missing(cell):
            continue
        model = cell.model or _train(cell, cache)
        for name in cell.evaluations:
            _evaluate(cell, name, model, cache)


def _train(cell: Cell, cache: Cache) -> Model:
    step = cell.train()
    assert step is not None

    def run(context: RunContext) -> Any:
        (context.directory / "weights").write_bytes(context.key.encode())
        context.cost = 2.0
        return {"rows": 1, "epochs": 3.0}

    return step.decode(cache.get_or_run(step.action(cache), run))


def _evaluate(cell: Cell, name: str, model: Model, cache: Cache) -> None:
    step = cell.evaluate(name, model)

    def run(context: RunContext) -> Any:
        (context.directory / "log.eval").write_bytes(context.key.encode())
        scores = {"includes/accuracy": made_up(cell), "lengths/mean": 1.5}
        stderr = {"includes/accuracy": 0.0625}
        return {"scores": scores, "stderr": stderr, "samples": 10, "task": "quiz"}

    cache.get_or_run(step.action(cache), run)


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Trainings and evaluations that are in the cache with made-up results."""
    root = tmp_path_factory.mktemp("tuned")
    sweep = written(root, TUNED)
    cache = Cache.open(root / "cache")
    fill(sweep, cache)
    return Swept(sweep, cache, root)


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Two evaluations that Inspect ran."""
    root = tmp_path_factory.mktemp("asked")
    sweep = written(root, ASKED)
    cache = Cache.open(root / "cache")
    for planned in make_plan(sweep, cache).cells:
        (evaluation,) = planned.evaluations
        assert evaluation.step is not None, evaluation.reason
        cache.get_or_run(evaluation.step.action(cache), evaluation.step.run)
    return Swept(sweep, cache, root)
