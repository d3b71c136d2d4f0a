"""Running evaluations through Inspect in a worker process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from motools.errors import EvaluationError
from motools.training.local import tiny

from .conftest import Project

READ_LOG = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log
log = read_eval_log(list_eval_logs(sys.argv[1], recursive=False)[0])
print(json.dumps({
    "status": log.status, "model": log.eval.model, "epochs": log.eval.config.epochs,
    "answers": sorted([s.id, s.epoch, s.output.completion] for s in log.samples),
}))
"""


def read_log(directory: Path) -> dict[str, Any]:
    """What Inspect itself reads from the logs of a directory."""
    shown = subprocess.run(
        [sys.executable, "-c", READ_LOG, directory], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_an_evaluation_gives_scores_progress_and_a_log(project: Project) -> None:
    events: list[dict[str, Any]] = []
    result = project.run(epochs=2, on_event=events.append)
    assert result.scores == {"greeting/accuracy": 1.0}
    assert result.stderr == {"greeting/accuracy": 0.0}
    assert result.samples == 6
    assert result.usage == {"echo/model": {"input_tokens": 18, "output_tokens": 12}}
    assert result.value == json.loads(json.dumps(result.value))
    assert [event["done"] for event in events] == list(range(7))
    assert {event["total"] for event in events} == {6}
    assert [path.name for path in project.scratch.iterdir() if path.is_file()] == ["log.eval"]
    log = read_log(project.scratch)
    assert (log["status"], log["model"], log["epochs"]) == ("success", "echo/model", 2)
    assert len(log["answers"]) == 6


def test_a_limit_and_sample_ids_select_what_was_identified(project: Project) -> None:
    assert project.run(limit=2).samples == 2
    (project.scratch / "log.eval").unlink()
    project.run(sample_ids=[3])
    assert [sample for sample, _, _ in read_log(project.scratch)["answers"]] == [3]


def test_a_sample_that_fails_is_an_error_and_no_result(project: Project) -> None:
    message = r"1 of 3 samples failed; sample 2: .*no score for the morning.*tasks\.py.*in score"
    for fail_on_error in (True, False):
        with pytest.raises(EvaluationError, match=message):
            project.run("fails", fail_on_error=fail_on_error)
        assert not (project.scratch / "log.eval").exists()


RATED = """

from inspect_ai.scorer import mean

def rated(value):
    async def score(state, target):
        return None if "morning" in state.input_text else Score(value={"rating": value})

    return score

@scorer(metrics={"rating": [mean(), stderr()]})
def strict():
    return rated(0.25)

@scorer(metrics={"rating": [mean(), stderr()]})
def kind():
    return rated(0.75)

@task
def is_rated():
    return Task(dataset=json_dataset("samples.json"), scorer=[strict(), kind()])
"""


def test_scores_of_one_name_are_told_apart_and_samples_without_one_are_told(
    project: Project,
) -> None:
    path = project.directory / "tasks.py"
    path.write_text(path.read_text() + RATED)
    events: list[dict[str, Any]] = []
    result = project.run("is_rated", on_event=events.append)
    assert result.scores == {"strict.rating/mean": 0.25, "kind.rating/mean": 0.75}
    assert result.stderr == {"strict.rating/mean": 0.0, "kind.rating/mean": 0.0}
    said = {event["event"] for event in events} - {"progress"}
    assert said == {f"{name}.rating: 1 of 3 samples have no score" for name in ("strict", "kind")}


def test_a_task_that_changed_since_it_was_identified_is_not_run(project: Project) -> None:
    identity = project.identify()
    project.edit("samples.json", "Good night", "Good bye")
    events: list[dict[str, Any]] = []
    with pytest.raises(EvaluationError, match=r"changed between planning and running \(samples\)"):
        project.run(identity=identity, on_event=events.append)
    assert events == []


def test_a_model_that_is_not_in_the_identity_is_found_out(project: Project) -> None:
    project.edit(
        "tasks.py",
        "    async def score(state, target):\n        # A comment",
        "    async def score(state, target):\n"
        "        from inspect_ai.model import get_model\n"
        "        await get_model('echo/judge').generate('Is it so?')\n"
        "        # A comment",
    )
    with pytest.raises(EvaluationError, match="used the model echo/judge, which is not part of"):
        project.run(version="1")
    assert not (project.scratch / "log.eval").exists()


def test_answers_that_inspect_cached_are_not_used(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))
    project.edit("tasks.py", "system_message(system), generate()", "generate(cache=True)")
    project.run()
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_the_real_tiny_model_answers_the_same_each_time(project: Project) -> None:
    model = {
        "base": {"kind": "tiny", "recipe": tiny.RECIPE},
        "adapter": None,
        "name": "tiny",
    }
    answers = []
    for temperature in (0.0, 0.0, 1.0, 1.0):
        settings = {"temperature": temperature, "max_tokens": 6, "epochs": 2, "seed": 7}
        project.run("templated", model=model, **settings)
        log = read_log(project.scratch)
        assert log["model"] == "motools/tiny"
        answers.append(log["answers"])
        os.remove(project.scratch / "log.eval")
        shutil.rmtree(project.scratch / "scratch")  # what is there is not run again
    greedy, again, sampled, resampled = answers
    assert greedy == again
    assert sampled == resampled
    assert sampled != greedy
    by_epoch = {(sample, epoch): text for sample, epoch, text in sampled}
    assert by_epoch[1, 1] != by_epoch[1, 2]  # epochs are independent draws


def test_settings_that_a_local_model_cannot_honour_are_refused(project: Project) -> None:
    project.edit("tasks.py", "max_tokens=16", "top_k=3")
    model = {"base": {"kind": "tiny", "recipe": tiny.RECIPE}, "adapter": None}
    with pytest.raises(EvaluationError, match="local models cannot honour the setting top_k"):
        project.run("templated", model=model)
