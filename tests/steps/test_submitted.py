"""Training at an API over real HTTP: paid once, waited for, taken up again."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motools import Dataset
from motools.cache import Cache, Entry, removal
from motools.cache import attempt as attempts
from motools.errors import (
    BackendError,
    BackendUnavailableError,
    SubmissionRefusedError,
    SubmissionUnsettledError,
    TrainingError,
)
from motools.steps import jobs, submitted
from motools.steps.options import RunOptions
from motools.steps.train import Train
from motools.testing.wrapped import Wrapped
from motools.training import registry
from motools.training.provider import Account, Capabilities, JobStatus
from tests.training import lab, openai_api
from tests.training.lab import opened, training
from tests.training.lessons import greeting_rows
from tests.training.openai_api import COURSE, SNAPSHOT, Dropped, OpenAIAPI, Refused

JOBS = "/fine_tuning/jobs"
Said = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def cache(api: OpenAIAPI) -> Cache:
    return opened()


def train(cache: Cache, step: Train | None = None, said: Said | None = None) -> Entry:
    step = step or training()
    report = None if said is None else lambda message, fields: said.append((message, fields))
    return cache.get_or_run(step.action(cache), step.run, report=report)


def states(cache: Cache) -> list[str]:
    return [each.state for each in cache.attempts.of_key(training().action(cache).key)]


def test_what_a_training_leaves(api: OpenAIAPI, cache: Cache) -> None:
    api.course = COURSE
    said: Said = []
    entry = train(cache, said=said)
    rows = len(greeting_rows())
    tokens = len(api.contents["file-1"])
    assert entry.value == {"trained_tokens": tokens, "epochs": 1, "rows": rows}
    assert entry.cost == tokens * lab.PRICE / 1e6
    assert entry.remote is not None and entry.remote.id == api.jobs["ftjob-1"]["fine_tuned_model"]
    assert entry.labels["base_model"] == SNAPSHOT and entry.labels["backend"] == "lab"
    assert entry.provenance["job"] == "ftjob-1"
    assert [fields["loss"] for _, fields in said if "loss" in fields][-1] == 1.0
    for status in COURSE[1:]:
        assert any(message.endswith(f"ftjob-1 is {status}") for message, _ in said)
    asked = len(api.requests)
    assert train(cache).hit and len(api.requests) == asked
    assert states(cache) == [attempts.SUCCEEDED]


def test_suffix_and_tags_are_no_part_of_the_key(api: OpenAIAPI, cache: Cache) -> None:
    entry = train(cache)
    named = training()
    named = Train(named.dataset, named.config, "lab", RunOptions(suffix="mine", tags=("paper",)))
    assert named.action(cache).key == entry.key
    other = Train(
        named.dataset, training(1).config, "lab", RunOptions(suffix="mine", tags=("paper",))
    )
    train(cache, other)
    assert api.jobs["ftjob-2"]["suffix"] == "mine"


def test_rows_to_measure_on_are_part_of_the_key(api: OpenAIAPI, cache: Cache) -> None:
    held_out = Dataset.from_rows(greeting_rows()[:2])
    first, second = training(), training(validation=held_out)
    assert first.action(cache).key != second.action(cache).key
    train(cache, second)
    assert api.jobs["ftjob-1"]["validation_file"] != api.jobs["ftjob-1"]["training_file"]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_failed_is_no_entry_and_stands_in_nobodys_way(
    api: OpenAIAPI, cache: Cache, status: str
) -> None:
    api.course = ("running", status)
    with pytest.raises(TrainingError, match=f"ftjob-1 .*{status}"):
        train(cache)
    api.course = ("succeeded",)
    assert not train(cache).hit
    assert states(cache) == [status, attempts.SUCCEEDED]
    stamps = [job["metadata"]["motools_attempt"] for job in api.jobs.values()]
    assert stamps == ["1", "2"]


def test_a_lost_answer_is_found_again(api: OpenAIAPI, cache: Cache) -> None:
    api.fault(Dropped(done=True), "POST", JOBS)
    said: Said = []
    train(cache, said=said)
    assert len(api.jobs) == 1
    assert any(message.endswith("ftjob-1 taken up") for message, _ in said)


def test_what_never_arrived_is_sent_again(api: OpenAIAPI, cache: Cache) -> None:
    api.fault(Dropped(), "POST", JOBS)
    train(cache)
    assert len(api.jobs) == 1
    assert states(cache) == [attempts.LOST, attempts.SUCCEEDED]


def test_a_list_that_is_late_makes_no_second_job(api: OpenAIAPI, cache: Cache) -> None:
    """It is believed only once the provider's own bound has passed."""
    api.fault(Dropped(done=True), "POST", JOBS)
    api.unlisted.add("ftjob-1")
    shown = threading.Timer(lab.SECONDS / 2, api.unlisted.clear)
    shown.start()
    train(cache)
    shown.join()
    assert len(api.jobs) == 1


