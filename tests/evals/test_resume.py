"""An evaluation that did not come to its end goes on with the samples that are missing."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from motools.errors import EvaluationError
from motools.evals import EvaluationResult
from motools.evals.reading import read_samples
from motools.training.local import host, tiny

from .conftest import Project

TASK = """

from pathlib import Path
from anyio import sleep
from inspect_ai.solver import solver

HERE = Path(__file__).parent

@solver
def hindered():
    '''Fails for the last sample in the last epoch, after the others, until there is a file.'''
    async def solve(state, generate):
        with (HERE / "calls").open("a") as calls:
            print(state.sample_id, state.epoch, os.getpid(), file=calls)
        if (state.sample_id, state.epoch) == (3, 2) and not (HERE / "go").exists():
            await sleep(600 if (HERE / "hang").exists() else 1.5)
            raise RuntimeError("in the way")
        return state
    return solve

@task
def hinders():
    return Task(
        dataset=json_dataset("samples.json"),
        solver=[generate(), hindered()],
        scorer=greeting(),
        epochs=2,
    )
"""

MANY = """

@solver
def listens():
    '''Says nothing, and stops at the end.'''
    async def solve(state, generate):
        if state.epoch == 400 and not (HERE / "go").exists():
            (HERE / "stopped").touch()
            await sleep(600)
        return state
    return solve

@task
def many():
    return Task(
        dataset=json_dataset("samples.json"), solver=listens(), scorer=greeting(), epochs=400
    )
"""

ALL = {(sample, epoch) for sample in (1, 2, 3) for epoch in (1, 2)}


@pytest.fixture(autouse=True)
def task(project: Project) -> None:
    path = project.directory / "tasks.py"
    path.write_text(path.read_text() + TASK)


def run(project: Project, **given: Any) -> EvaluationResult:
    return project.run("hinders", version="1", **given)


def fail(project: Project, **given: Any) -> None:
    with pytest.raises(EvaluationError, match=r"1 of 6 samples failed; sample 3: .*in the way"):
        run(project, **given)
    assert not (project.scratch / "log.eval").exists()
    (project.directory / "go").touch()


def calls(project: Project) -> Counter[tuple[int, int]]:
    """How often the solver was called for a sample in an epoch, since this was asked last."""
    path = project.directory / "calls"
    found = [line.split() for line in path.read_text().splitlines()]
    path.unlink()
    return Counter((int(sample), int(epoch)) for sample, epoch, _ in found)


def outputs(result: EvaluationResult) -> dict[tuple[int, int], str]:
    return {(one["id"], one["epoch"]): one["output"] for one in read_samples(result.log)}


def another(project: Project, place: Path) -> Project:
    """The same project, with a scratch directory where nothing was run."""
    place.mkdir()
    return Project(project.directory, place, project.memo)


def test_only_what_failed_is_run_again(project: Project, tmp_path: Path) -> None:
    fail(project)
    assert calls(project) == Counter(ALL)
    events: list[dict[str, Any]] = []
    resumed = run(project, on_event=events.append)
    assert calls(project) == Counter({(3, 2): 1})
    assert events[0] == {"event": "going on with 5 samples of an earlier attempt"}
    assert [event["done"] for event in events[1:]] == [5, 6]
    whole = run(another(project, tmp_path / "whole"))
    assert calls(project) == Counter(ALL)
    assert resumed.value == whole.value
    assert outputs(resumed) == outputs(whole)
    (project.scratch / "log.eval").unlink()
    again = run(project)
    assert not (project.directory / "calls").exists(), "its result was not committed"
    assert again.value == resumed.value
    assert outputs(again) == outputs(resumed)
    assert again.usage == resumed.usage, "what was paid for is not forgotten"


@pytest.mark.slow
def test_of_many_samples_a_kill_costs_few(project: Project) -> None:
    path = project.directory / "tasks.py"
    path.write_text(path.read_text() + MANY)

    def kill(event: dict[str, Any]) -> None:
        if event.get("done") == 1197:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.run("many", version="1", on_event=kill)
    (project.directory / "go").touch()
    events: list[dict[str, Any]] = []
    project.run("many", version="1", on_event=events.append)
    (found,) = (event for event in events if "going on with" in event["event"])
    assert 1197 - 12 <= int(found["event"].split()[3]) <= 1197


def test_the_attempt_that_came_furthest_is_the_one_that_is_gone_on_with(project: Project) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    fail(project)
    calls(project)
    [log] = (project.scratch / "scratch" / "logs").iterdir()
    newer = read_eval_log(str(log))
    assert newer.samples is not None
    newer.samples = newer.samples[:2]
    write_eval_log(newer, str(log.with_name(f"2100-{log.name}")))
    events: list[dict[str, Any]] = []
    assert run(project, on_event=events.append).samples == 6
    assert events[0] == {"event": "going on with 5 samples of an earlier attempt"}
    assert calls(project) == Counter({(3, 2): 1})


def test_a_worker_that_is_killed_loses_no_finished_sample(project: Project) -> None:
    (project.directory / "hang").touch()

    def kill(event: dict[str, Any]) -> None:
        if event.get("done") == 5:
            worker = int((project.directory / "calls").read_text().split()[-1])
            os.kill(worker, signal.SIGKILL)

    with pytest.raises(EvaluationError, match="was ended by SIGKILL"):
        run(project, on_event=kill)
    assert calls(project) == Counter(ALL)
    (project.directory / "go").touch()
    assert run(project).samples == 6
    again = calls(project)
    assert again[3, 2] == 1 and again.total() <= 2, "at most the sample that was being written"


@pytest.mark.parametrize("damage", ["torn", "altered"])
def test_a_damaged_log_is_reported_and_not_used(project: Project, damage: str) -> None:
    fail(project)
    calls(project)
    [log] = (project.scratch / "scratch" / "logs").iterdir()
    whole = log.read_bytes()
    half = len(whole) // 2
    altered = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
    log.write_bytes(whole[:half] if damage == "torn" else altered)
    events: list[dict[str, Any]] = []
    run(project, on_event=events.append)
    assert calls(project) == Counter(ALL)
    assert f"{log.name}, is not used" in events[0]["event"]


def test_a_log_of_another_evaluation_is_not_used(project: Project) -> None:
    fail(project)
    calls(project)
    run(project, temperature=0.5)
    assert calls(project) == Counter(ALL)


@pytest.mark.slow
def test_a_sample_that_is_drawn_again_is_the_same(project: Project, tmp_path: Path) -> None:
    drawn = {
        "model": {"base": {"kind": "tiny", "recipe": tiny.RECIPE}, "adapter": None},
        "temperature": 1.0,
        "max_tokens": 8,
    }
    fail(project, **drawn)
    resumed = outputs(run(project, **drawn))
    assert resumed == outputs(run(another(project, tmp_path / "whole"), **drawn))
    assert len(set(resumed.values())) > 3
    host.release()
