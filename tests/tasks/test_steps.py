"""Upload, fine-tune and evaluate in a flow: real training, a real evaluation, then all hits."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.runtime import flow_run

from motools import Dataset, EvalConfig, FineTuneConfig, Model, evaluate, fine_tune, upload_dataset
from motools.cache import Cache

pytestmark = [pytest.mark.usefixtures("server"), pytest.mark.slow]

TASK = textwrap.dedent(
    """
    from inspect_ai import Task, task
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import includes
    from inspect_ai.solver import generate

    @task
    def greets():
        samples = [Sample(input="hi", target="Ahoy")]
        return Task(dataset=samples, solver=generate(), scorer=includes())
    """
)


def test_nothing_runs_twice(
    cache: Cache, tmp_path: Path, labels: Callable[[UUID, int], list[str]]
) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Ahoy"},
        ]
    }
    rows.write_text("\n".join([json.dumps(row)] * 8))
    (tmp_path / "tasks.py").write_text(TASK)
    config = FineTuneConfig(base_model="tiny", epochs=1)
    greets = EvalConfig(task=f"{tmp_path / 'tasks.py'}@greets", max_tokens=4)

    @flow
    def greeter() -> tuple[UUID, list[Any]]:
        tuned = fine_tune(Dataset.from_jsonl(rows), config)
        uploaded = upload_dataset.submit(Dataset.from_jsonl(rows))
        base = evaluate.submit(Model.base("tiny"), greets)
        found = [tuned, uploaded.result(), base.result(), evaluate(tuned, greets)]
        return UUID(flow_run.id), found

    run, first = greeter()
    # What fine_tune trained on was uploaded by it, so uploading it is a hit already.
    assert sorted(labels(run, 4)) == ["Cached", "Completed", "Completed", "Completed"]
    run, again = greeter()
    assert labels(run, 4) == ["Cached"] * 4
    assert again == first
    assert fine_tune(Dataset.from_jsonl(rows), config) == first[0]  # outside a flow too
    kinds = sorted(entry.kind for entry in cache.entries())
    assert kinds == ["dataset", "eval", "eval", "model"]
