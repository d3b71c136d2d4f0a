"""``motools jobs``: what it shows, and what a person may say about a paid job."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from motools.cache import Cache
from motools.cache import attempt as attempts
from motools.cache.layout import journal_name
from motools.cache.reindex import reindex
from motools.cli import app
from motools.errors import (
    BackendUnavailableError,
    SubmissionRefusedError,
    SubmissionUnsettledError,
    TrainingError,
)
from motools.steps.train import Train
from tests.processes import until
from tests.training import lab, openai_api
from tests.training.lab import opened, training
from tests.training.lessons import greeting_rows, write_rows
from tests.training.openai_api import SNAPSHOT, Dropped, OpenAIAPI, Refused

JOBS = "/fine_tuning/jobs"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenAIAPI]:
    """An API whose jobs cannot be found by their stamp, so that people have to settle things."""
    with openai_api.running() as api:
        api.course = ("succeeded",)
        lab.be(api, monkeypatch, tmp_path / "cache", finds="false")
        yield api


@pytest.fixture
def cache(api: OpenAIAPI) -> Cache:
    return opened()


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["jobs", *arguments])
    assert result.exit_code == code, result.output
    return result


def data(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--format", "json").stdout)


def train(cache: Cache, step: Train | None = None) -> str:
    step = step or training()
    return cache.get_or_run(step.action(cache), step.run).key


def unsettled(api: OpenAIAPI, cache: Cache, *, arrived: bool) -> str:
    """A submission of which it is not known whether it arrived; its key."""
    api.fault(Dropped(done=arrived), "POST", JOBS)
    with pytest.raises(BackendUnavailableError):
        train(cache)
    return training().action(cache).key


def in_flight(api: OpenAIAPI, cache: Cache) -> str:
    """A job that goes on and that nobody waits for; its key."""
    api.course = ("running",)
    key = unsettled(api, cache, arrived=True)
    run("adopt", key, "ftjob-1")
    return key


# What there is


def test_nothing_is_there(cache: Cache) -> None:
    assert data("list", "--all") == []
    assert "no jobs" in run("list").stderr
    assert "no paid job is called" in run("show", "abcd", code=3).stderr


def test_a_job_in_flight_and_who_waits_for_it(api: OpenAIAPI, cache: Cache) -> None:
    api.course = ("running",)
    waiting = threading.Thread(target=train, args=(cache,))
    waiting.start()
    try:
        assert until(lambda: bool(api.jobs) and data("list")[0]["state"] == "submitted")
        [row] = data("list", "--status")
        assert row["job_id"] == "ftjob-1"
        assert (row["base_model"], row["kind"], row["backend"]) == (SNAPSHOT, "model", "lab")
        assert row["status"] == "running, step 3 of 3"
        assert row["runner"] is not None
        assert row["key"][:12] in run("list").stdout
    finally:
        api.move("ftjob-1", "succeeded")
        waiting.join()
    assert data("list") == []
    [row] = data("list", "--ended")
    assert (row["state"], row["runner"]) == ("succeeded", None)
    shown = data("show", "ftjob-1", "--status")
    assert shown["key"] == row["key"] == data("show", row["key"][:8])["key"]
    assert (shown["entry"], shown["cost"]) == ("live", len(api.contents["file-1"]))
    assert shown["attempts"][0]["status"] == "succeeded"
    assert "1: succeeded" in run("show", "ftjob-1").stdout


def test_work_of_this_machine_is_listed_while_it_runs(cache: Cache) -> None:
    from motools.cache import Action

    action = Action("function", config={"n": 1})

    def work(_: object) -> int:
        [row] = data("list")
        assert (row["key"], row["state"], row["kind"]) == (action.key, "running", "function")
        assert row["runner"] and row["job_id"] is None
        return 1

    cache.get_or_run(action, work)
    assert data("list") == []


def test_without_the_provider_the_list_is_there(api: OpenAIAPI, cache: Cache) -> None:
    in_flight(api, cache)
    api.secret = "another"
    [row] = data("list", "--status")
    assert row["status"].startswith("unknown: ")
    assert "refuses this account" in row["status"]


def test_a_list_as_csv(api: OpenAIAPI, cache: Cache) -> None:
    in_flight(api, cache)
    lines = run("list", "--format", "csv").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("key,kind,base_model")


# What a message says can be done as it says


def commands(problem: SubmissionUnsettledError, job_id: str) -> dict[str, list[str]]:
    said = re.findall(r"`motools jobs ([^`]+)`", str(problem))
    split = (shlex.split(each.replace("JOB_ID", job_id)) for each in said)
    return {words[0]: words for words in split}


def test_a_submission_that_arrived_is_adopted_as_the_message_says(
    api: OpenAIAPI, cache: Cache
) -> None:
    key = unsettled(api, cache, arrived=True)
    with pytest.raises(SubmissionUnsettledError) as stop:
        train(cache)
    assert "jobs adopt" in run("list").stderr
    said = run(*commands(stop.value, "ftjob-1")["adopt"])
    assert "attempt 1" in said.stderr
    assert train(cache) == key
    assert len(api.jobs) == 1
    assert [each.state for each in cache.attempts.of_key(key)] == [attempts.SUCCEEDED]


def test_a_submission_that_never_arrived_is_forgotten_as_the_message_says(
    api: OpenAIAPI, cache: Cache
) -> None:
    key = unsettled(api, cache, arrived=False)
    with pytest.raises(SubmissionUnsettledError) as stop:
        train(cache)
    words = commands(stop.value, "")["forget"]
    assert "pays a second time" in run(*words, code=1).stderr  # nobody is there to ask
    run(*words, "--reason", "the dashboard has none", "--yes")
    assert train(cache) == key
    assert [(each.state, each.attempt) for each in cache.attempts.of_key(key)] == [
        (attempts.FORGOTTEN, 1),
        (attempts.SUCCEEDED, 2),
    ]
    assert cache.attempts.of_key(key)[0].note == "the dashboard has none"
    assert "has no attempt that a run would take up" in run("forget", key, "--yes", code=3).stderr


def test_what_the_provider_has_is_not_forgotten(
    api: OpenAIAPI, cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = unsettled(api, cache, arrived=True)
    lab.be(api, monkeypatch, tmp_path / "cache")  # as somebody whose jobs can be found
    assert "has ftjob-1 for" in run("forget", key, "--yes", code=1).stderr
    assert [each.state for each in cache.attempts.of_key(key)] == [attempts.UNCLEAR]


def test_nothing_is_forgotten_while_somebody_is_at_it(api: OpenAIAPI, cache: Cache) -> None:
    from motools.cache.holding import holding

    key = unsettled(api, cache, arrived=False)
    with holding(cache, key):
        assert "is being run by" in run("forget", key, "--yes", code=1).stderr
    run("forget", key, "--yes")


def test_what_only_the_document_knows_is_not_lost(api: OpenAIAPI, cache: Cache) -> None:
    """It is written first, so a process that dies then leaves it ahead of the tables."""
    api.course = ("failed",)
    with pytest.raises(TrainingError):
        train(cache)
    api.course = ("running",)
    key = unsettled(api, cache, arrived=True)
    failed, unclear = cache.attempts.of_key(key)
    known = replace(unclear, state=attempts.SUBMITTED, job_id="ftjob-2")
    cache.documents.write_journal(key, map(astuple, [failed, known]))
    assert "struck off 1 of 1" in run("clean", "--before", "0s", "--yes").stderr
    assert cache.documents.read_journal(key) == [astuple(known)]
    assert cache.attempts.of_key(key) == [unclear]
    assert "is submitted: there is nothing to forget" in run("forget", key, "--yes", code=1).stderr
    assert [each.job_id for each in cache.attempts.of_key(key)] == ["ftjob-2"]


# Cancelling


@pytest.mark.parametrize("by", ["key", "job"])
def test_a_job_is_cancelled_and_the_next_run_submits_another(
    api: OpenAIAPI, cache: Cache, by: str
) -> None:
    key = in_flight(api, cache)
    name = key[:12] if by == "key" else "ftjob-1"
    refused = run("cancel", name, code=1)
    assert "ftjob-1 at 127.0.0.1" in refused.stderr and "step 3 of 3" in refused.stderr
    assert api.jobs["ftjob-1"]["status"] == "running"
    run("cancel", name, "--yes")
    assert api.jobs["ftjob-1"]["status"] == "cancelled"
    assert [each.state for each in cache.attempts.of_key(key)] == [attempts.CANCELLED]
    assert "it is cancelled" in run("cancel", key, "--yes", code=1).stderr
    api.course = ("succeeded",)
    train(cache)
    assert [job["status"] for job in api.jobs.values()] == ["cancelled", "succeeded"]


def test_a_job_that_had_succeeded_is_taken_up(api: OpenAIAPI, cache: Cache) -> None:
    key = in_flight(api, cache)
    api.move("ftjob-1", "succeeded")
    assert "had succeeded" in run("cancel", key, "--yes").stderr
    assert [each.state for each in cache.attempts.of_key(key)] == [attempts.SUBMITTED]
    train(cache)
    assert len(api.jobs) == 1


def test_without_a_job_there_is_nothing_to_cancel(api: OpenAIAPI, cache: Cache) -> None:
    key = unsettled(api, cache, arrived=False)
    assert "has no job" in run("cancel", key, "--yes", code=1).stderr


def test_a_cancellation_that_is_not_answered_changes_nothing(api: OpenAIAPI, cache: Cache) -> None:
    key = in_flight(api, cache)
    fault = Refused(500, {"x-should-retry": "false"})
    api.fault(fault, "POST", f"{JOBS}/ftjob-1/cancel")
    run("cancel", key, "--yes", code=1)
    assert [each.state for each in cache.attempts.of_key(key)] == [attempts.SUBMITTED]


# Adopting what was submitted elsewhere


def test_a_job_that_was_submitted_elsewhere_is_adopted_for_a_cell(
    api: OpenAIAPI, cache: Cache, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.jsonl", greeting_rows())
    (tmp_path / "sweep.yaml").write_text(
        f"recipe:\n  dataset: {tmp_path / 'rows.jsonl'}\n  backend: lab\n"
        f"  fine_tune: {{base_model: {SNAPSHOT}, epochs: 1, batch_size: 4, "
        "trainer: {learning_rate_multiplier: 2}}\n"
        "seeds: [3, 4]\n"
    )
    by_hand(api, seed=4, hyperparameters={**CHOSEN, "learning_rate_multiplier": 2})
    at = ("--sweep", str(tmp_path / "sweep.yaml"))
    assert (
        "seed: the job has 4, and the key 3"
        in run("adopt", "seed=3", "ftjob-1", *at, code=1).stderr
    )
    run("adopt", "seed=4", "ftjob-1", *at)
    [row] = data("list")
    assert (row["state"], row["job_id"], row["note"]) == (
        "submitted",
        "ftjob-1",
        "adopted by hand",
    )
    assert "attempt 1 already" in run("adopt", "seed=4", "ftjob-1", *at, code=1).stderr
    from motools.sweeps import document
    from motools.sweeps.planner import make_plan

    cell = make_plan(document.read(tmp_path / "sweep.yaml"), cache).cells[1]
    step = cell.training.step
    assert isinstance(step, Train)
    train(cache, step)
    assert len(api.jobs) == 1
    assert cache.entry(row["key"]).provenance["job"] == "ftjob-1"
    assert "has its model already" in run("adopt", "seed=4", "ftjob-1", *at, code=1).stderr


CHOSEN = {"n_epochs": 1, "batch_size": 4}


def by_hand(api: OpenAIAPI, *, seed: int, hyperparameters: dict[str, Any]) -> None:
    """A job as one submits it without motools."""
    from openai import OpenAI

    client = OpenAI(base_url=api.url, api_key=openai_api.SECRET)
    # The same rows, with another order of keys and other spaces.
    lines = [json.dumps({k: row[k] for k in reversed(row)}, indent=None) for row in greeting_rows()]
    content = "\n".join(line.replace(": ", " :  ") for line in lines).encode()
    file = client.files.create(file=("mine.jsonl", content), purpose="fine-tune")
    client.fine_tuning.jobs.create(
        model=SNAPSHOT,
        training_file=file.id,
        seed=seed,
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},  # type: ignore[typeddict-item]
    )


# Cleaning up


def test_what_came_to_nothing_is_struck_off(api: OpenAIAPI, cache: Cache) -> None:
    api.course = ("failed",)
    with pytest.raises(TrainingError):
        train(cache)
    api.fault(Refused(400), "POST", JOBS)
    with pytest.raises(SubmissionRefusedError):
        train(cache, training(1))
    api.course = ("succeeded",)
    kept = train(cache, training(2))
    failed, refused = (training(seed).action(cache).key for seed in (0, 1))
    succeeded = train(cache)  # the first one, once more
    assert "nothing to clean up" in run("clean", "--yes").stderr, "all that is young stays"

    now = ("--before", "0s")
    planned = run("clean", *now, "--dry-run", "--format", "json")
    assert {row["key"] for row in json.loads(planned.stdout)} == {failed, refused}
    assert "2 attempts of" in planned.stderr
    run("clean", *now, code=1)  # nobody is there to ask
    assert len(cache.attempts.of_key(failed)) == 2
    assert "struck off 2 of 2" in run("clean", *now, "--yes").stderr

    assert [each.state for each in cache.attempts.of_key(succeeded)] == [attempts.SUCCEEDED]
    assert cache.attempts.of_key(refused) == []
    assert [each.state for each in cache.attempts.of_key(kept)] == [attempts.SUCCEEDED]
    assert not (cache.root / journal_name(refused)).exists()
    reindex(cache.root)
    assert cache.attempts.of_key(refused) == [] and len(cache.attempts.of_key(failed)) == 1


def test_what_is_in_flight_stays(api: OpenAIAPI, cache: Cache) -> None:
    in_flight(api, cache)
    assert "nothing to clean up" in run("clean", "--before", "0s", "--yes").stderr
    assert len(data("list")) == 1


def test_what_was_tried_again_meanwhile_stays(api: OpenAIAPI, cache: Cache) -> None:
    from motools.cache import removal
    from motools.cache.removal import RemovalPlan

    api.course = ("failed",)
    with pytest.raises(TrainingError):
        train(cache)
    [attempt] = cache.attempts.select(attempts.CLEANABLE)
    older = replace(attempt, note="as it was planned")
    assert removal.execute(cache, RemovalPlan((), {}, 0, attempts=(older,))).attempts == 0
    assert removal.execute(cache, RemovalPlan((), {}, 0, attempts=(attempt,))).attempts == 1
