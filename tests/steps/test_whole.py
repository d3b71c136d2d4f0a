"""A model whose weights were all trained, from the cache: evaluated without its base."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from motools import Dataset, EvalConfig, FineTuneConfig
from motools.cache import Cache
from motools.errors import BackendError
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
def test_replicates_are_trained_apart(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    rows = [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": a}]}
        for a in ("Ahoy", "Hello", "Hey", "Yo")
    ]
    config = FineTuneConfig(base_model="tiny", epochs=1, batch_size=1)

    def weights(replicate: int, **how: bool) -> str | None:
        training = Train(Dataset.from_rows(rows), config, replicate=replicate)
        return cache.get_or_run(training.action(cache), training.run, **how).tree

    found = [weights(replicate) for replicate in range(3)]
    assert len(set(found)) == 3
    assert weights(1, refresh=True) == found[1]


@pytest.mark.slow
def test_it_is_evaluated_as_it_was_trained(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    (tmp_path / "tasks.py").write_text(TASK)
    answer = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Ahoy"}]
    config = FineTuneConfig(
        base_model="tiny", epochs=3, learning_rate=1e-3, lora=None, keep_checkpoints=1
    )
    training = Train(Dataset.from_rows([{"messages": answer}] * 16), config)
    entry = cache.get_or_run(training.action(cache), training.run)
    assert "model.safetensors" in entry.files
    assert entry.value["checkpoints"] == [1, 2, 3, 4, 5]
    assert "checkpoints/4/model.safetensors" in entry.files

    task = EvalConfig(task=f"{tmp_path / 'tasks.py'}@greets", max_tokens=4)
    model = training.decode(entry)
    keys = set()
    for each, score in ((model, 1.0), (model.at_step(1), 0.0)):
        evaluation = Evaluate(each, task)
        found = cache.get_or_run(evaluation.action(cache), evaluation.run)
        keys.add(found.key)
        assert evaluation.decode(found).scores["includes/accuracy"] == score
    assert len(keys) == 2
    none = Evaluate(model.at_step(6), task)
    with pytest.raises(BackendError, match=r"no checkpoint was kept at that step; kept are \[1, 2"):
        cache.get_or_run(none.action(cache), none.run)
