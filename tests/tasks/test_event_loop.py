"""Everything a person calls, called where an event loop is running."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow

from motools import Dataset, EvalConfig, FineTuneConfig, Model, evaluate, fine_tune, upload_dataset
from motools.cache import Cache
from motools.tasks import cached_task

ROWS = [
    {"messages": [{"role": "user", "content": name}, {"role": "assistant", "content": "Ahoy"}]}
    for name in "abcdefgh"
]
TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def asks():
    return Task(dataset=[Sample(input="Hi", target="Hello")], solver=generate(), scorer=includes())
"""


@cached_task
def add(a: int, b: int) -> int:
    return a + b


@cached_task
async def multiply(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a * b


@flow
def sums() -> tuple[int, int]:
    return add(1, 2), add.submit(3, 4).result()


@flow
async def products() -> tuple[int, int]:
    return add(1, 2), await multiply(2, 5)


async def test_steps_and_functions_run_in_a_running_loop(cache: Cache, tmp_path: Any) -> None:
    assert asyncio.get_running_loop()
    assert (add(1, 2), await multiply(2, 3), await multiply(2, 3)) == (3, 6, 6)
    rows = upload_dataset(Dataset.from_rows(ROWS).map(lambda row: row))
    model = fine_tune(rows, FineTuneConfig(base_model="tiny", epochs=1))
    (tmp_path / "tasks.py").write_text(TASK)
    config = EvalConfig(task=f"{tmp_path / 'tasks.py'}@asks", max_tokens=2)
    scores = await asyncio.gather(
        asyncio.to_thread(evaluate, model, config),
        asyncio.to_thread(evaluate, Model.base("tiny"), config),
    )
    assert [one.num_samples for one in scores] == [1, 1]
    assert evaluate(model, config) == scores[0]
    assert len(list(scores[0].samples())) == 1
    assert isinstance(model.generate("Hi", max_tokens=2), str)


async def test_flows_run_in_a_running_loop(server: None, cache: Cache) -> None:
    assert sums() == (3, 7)
    assert await products() == (3, 10)
