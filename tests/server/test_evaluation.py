"""A model that a server trained, evaluated over HTTP: as on the machine itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from motools import EvalConfig, Model
from motools.artifacts import Evaluation
from motools.cache import Cache
from motools.cache.current import use_cache
from motools.steps.evaluate import Evaluate
from motools.steps.train import model_digest
from tests.server.running import lines, order, rows, running, upload, wait

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def numbers():
    plain = [Sample(input=f"Is {number} a number?", target="yes") for number in range(6)]
    asked = [
        ChatMessageSystem(content="Be short."),
        ChatMessageUser(content="Is"),
        ChatMessageUser(content="7 a number?"),
    ]
    samples = [*plain, Sample(input=asked, target="y")]
    return Task(dataset=samples, solver=generate(), scorer=includes())
"""


def evaluated(model: Model, cache: Cache) -> Evaluation:
    config = EvalConfig(task="asking.py", max_tokens=12, version="served")
    step = Evaluate(model, config)
    with use_cache(cache):
        return step.decode(cache.get_or_run(step.action(cache), step.run))


@pytest.mark.slow
def test_inspect_gets_the_score_that_the_local_backend_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asking.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    with running(tmp_path / "cache") as site:
        client = site.client()
        file = upload(client, lines(rows(16)))
        # Half learnt, so that answers differ from each other.
        hyperparameters = {"n_epochs": 1, "batch_size": 8, "learning_rate_multiplier": 0.1}
        method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
        job = wait(client, order(client, file.id, method=method).id)
        monkeypatch.setenv("LAB_BASE_URL", site.url)
        monkeypatch.setenv("LAB_API_KEY", "none")
        served = evaluated(
            Model.base(f"openai-api/lab/{job.fine_tuned_model}"), Cache.open(tmp_path / "own")
        )
        cache = Cache.open(site.root)
        (entry,) = cache.entries("model")
        local = evaluated(
            Model("tiny", entry.key, model_digest(entry), cache=str(site.root)), cache
        )
    assert served.scores == local.scores
    assert served.num_samples == local.num_samples == 7
    answers = [sample["output"] for sample in local.samples()]
    assert [sample["output"] for sample in served.samples()] == answers
    assert len(set(answers)) > 1
