"""A model whose weights were all trained, from the cache: evaluated without its base."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from motools import Dataset, EvalConfig, FineTuneConfig
from motools.cache import Cache
from motools.steps.evaluate import Evaluate
from motools.steps.train import Train

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


@pytest.mark.slow
def test_it_is_evaluated_as_it_was_trained(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    (tmp_path / "tasks.py").write_text(TASK)
    answer = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Ahoy"}]
    config = FineTuneConfig(base_model="tiny", epochs=3, lora=None)
    training = Train(Dataset.from_rows([{"messages": answer}] * 16), config)
    entry = cache.get_or_run(training.action(cache), training.run)
    assert "model.safetensors" in entry.files

    task = EvalConfig(task=f"{tmp_path / 'tasks.py'}@greets", max_tokens=4)
    evaluation = Evaluate(training.decode(entry), task)
    found = cache.get_or_run(evaluation.action(cache), evaluation.run)
    assert evaluation.decode(found).scores["includes/accuracy"] == 1.0
