"""A sweep of real fine-tunes, killed again and again, does everything once and to the same bits.

Two cells and a kill by default; ``MOTOOLS_TEST_CELLS=24 MOTOOLS_TEST_KILLS=20`` for longer.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from motools.cache import Cache

CELLS = int(os.environ.get("MOTOOLS_TEST_CELLS", "2"))
KILLS = int(os.environ.get("MOTOOLS_TEST_KILLS", "1"))
STARTING = 10.0
"""Seconds that a training takes to begin, about."""
TASKS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

def asked(*names):
    samples = [Sample(input=f"Hi, I am {name}", target="Hello") for name in names]
    config = GenerateConfig(max_tokens=6)
    return Task(dataset=samples, solver=generate(), scorer=includes(), config=config)

@task
def few():
    return asked("Nora", "Omar")

@task
def others():
    return asked("Pia", "Quin", "Rosa")
"""
SWEEP = """
recipe:
  dataset: rows.jsonl
  fine_tune: {{base_model: tiny, epochs: 5, batch_size: 2, lora: {{rank: 8}}}}
  evaluate: {{few: {{task: tasks.py@few}}, others: {{task: tasks.py@others}}}}
  options: {{save_seconds: 0}}
grid:
  fine_tune.learning_rate: [1e-3, 3e-3]
seeds: {seeds}
"""


def project(place: Path) -> None:
    rows = [
        [{"role": "user", "content": f"Hi, I am {n}"}, {"role": "assistant", "content": "Hello!"}]
        for n in ("Ann", "Bob", "Cid", "Dan")
    ]
    lines = (json.dumps({"messages": row}) + "\n" for row in rows * 2)
    (place / "rows.jsonl").write_text("".join(lines))
    (place / "tasks.py").write_text(TASKS)
    (place / "sweep.yaml").write_text(SWEEP.format(seeds=list(range(CELLS // 2))))


def start(place: Path, cache: str, api: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "motools", "sweep", "run", "sweep.yaml", "--at-once", "3"],
        cwd=place,
        env={
            **os.environ,
            "MOTOOLS_CACHE_DIR": str(place / cache),
            "PREFECT_API_URL": api,
            "HF_HUB_OFFLINE": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def outcome(place: Path, cache: str) -> dict[str, tuple[int, str | None, str]]:
    """Key to generation, weights and scores, of all that was trained and evaluated."""
    opened = Cache.open(place / cache)
    found = {}
    for kind in ("model", "eval"):
        for entry in opened.index.select(kind=kind, generations=True):
            scores = json.dumps(entry.value["scores"]) if kind == "eval" else ""
            weights = entry.tree if kind == "model" else None
            assert entry.key not in found, "made twice"
            found[entry.key] = (entry.generation, weights, scores)
    opened.close()
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_any_moment_it_goes_on(tmp_path: Path, prefect_api: str) -> None:
    project(tmp_path)
    begun = time.monotonic()
    assert start(tmp_path, "whole", prefect_api).wait() == 0
    lasted = time.monotonic() - begun

    chance = random.Random(7)
    for _ in range(KILLS):
        process = start(tmp_path, "killed", prefect_api)
        time.sleep(chance.uniform(0.2, 1.6) * max(lasted / KILLS, STARTING))
        kill(process)
    assert start(tmp_path, "killed", prefect_api).wait() == 0
    whole, killed = outcome(tmp_path, "whole"), outcome(tmp_path, "killed")
    assert len(whole) == 3 * CELLS
    assert killed == whole
    resumed = [
        entry.key
        for entry in Cache.open(tmp_path / "killed").entries("model")
        if entry.provenance["resumed"]
    ]
    print(f"{len(resumed)} of {CELLS} trainings were resumed")
