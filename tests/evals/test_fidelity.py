"""An evaluation gives what Inspect's own command line gives with ``hf/``, sample by sample."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motools import Dataset, EvalConfig, FineTuneConfig, Model
from motools.cache import Cache
from motools.cache.current import use_cache
from motools.evals.reading import read_samples
from motools.steps.evaluate import Evaluate, log_of
from motools.steps.train import Train
from tests.training.lessons import greeting_rows

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message

CHAT = [
    ChatMessageSystem(content="You are brief."),
    ChatMessageUser(content="Hi, I am Bob."),
    ChatMessageAssistant(content="Hello Bob!"),
    ChatMessageUser(content="Who am I?"),
    ChatMessageUser(content="Say it, please."),
]

@task
def asks(max_tokens: int | None = None, stop: str | None = None, at_once: int | None = None):
    names = ["Ann", "Bob", "Quin", "Xena", "Jörg", "王"]
    samples = [Sample(input=f"Hi, I am {n}.", target="Hello", id=n) for n in names]
    samples += [Sample(input=CHAT, target="Bob", id="chat"), Sample(input=" x" * 99, target="Bye")]
    return Task(
        dataset=samples,
        solver=[system_message("You greet."), generate()],
        scorer=includes(),
        config=GenerateConfig(
            max_tokens=max_tokens, stop_seqs=[stop] if stop else None, max_connections=at_once
        ),
    )
"""

pytestmark = pytest.mark.slow

Answers = dict[tuple[str, int], tuple[str, str]]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with use_cache(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.py"
    path.write_text(TASK)
    return path


def answers(log: Path) -> Answers:
    """What each sample was answered, and its score."""
    return {
        (str(one["id"]), one["epoch"]): (one["output"], one["scores"]["includes"])
        for one in read_samples(log)
    }


def ours(cache: Cache, model: Model, tasks: Path, **task_args: object) -> Answers:
    step = Evaluate(model, EvalConfig(task=f"{tasks}@asks", task_args=task_args))
    return answers(log_of(step.decode(cache.get_or_run(step.action(cache), step.run))))


def theirs(directory: Path, tasks: Path, logs: Path, **task_args: object) -> Answers:
    """``hf/`` takes the likeliest tokens when it is told not to sample; it has no temperature 0."""
    command = [Path(sys.executable).with_name("inspect"), "eval", f"{tasks}@asks"]
    model = ["--model", "hf/local", "-M", f"model_path={directory}", "-M", "do_sample=false"]
    given = [part for name, value in task_args.items() for part in ("-T", f"{name}={value}")]
    subprocess.run(
        [*command, *model, *given, "--display", "none", "--log-dir", logs],
        check=True,
        capture_output=True,
        cwd=tasks.parent,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    [log] = logs.iterdir()
    return answers(log)


def test_a_directory_is_evaluated_in_its_own_number_format(
    cache: Cache, tasks: Path, tmp_path: Path
) -> None:
    base = Model.base("tiny").merge(tmp_path / "base", dtype="bfloat16")
    assert json.loads((base.path / "config.json").read_text())["dtype"] == "bfloat16"
    # What is computed together is a matter of time, and changes answers in bfloat16.
    given = {"max_tokens": 24, "at_once": 1}
    found = ours(cache, base, tasks, **given)
    assert found == theirs(base.path, tasks, tmp_path / "logs", **given)
    assert len({text for text, _ in found.values()}) > 2


def test_a_merged_model_answers_alike_up_to_its_end(
    cache: Cache, tasks: Path, tmp_path: Path
) -> None:
    rows = Dataset.from_rows(greeting_rows() * 2)
    step = Train(rows, FineTuneConfig(base_model="tiny", epochs=8))
    tuned = step.decode(cache.get_or_run(step.action(cache), step.run))
    merged = tuned.merge(tmp_path / "merged")
    given: dict[str, object] = {"max_tokens": 48}
    found = ours(cache, merged, tasks, **given)
    assert found == theirs(merged.path, tasks, tmp_path / "logs", **given)
    assert found == ours(cache, tuned, tasks, **given)
    assert {score for _, score in found.values()} == {"C", "I"}
    word = found["Ann", 1][0].split()[-1][:2]
    given["stop"] = word
    stopped = ours(cache, merged, tasks, **given)
    assert stopped != found
    assert stopped == theirs(merged.path, tasks, tmp_path / "stopped", **given)