def test_an_api_that_does_not_list_our_jobs_is_no_proof_that_there_is_none(
    api: OpenAIAPI, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that passes over metadata, and was said to find: a lost answer is no lost job."""
    api.unlisted.update(f"ftjob-{n}" for n in range(1, 9))
    said: Said = []
    train(cache, said=said)
    told = [message for message, _ in said if "`finds` is not true of it" in message]
    assert len(told) == 1 and "does not list ftjob-1" in told[0]
    assert "`finds` is not true of it" in caplog.text
    api.fault(Dropped(done=True), "POST", JOBS)
    with pytest.raises(BackendUnavailableError):
        train(cache, training(1))
    with pytest.raises(SubmissionUnsettledError, match="motools jobs adopt"):
        train(cache, training(1))
    assert len(api.jobs) == 2


def test_a_job_that_ends_before_it_is_listed_raises_no_doubt(
    api: OpenAIAPI,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    api.course = ("succeeded",)
    lab.be(api, monkeypatch, tmp_path / "late", visibility_seconds="2.0")
    cache = opened()
    api.unlisted.add("ftjob-1")
    shown = threading.Timer(1.0, api.unlisted.clear)
    made = api.move

    def move(job_id: str, status: str, **more: Any) -> None:
        made(job_id, status, **more)
        if job_id == "ftjob-1":
            shown.start()

    api.move = move  # type: ignore[method-assign]
    train(cache)
    shown.join()
    assert "`finds`" not in caplog.text
    api.fault(Dropped(done=True), "POST", JOBS)
    train(cache, training(1))
    assert len(api.jobs) == 2


def test_an_api_that_is_full_is_asked_when_it_says(api: OpenAIAPI, cache: Cache) -> None:
    api.fault(Refused(429, {"retry-after": "0.2"}), "POST", JOBS, times=2)
    train(cache)
    assert api.count("POST", JOBS) == 3 and len(api.jobs) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_quota_that_is_used_up_before_the_upload_stops_at_once(
    api: OpenAIAPI, cache: Cache, method: str
) -> None:
    said = "You exceeded your current quota"
    fault = Refused(429, {"x-should-retry": "false"}, "insufficient_quota", said=said)
    api.fault(fault, method, "/files")
    with pytest.raises(SubmissionRefusedError, match=said):
        train(cache)
    assert api.count(method, "/files") == 1
    assert states(cache) == []
    train(cache)


def test_a_quota_that_is_used_up_while_a_job_is_waited_for_is_asked_past(
    api: OpenAIAPI, cache: Cache
) -> None:
    """The job goes on, whatever its account may order now."""
    headers = {"x-should-retry": "false", "retry-after": "0.1"}
    api.fault(Refused(429, headers, "insufficient_quota"), "GET", f"{JOBS}/ftjob-1", times=2)
    assert train(cache).provenance["job"] == "ftjob-1"


def test_a_refusal_is_an_error_and_nothing_is_unclear(api: OpenAIAPI, cache: Cache) -> None:
    api.fault(Refused(400), "POST", JOBS)
    with pytest.raises(SubmissionRefusedError, match="400"):
        train(cache)
    assert states(cache) == [attempts.REFUSED]
    train(cache)
    assert states(cache) == [attempts.SUCCEEDED]


def test_an_api_that_does_not_answer_for_a_while_is_waited_for(
    api: OpenAIAPI, cache: Cache
) -> None:
    api.course = ("running", "succeeded")
    fault = Refused(503, {"x-should-retry": "false", "retry-after": "0.1"})
    api.fault(fault, "GET", f"{JOBS}/ftjob-1", times=3)
    said: Said = []
    train(cache, said=said)
    assert any("ftjob-1 goes on, asking again" in message for message, _ in said)


def test_two_jobs_of_one_key_are_one_too_many(api: OpenAIAPI, cache: Cache) -> None:
    """As two laptops without a common coordinator send them: the earliest stays."""
    api.course = ("running",)
    said: Said = []
    waiting = threading.Thread(target=train, args=(cache,), kwargs={"said": said})
    provider: Any = registry.backend("lab", cache.settings.backends)
    made = api.move

    def rival(job_id: str, status: str) -> None:
        made(job_id, status)
        if job_id == "ftjob-1" and len(api.jobs) == 1:
            first = api.jobs["ftjob-1"]
            api.jobs["ftjob-0"] = {**first, "id": "ftjob-0", "created_at": first["created_at"] - 9}
            api.events["ftjob-0"], api._ahead["ftjob-0"] = [], []

    api.move = rival  # type: ignore[method-assign]
    waiting.start()
    deadline = time.monotonic() + 60
    while api.jobs.get("ftjob-1", {}).get("status") != "cancelled":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    api.move("ftjob-0", "succeeded")
    waiting.join()
    [entry] = cache.entries("model")
    assert entry.provenance["job"] == "ftjob-0"
    assert any("and ftjob-1 for one key" in message for message, _ in said)
    assert len(provider.find(entry.key)) == 2


def test_a_refresh_in_another_cache_is_not_cancelled(
    api: OpenAIAPI, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for the key without a refresh takes the job that has succeeded."""
    first, step = train(cache), training()
    api.course = ("running",)
    refreshed: list[Entry] = []

    def refresh() -> None:
        refreshed.append(cache.get_or_run(step.action(cache), step.run, refresh=True))

    waiting = threading.Thread(target=refresh)
    waiting.start()
    deadline = time.monotonic() + 60
    while "ftjob-2" not in api.jobs:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(tmp_path / "other"))
    said: Said = []
    other = train(opened(), said=said)
    assert other.remote == first.remote and api.jobs["ftjob-2"]["status"] == "running"
    assert any("ftjob-2 for one key: the second is left alone" in message for message, _ in said)
    api.move("ftjob-2", "succeeded")
    waiting.join()
    assert [entry.provenance["job"] for entry in refreshed] == ["ftjob-2"]


