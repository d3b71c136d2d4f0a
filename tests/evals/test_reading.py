"""Logs are read in the order of the task, whatever ended first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from motools.evals.reading import read_samples, read_scores

EVALUATION = """
import asyncio
from inspect_ai import Task, eval, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, solver

@solver
def first_come_last():
    async def solve(state, generate):
        await asyncio.sleep(0.1 * len(state.sample_id))
        return await generate(state)
    return solve

samples = [Sample(input="Hi", target="Hi", id=name) for name in ("long", "at", "a")]
task = Task(dataset=samples, solver=first_come_last(), scorer=includes())
eval(task, model="mockllm/model", epochs=2, log_dir="logs", display="none")
"""


def test_samples_are_in_the_order_of_the_task(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", EVALUATION], cwd=tmp_path, check=True)
    [log] = (tmp_path / "logs").iterdir()
    expected = [(name, epoch) for epoch in (1, 2) for name in ("long", "at", "a")]
    assert [(one["id"], one["epoch"]) for one in read_samples(log)] == expected
    assert [(one.id, one.epoch) for one in read_scores(log)] == expected
