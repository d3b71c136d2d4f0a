"""The backend ``openai`` where an API, or a gateway before it, answers in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motools.artifacts import RemoteRef
from motools.errors import BackendError, BackendUnavailableError, SettingsError
from motools.jobs import Stamp
from motools.training.openai import options
from motools.training.openai.backend import OpenAIBackend

from .openai_api import SNAPSHOT, OpenAIAPI, Refused, Said
from .test_openai import AT_ONCE, JOBS, Made, api, made, order, submitted

__all__ = ["api", "made"]

JOB = f"{JOBS}/ftjob-1"
ANSWERS = {
    "cut off": b'{"id": "ftjob-1", "obj',
    "a page": b"<html>",
    "empty": b"",
    "not UTF-8": b'{"id": "\xff"}',
    "null": b"null",
    "a list": b"[]",
    "text": b'"<html>"',
    "an object": b"{}",
}
ASKED: dict[str, tuple[str, str, Callable[[OpenAIBackend, Any], object]]] = {
    "submit": ("POST", JOBS, lambda b, prepared: b.submit(prepared, Stamp("e" * 64, 1))),
    "find": ("GET", JOBS, lambda b, _: b.find("f" * 64)),
    "poll": ("GET", JOB, lambda b, _: b.poll("ftjob-1")),
    "result": ("GET", JOB, lambda b, _: b.result("ftjob-1")),
    "events": ("GET", f"{JOB}/events", lambda b, _: b.poll("ftjob-1")),
    "cancel": ("POST", f"{JOB}/cancel", lambda b, _: b.cancel("ftjob-1")),
    "alive": ("GET", f"/models/{SNAPSHOT}", lambda b, _: b.alive(_model(b))),
}


def _model(backend: OpenAIBackend) -> RemoteRef:
    account = backend.account()
    return RemoteRef(account.provider, account.scope, SNAPSHOT)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("asked", ASKED)
def test_what_is_no_answer_says_nothing(
    made: Made, api: OpenAIAPI, tmp_path: Path, asked: str, answer: str
) -> None:
    """No job, no model, and no error but that it is not known: it is asked again."""
    backend = made()
    prepared = backend.prepare(order(tmp_path))
    backend.submit(prepared, Stamp("f" * 64, 1))
    method, path, ask = ASKED[asked]
    api.fault(Said(ANSWERS[answer]), method, path)
    with pytest.raises(BackendUnavailableError):
        ask(backend, prepared)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_upload_without_an_answer_is_not_taken_for_one(
    made: Made, api: OpenAIAPI, tmp_path: Path, answer: str
) -> None:
    api.fault(Said(ANSWERS[answer]), "POST", "/files")
    with pytest.raises(BackendUnavailableError):
        made().prepare(order(tmp_path))


@pytest.fixture
def one(made: Made, api: OpenAIAPI, tmp_path: Path) -> Iterator[OpenAIBackend]:
    """A backend with a job that has succeeded."""
    api.course = ("succeeded",)
    backend = made()
    submitted(backend, order(tmp_path))
    yield backend


@pytest.mark.parametrize(
    "said",
    [
        {"error": {}},
        {"error": ""},
        {"method": None},
        {"method": {}},
        {"method": "supervised"},
        {"hyperparameters": None},
        {"result_files": None},
        {"trained_tokens": "5"},
        {"metadata": []},
        {"validation_file": None, "training_file": None, "seed": None},
    ],
    ids=str,
)
def test_a_job_may_say_less(
    one: OpenAIBackend, api: OpenAIAPI, tmp_path: Path, said: dict[str, Any]
) -> None:
    api.jobs["ftjob-1"] |= said
    assert one.poll("ftjob-1").phase == "succeeded"
    result = one.result("ftjob-1")
    assert result.model.id == api.jobs["ftjob-1"]["fine_tuned_model"]
    assert isinstance(result.metrics.get("trained_tokens", 0), int)
    assert None not in one.describe("ftjob-1", tmp_path).config.values()


def test_a_job_without_a_base_model_is_not_known(
    one: OpenAIBackend, api: OpenAIAPI, tmp_path: Path
) -> None:
    api.jobs["ftjob-1"]["model"] = None
    with pytest.raises(BackendUnavailableError, match="no 'model'"):
        one.describe("ftjob-1", tmp_path)


def test_why_a_job_failed_may_be_plain_text(one: OpenAIBackend, api: OpenAIAPI) -> None:
    api.jobs["ftjob-1"] |= {"status": "failed", "error": "no room"}
    assert one.poll("ftjob-1").error == "no room"


@pytest.mark.parametrize("loss", ["0.5", None, [0.5]])
def test_a_loss_that_is_no_number_is_left_out(
    one: OpenAIBackend, api: OpenAIAPI, loss: object
) -> None:
    """It is drawn as a number."""
    api._say("ftjob-1", "Step 1", {"step": 1, "total_steps": "?", "train_loss": loss})
    assert one.poll("ftjob-1").events[-1].fields == {"step": 1}


@pytest.mark.parametrize("attempt", [2, "2"])
def test_a_stamp_may_be_numbers(one: OpenAIBackend, api: OpenAIAPI, attempt: int | str) -> None:
    api.jobs["ftjob-1"]["metadata"]["motools_attempt"] = attempt
    assert [found.attempt for found in one.find("f" * 64)] == [2]


@pytest.mark.parametrize("created", [None, "2026-01-01T00:00:00Z"])
def test_jobs_that_cannot_be_put_in_order_say_nothing(
    one: OpenAIBackend, api: OpenAIAPI, created: str | None
) -> None:
    """Which of two is the earliest could not be told."""
    api.jobs["ftjob-1"]["created_at"] = created
    with pytest.raises(BackendUnavailableError, match="no 'created_at'"):
        one.find("f" * 64)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_api_need_not_have_models_one_by_one(
    one: OpenAIBackend, api: OpenAIAPI, status: int
) -> None:
    """Else no job there would ever come to a model."""
    api.fault(Refused(status, AT_ONCE), "GET", "/models/.*", times=99)
    made = one.result("ftjob-1").model
    api.models[made.id]["shutdown_date"] = "2027-01-14"
    assert (one.alive(made).there, one.alive(made).expires_at) == (True, 1_799_884_800)
    del api.models[made.id]
    assert not one.alive(made).there
    api.project = ""  # whose list it is cannot be told now
    with pytest.raises(BackendUnavailableError, match="nothing is known"):
        one.alive(made)


def test_a_part_of_a_list_does_not_say_that_a_model_is_gone(
    one: OpenAIBackend, api: OpenAIAPI
) -> None:
    api.fault(Refused(405), "GET", "/models/.*", times=9)
    for number in range(30):
        api.add_model(f"other-{number}")
    del api.models[SNAPSHOT]
    with pytest.raises(BackendUnavailableError, match="a part of its models"):
        one.alive(_model(one))


def test_an_api_without_any_models_cannot_say(one: OpenAIBackend, api: OpenAIAPI) -> None:
    api.fault(Refused(405), "GET", "/models.*", times=9)
    with pytest.raises(BackendError, match="405"):
        one.alive(_model(one))


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_an_api_need_not_have_events(one: OpenAIBackend, api: OpenAIAPI, status: int) -> None:
    """Else no job there would ever come to a model."""
    api.fault(Refused(status, AT_ONCE), "GET", f"{JOB}/events", times=9)
    first = one.poll("ftjob-1")
    assert first.phase == "succeeded"
    [said] = first.events
    assert "no events" in said.message and str(status) in said.message
    assert one.poll("ftjob-1", said.id).events == ()


@pytest.mark.parametrize("status", [403, 404, 501])
def test_losses_that_are_not_given_keep_no_model_back(
    one: OpenAIBackend, api: OpenAIAPI, status: int
) -> None:
    api.jobs["ftjob-1"]["result_files"] = ["file-1"]
    api.fault(Refused(status, AT_ONCE), "GET", "/files/file-1/content", times=9)
    result = one.result("ftjob-1")
    assert result.model.id == api.jobs["ftjob-1"]["fine_tuned_model"]
    assert str(status) in str(result.provenance["without_losses"])


def test_a_file_is_no_path_here(one: OpenAIBackend, api: OpenAIAPI, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for name in (str(tmp_path / "elsewhere"), "accounts/lab/datasets/1", "../above"):
        api.fault(Said(b'{"messages": []}\n'), "GET", "/files/.*/content")
        api.jobs["ftjob-1"]["training_file"] = name
        rows = one.describe("ftjob-1", place).dataset
        assert isinstance(rows, Path) and rows.parent == place
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("url", ["http://lab:99999/v1", "http://lab:port/v1", "http://[::1/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="base_url"):
        options.Options(base_url=url)