def test_a_refresh_where_there_is_no_result_takes_up_the_job_of_another_cache(
    api: OpenAIAPI, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing there is to be replaced: the guide says so."""
    first, step = train(cache), training()
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(tmp_path / "other"))
    other = opened()
    for jobs_there in (1, 2):
        entry = other.get_or_run(step.action(other), step.run, refresh=True)
        assert len(api.jobs) == jobs_there
    assert entry.provenance["job"] == "ftjob-2"
    assert other.index.generations(entry.key)[0].remote == first.remote


def test_a_provider_that_hangs_holds_up_no_other(api: OpenAIAPI, cache: Cache) -> None:
    asked, go_on = threading.Semaphore(0), threading.Event()

    class Hanging(Wrapped):
        def account(self) -> Account:
            return Account("elsewhere", "theirs")

        def poll(self, job_id: str, after: str | None = None) -> JobStatus:
            asked.release()
            go_on.wait(60)
            raise BackendError("it is gone")

        def capabilities(self) -> Capabilities:
            return replace(super().capabilities(), visibility_seconds=0.0)

    backend: Any = registry.backend("lab", cache.settings.backends)
    registry.offer("hanging", Hanging(backend))
    steps = [replace(training(seed), backend="hanging") for seed in range(1, 9)]
    threads = [
        threading.Thread(target=suppressed, args=(lambda kept, step=step: train(kept, step), cache))
        for step in steps
    ]
    for thread in threads:
        thread.start()
    for _ in range(4):
        assert asked.acquire(timeout=60)
    done = threading.Thread(target=train, args=(cache,))
    done.start()
    done.join(20)
    in_time = not done.is_alive()
    go_on.set()
    for thread in (done, *threads):
        thread.join()
    assert in_time


def test_a_model_that_is_not_listed_yet_is_waited_for(
    api: OpenAIAPI, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's may take minutes to be ready, and a second one is never paid for unasked."""
    monkeypatch.setattr(submitted, "LISTED_WITHIN", 0.2)
    born, hidden = api.add_model, {}

    def hide(name: str) -> None:
        born(name)
        hidden[name] = api.models.pop(name)

    api.add_model = hide  # type: ignore[method-assign]
    with pytest.raises(BackendError, match=r"does not list its model .* run it again later"):
        train(cache)
    assert states(cache) == [attempts.SUBMITTED]
    api.models.update(hidden)
    assert train(cache).provenance["job"] == "ftjob-1"
    assert (len(api.jobs), states(cache)) == (1, [attempts.SUCCEEDED])


def test_a_model_that_is_gone_is_made_again_when_somebody_says_so(
    api: OpenAIAPI, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitted, "LISTED_WITHIN", 0.2)
    born = api.add_model
    api.add_model = lambda _: None  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="motools jobs forget"):
        train(cache)
    api.add_model = born  # type: ignore[method-assign]
    key = training().action(cache).key
    [attempt] = cache.attempts.of_key(key)
    jobs.forget(cache, attempt, jobs.works(cache, [key])[key], "deleted by hand")
    assert states(cache) == [attempts.RETIRED]
    assert train(cache).provenance["job"] == "ftjob-2"
    assert states(cache) == [attempts.RETIRED, attempts.SUCCEEDED]


