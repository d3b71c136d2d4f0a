"""What came from what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from motools import Dataset, FineTuneConfig, Model
from motools.cache import Action, Cache, Entry
from motools.cli import app
from motools.steps.lineage import lineage
from motools.steps.train import Train
from motools.steps.upload import Upload

ROWS = [{"messages": [{"role": "assistant", "content": "Hello"}]}]


def keep(cache: Cache, step: Train) -> Entry:
    def run(context):
        (context.directory / "weights").write_text(context.key)
        return {"checkpoints": [2, 4]}

    return cache.get_or_run(step.action(cache), run)


def ask(cache: Cache, model: Model, task: str) -> Entry:
    action = Action("eval", {"model": str(model.digest)}, {"task": {"name": task}})
    return cache.get_or_run(action, lambda _: {"task": task})


@pytest.fixture
def family(tmp_path: Path) -> tuple[Cache, dict[str, Entry]]:
    cache = Cache.open(tmp_path / "cache")
    dataset = Dataset.from_rows(ROWS)
    upload = Upload(dataset)
    found = {"data": cache.get_or_run(upload.action(cache), upload.run)}
    for seed in (0, 1):
        step = Train(dataset, FineTuneConfig(base_model="tiny", seed=seed))
        found[f"model {seed}"] = keep(cache, step)
        model = step.decode(found[f"model {seed}"])
        found[f"end {seed}"] = ask(cache, model, "greets")
        found[f"middle {seed}"] = ask(cache, model.at_step(2), "greets")
    return cache, found


def test_everything_above_and_below(family: tuple[Cache, dict[str, Entry]]) -> None:
    cache, found = family

    def relatives(name: str) -> list[tuple[str, int, str]]:
        names = {entry.key: name for name, entry in found.items()}
        return [(names[r.entry.key], r.steps, r.name) for r in lineage(cache, found[name])]

    assert relatives("end 0") == [("data", 2, "dataset"), ("model 0", 1, "model")]
    assert relatives("middle 1") == [("data", 2, "dataset"), ("model 1", 1, "model")]
    below = relatives("model 1")
    assert below[0] == ("data", 1, "dataset")
    assert set(below[1:]) == {("end 1", -1, "model"), ("middle 1", -1, "model")}
    assert {(name, steps) for name, steps, _ in relatives("data")} == {
        *((f"model {seed}", -1) for seed in (0, 1)),
        *((f"{when} {seed}", -2) for seed in (0, 1) for when in ("end", "middle")),
    }


def test_the_command(family: tuple[Cache, dict[str, Entry]]) -> None:
    cache, found = family
    cache.close()
    given = ["cache", "lineage", found["end 0"].key[:10], "--cache-dir", str(cache.root)]
    done = CliRunner().invoke(app, [*given, "--format", "json"])
    assert done.exit_code == 0
    rows = json.loads(done.stdout)
    assert [(row["relation"], row["distance"], row["kind"]) for row in rows] == [
        ("from", 2, "dataset"),
        ("from", 1, "model"),
    ]
    assert "was made from 2 entries" in done.stderr
