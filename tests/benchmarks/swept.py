"""A sweep on disk, and a cache in which all of it is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from motools.artifacts import Model
from motools.cache import Cache
from motools.sweeps import document
from motools.sweeps.cell import Cell
from motools.sweeps.sweep import Sweep
from tests.benchmarks.filling import Made, fill

STEPS = 3
"""Of a cell: a fine-tuning and two evaluations."""

_TASKS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample

@task
def greets():
    return Task(dataset=[Sample(input=f"Hi {n}", target="Hello") for n in range(20)])
"""
_RATES = 20
_DATASETS = 5


def sweep(place: Path, cells: int, backend: str = "local", datasets: int = _DATASETS) -> Sweep:
    """A sweep of datasets x learning rates x seeds, two evaluations each, in ``study.yaml``.

    Args:
        place: a directory for its files.
        cells: how many, in hundreds.
        backend: what trains.
        datasets: how many; with one, no two cells have the same config.
    """
    place.mkdir(exist_ok=True)
    (place / "tasks.py").write_text(_TASKS)
    for number in range(datasets):
        talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": str(number)}]
        (place / f"{number}.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    study = {
        "name": "benchmark",
        "recipe": {
            "dataset": "0.jsonl",
            "backend": backend,
            "fine_tune": {"base_model": "tiny", "epochs": 3},
            "evaluate": {
                name: {"task": "tasks.py@greets", "max_tokens": tokens}
                for name, tokens in (("short", 8), ("long", 64))
            },
        },
        "grid": {
            "dataset": [f"{number}.jsonl" for number in range(datasets)],
            "fine_tune.learning_rate": [n * 1e-5 for n in range(1, _RATES + 1)],
        },
        "seeds": list(range(cells // (datasets * _RATES))),
    }
    file = place / "study.yaml"
    file.write_text(json.dumps(study))  # which is YAML
    return document.read(file)


def do(made: Sweep, cache: Cache) -> None:
    """Leave in a cache what a run of a whole sweep would."""
    cells = made.cells()
    trainings = [step for cell in cells if (step := cell.train()) is not None]
    actions = [step.action(cache) for step in trainings]
    value = {"rows": 1, "epochs": 3.0, "steps": 3, "loss_curve": [[n, 0.5] for n in range(40)]}
    fill(
        cache,
        (
            Made(
                action,
                value,
                {"adapter_config.json": b"{}", "adapter_model.safetensors": action.key.encode()},
                {"model_id": action.key, "base_model": "tiny", "backend": "local"},
            )
            for action in actions
        ),
    )
    entries = [entry for entry in cache.look_up(actions) if entry is not None]
    models = [step.decode(entry) for step, entry in zip(trainings, entries, strict=True)]
    fill(cache, _evaluated(cells, models, cache))


def _evaluated(cells: Sequence[Cell], models: Sequence[Model], cache: Cache) -> Iterator[Made]:
    value = {
        "task": "greets",
        "samples": 20,
        "scores": {"match/accuracy": 0.5},
        "stderr": {"match/accuracy": 0.1},
    }
    for cell, model in zip(cells, models, strict=True):
        for name in cell.evaluations:
            action = cell.evaluate(name, model).action(cache)
            labels = {"model_id": model.id, "task_id": "greets", "backend": "inspect"}
            yield Made(action, value, {"log.eval": action.key.encode()}, labels)