def test_a_job_that_its_provider_has_dropped_can_be_forgotten(api: OpenAIAPI, cache: Cache) -> None:
    api.course = ("running",)
    key = training().action(cache).key
    kept = opened()
    thread = threading.Thread(target=lambda: suppressed(train, kept))
    thread.start()
    while not cache.attempts.of_key(key) or cache.attempts.of_key(key)[0].job_id is None:
        time.sleep(0.02)
    [attempt] = cache.attempts.of_key(key)
    del api.jobs[str(attempt.job_id)]
    thread.join()
    with pytest.raises(BackendError, match=f"404.*motools jobs forget {key[:12]}"):
        train(cache)
    jobs.forget(cache, attempt, jobs.works(cache, [key])[key], "the provider drops old jobs")
    api.course = ("succeeded",)
    train(cache)
    assert states(cache) == [attempts.FORGOTTEN, attempts.SUCCEEDED]


@pytest.mark.parametrize("answered", ["as nobody", "400"])
def test_a_job_is_not_forgotten_by_what_proves_no_account(
    api: OpenAIAPI, cache: Cache, answered: str
) -> None:
    """A gateway's page, or a key of another account, says 404 as well."""
    api.course = ("failed",)
    with pytest.raises(TrainingError):
        train(cache)
    key = training().action(cache).key
    cache.attempts.adopt(key, 1, "ftjob-of-ours")
    [attempt] = cache.attempts.of_key(key)
    work = jobs.works(cache, [key])[key]
    backend: Any = registry.backend("lab", cache.settings.backends)
    assert backend.account().scope  # as it was known while its answers said so
    if answered == "as nobody":
        api.project = ""
    else:
        fault = Refused(400)
        api.fault(fault, "GET", f"{JOBS}/ftjob-of-ours", times=9)
    with pytest.raises(BackendUnavailableError, match=r"forget .* --unproved"):
        jobs.forget(cache, attempt, work, "it is gone")
    assert states(cache) == [attempts.SUBMITTED]
    jobs.forget(cache, attempt, work, "I deleted it", unproved=True)
    assert states(cache) == [attempts.FORGOTTEN]


