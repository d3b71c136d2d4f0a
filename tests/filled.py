"""A real cache with something of every kind in it, labelled as the steps label it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motools.artifacts import Dataset
from motools.cache import Action, Cache, Entry, RunContext
from motools.steps.upload import Upload

WEIGHTS = b"weights of a model " * 4_000
SHARED = b"a tokenizer that two models share " * 500
LOG = b"log of an evaluation " * 100


@dataclass(frozen=True)
class Filled:
    """A cache: two datasets, two models, three evaluations and a function's result."""

    root: Path
    datasets: tuple[Entry, Entry]
    models: tuple[Entry, Entry]
    evals: tuple[Entry, Entry, Entry]
    function: Entry

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (*self.datasets, *self.models, *self.evals, self.function)

    def live(self) -> set[str]:
        """What is live now, as another process would see it."""
        return {entry.key for entry in Cache.open(self.root, create=False).entries()}


def fill(root: Path) -> Filled:
    cache = Cache.open(root)
    datasets = tuple(_dataset(cache, name) for name in ("red", "blue"))
    models = (
        _model(cache, datasets[0], 1e-4, "local", cost=None),
        _model(cache, datasets[1], 2e-4, "openai", cost=1.25),
    )
    evals = (
        evaluation(cache, models[0].key, "greets"),
        evaluation(cache, models[1].key, "greets"),
        evaluation(cache, "tiny", "insults"),
    )
    function = _function(cache)
    cache.close()
    return Filled(root, datasets, models, evals, function)  # type: ignore[arg-type]


def _dataset(cache: Cache, name: str) -> Entry:
    upload = Upload(Dataset.from_rows([{"prompt": name, "completion": str(n)} for n in range(9)]))
    return cache.get_or_run(upload.action(cache), upload.run)


def _model(cache: Cache, dataset: Entry, rate: float, backend: str, cost: float | None) -> Entry:
    digest = dataset.labels["dataset_hash"]

    def run(context: RunContext) -> Any:
        (context.directory / "weights.safetensors").write_bytes(WEIGHTS + backend.encode())
        (context.directory / "tokenizer.json").write_bytes(SHARED)
        context.label(model_id=context.key, dataset_hash=digest, base_model="tiny", backend=backend)
        context.provenance["config"] = {"base_model": "tiny", "learning_rate": rate}
        context.cost = cost
        return {"steps": 12, "loss": 0.5}

    action = Action(
        kind="model",
        inputs={"dataset": digest, "base_model": "b" * 64},
        config={"learning_rate": rate, "epochs": 3.0, "seed": 0},
        backend={"name": backend, "recipe": 1},
    )
    return cache.get_or_run(action, run)


def evaluation(cache: Cache, model: str, task: str) -> Entry:
    """Add an evaluation."""

    def run(context: RunContext) -> Any:
        (context.directory / "log.eval").write_bytes(LOG + context.key.encode())
        context.label(model_id=model, task_id=task, backend="inspect")
        return {"scores": {"match/accuracy": 0.75}, "stderr": {}, "samples": 4, "task": task}

    action = Action(
        kind="eval",
        inputs={"model": model},
        config={"task": {"name": task}},
        backend={"name": "inspect", "recipe": 1},
    )
    return cache.get_or_run(action, run)


def _function(cache: Cache) -> Entry:
    def run(context: RunContext) -> Any:
        context.label(function="project.add")
        return 5

    config: Mapping[str, Any] = {"function": "project.add", "arguments": {"a": 2, "b": 3}}
    action = Action(kind="function", config=config, backend={"name": "python", "recipe": 1})
    time.sleep(0.02)  # so that it is the newest by any clock
    return cache.get_or_run(action, run)