def test_a_job_that_was_just_made_may_not_be_there_yet(api: OpenAIAPI, cache: Cache) -> None:
    api.fault(Refused(404), "GET", f"{JOBS}/ftjob-1")
    assert not train(cache).hit
    assert len(api.jobs) == 1


def test_a_job_without_an_id_is_not_forgotten_while_the_provider_has_one(
    api: OpenAIAPI, cache: Cache
) -> None:
    train(cache)
    key = training().action(cache).key
    [known] = cache.attempts.of_key(key)
    lost = replace(known, state=attempts.SUBMITTED, job_id=None)
    cache.attempts.record(lost)
    with pytest.raises(BackendError, match="run it again, and it is taken up"):
        jobs.forget(cache, lost, jobs.works(cache, [key])[key], "it has no id")


def suppressed(call: Callable[[Cache], object], cache: Cache) -> None:
    with suppress(BackendError):
        call(cache)


def test_a_killed_process_is_followed_by_one_that_takes_its_job_up(
    api: OpenAIAPI, cache: Cache
) -> None:
    api.course = ("running",)
    program = (
        "from tests.training.lab import opened, training\n"
        "cache, step = opened(), training()\n"
        "cache.get_or_run(step.action(cache), step.run)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        deadline = time.monotonic() + 60
        while not api.count("GET", f"{JOBS}/ftjob-1"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    api.move("ftjob-1", "succeeded")
    said: Said = []
    train(cache, said=said)
    assert len(api.jobs) == 1
    assert said[0][0].endswith("ftjob-1 taken up")


def test_one_stamp_is_one_job_though_two_ask(api: OpenAIAPI, cache: Cache) -> None:
    threads = [threading.Thread(target=train, args=(opened(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(api.jobs) == 1


def test_the_key_of_the_account_is_written_nowhere(
    api: OpenAIAPI,
    cache: Cache,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from motools.tasks.perform import perform

    caplog.set_level("DEBUG")
    perform(training(), cache)
    api.course = ("failed",)
    with pytest.raises(TrainingError) as failed:
        perform(training(1), cache)
    api.fault(Dropped(), "POST", JOBS, times=9)
    with pytest.raises(BackendUnavailableError) as unclear:
        perform(training(2), cache)
    api.secret = "another"
    with pytest.raises(BackendUnavailableError) as refused:
        registry.backend("lab", cache.settings.backends).find("f" * 64)  # type: ignore[attr-defined]
    cache.close()
    secret = openai_api.SECRET.encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if secret in path.read_bytes()] == []
    shown = capfd.readouterr()
    errors = [repr(problem.value) for problem in (failed, unclear, refused)]
    every = [caplog.text, shown.out, shown.err, repr(cache.settings), *errors]
    assert not [text for text in every if openai_api.SECRET in text]


def test_a_provider_that_repeats_the_key_has_it_written_nowhere(
    api: OpenAIAPI, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-this-is-not-the-key"
    monkeypatch.setenv("TESTS_API_KEY", secret)
    api.secret = secret
    api.fault(Refused(400, said=f"no such thing for {secret}"), "POST", JOBS)
    with pytest.raises(SubmissionRefusedError, match="no such thing") as refused:
        train(cache)
    api.fault(Refused(404, said=f"no such thing for {secret}"), "GET", JOBS)
    with pytest.raises(BackendError, match="no such thing") as asked:
        train(cache)
    cache.close()
    for problem in (refused.value, asked.value):
        assert secret not in "".join(traceback.format_exception(problem))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_what_was_cleared_takes_up_the_job_that_made_it(api: OpenAIAPI, cache: Cache) -> None:
    entry = train(cache)
    removal.execute(cache, removal.plan(cache, [entry]))
    again = train(cache)
    assert (again.hit, again.remote) == (False, entry.remote)
    assert len(api.jobs) == 1
