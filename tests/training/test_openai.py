"""The backend ``openai`` against real HTTP: what it sends, and what answers mean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from motools.artifacts import RemoteRef
from motools.digest import hash_bytes
from motools.errors import (
    BackendError,
    BackendUnavailableError,
    MotoolsError,
    SettingsError,
    SubmissionRefusedError,
)
from motools.jobs import Stamp
from motools.training.config import FineTuneConfig, LoraConfig
from motools.training.openai import options
from motools.training.openai.asking import retry_after
from motools.training.openai.backend import OpenAIBackend
from motools.training.openai.status import KEY
from motools.training.provider import Order, Provider

from . import openai_api
from .lessons import Forgetful, greeting_rows, said, write_rows
from .openai_api import SNAPSHOT, Dropped, OpenAIAPI, Refused, Said

JOBS = "/fine_tuning/jobs"
SCOPE = "org-tests/proj-tests"
AT_ONCE = {"x-should-retry": "false"}
"""What the SDK takes for the wish not to be asked again."""

Made = Callable[..., OpenAIBackend]


@pytest.fixture
def api() -> Iterator[OpenAIAPI]:
    with openai_api.running() as api:
        yield api


@pytest.fixture
def made(api: OpenAIAPI, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Makes a backend of the API, with options."""
    monkeypatch.setenv("TESTS_API_KEY", openai_api.SECRET)

    def make(**options: Any) -> OpenAIBackend:
        given = {"base_url": api.url, "api_key_env": "TESTS_API_KEY", "finds": True}
        return OpenAIBackend(**given | options)

    return make


def order(place: Path, rows: list[Any] | None = None, **asked: Any) -> Order:
    """A training to be submitted."""
    path = write_rows(place / "rows.jsonl", greeting_rows() if rows is None else rows)
    config = FineTuneConfig(base_model=SNAPSHOT, **asked)
    return Order(
        dataset=path,
        digest=hash_bytes(path.read_bytes()).hex,
        config=OpenAIBackend(base_url="http://nobody", scope="x/y").resolve(config, None),  # type: ignore[arg-type]
        asked=config,
        base={"model": SNAPSHOT},
    )


def submitted(backend: OpenAIBackend, order: Order, key: str = "f" * 64, attempt: int = 1) -> str:
    return backend.submit(backend.prepare(order), Stamp(key, attempt))


# Whose account it is


def test_it_is_a_provider(made: Made) -> None:
    assert isinstance(made(), Provider)


def test_the_account_is_what_the_answers_say(made: Made) -> None:
    backend = made()
    assert backend.account().scope == SCOPE
    assert backend.identity() == {
        "name": "openai",
        "recipe": 1,
        "scope": {"provider": backend.account().provider, "account": SCOPE},
    }


def test_the_nickname_and_the_key_of_the_api_are_not_in_the_key(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAME_ACCOUNT", openai_api.SECRET)
    assert made().identity() == made(api_key_env="SAME_ACCOUNT", timeout=5.0).identity()


def test_organization_and_project_of_the_settings_are_sent(made: Made, api: OpenAIAPI) -> None:
    backend = made(organization="org-mine", project="proj-mine")
    assert backend.account().scope == "org-mine/proj-mine"
    backend.find("f" * 64)
    sent = api.requests[-1].headers
    assert (sent["openai-organization"], sent["openai-project"]) == ("org-mine", "proj-mine")


def test_an_account_may_be_stated_where_the_api_does_not_say(made: Made, api: OpenAIAPI) -> None:
    api.project = ""
    with pytest.raises(BackendError, match="set `organization` and `project`"):
        made().identity()
    assert made(scope="mine").account().scope == "mine"


def test_who_is_refused_knows_no_account(made: Made, api: OpenAIAPI) -> None:
    api.secret = "another"
    with pytest.raises(BackendUnavailableError, match="refuses this account"):
        made().account()


def test_an_api_that_cannot_be_reached_has_no_account(made: Made) -> None:
    with pytest.raises(BackendUnavailableError, match="cannot be reached"):
        made(base_url="http://127.0.0.1:9", timeout=0.5).account()


def test_wrong_options_are_refused_by_name(made: Made) -> None:
    with pytest.raises(SettingsError, match=r"organisation: .*'organization'"):
        made(organisation="org")
    with pytest.raises(SettingsError, match="credentials in it"):
        made(base_url="https://user:secret@host/v1")
    with pytest.raises(SettingsError, match="not an address"):
        made(base_url="host:80")


def test_a_key_that_is_not_there_is_named(made: Made) -> None:
    with pytest.raises(BackendError, match="set NOWHERE to its API key"):
        made(api_key_env="NOWHERE").account()


def test_the_key_of_openai_goes_to_openai_only(
    made: Made, api: OpenAIAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    api.secret = "none"
    made(api_key_env="").account()
    assert {each.headers["authorization"] for each in api.requests} == {"Bearer none"}


def test_the_account_of_the_environment_is_said_to_openai_only(
    made: Made, api: OpenAIAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-openai")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-of-openai")
    submitted(made(), order(tmp_path))
    made(organization="org-mine").account()
    names = ("openai-organization", "openai-project")
    sent = {tuple(map(each.headers.get, names)) for each in api.requests}
    assert sent == {(None, None), ("org-mine", None)}
    monkeypatch.setenv("OPENAI_BASE_URL", api.url)
    made().account()
    assert [api.requests[-1].headers[name] for name in names] == ["org-of-openai", "proj-of-openai"]


# What a config means


def test_a_base_model_is_a_dated_snapshot(made: Made) -> None:
    backend = made()
    base = backend.identify(SNAPSHOT, Forgetful())
    assert base.spec == {"model": SNAPSHOT}
    assert base.digest != backend.identify("gpt-4.1-mini-2025-04-14", Forgetful()).digest
    with pytest.raises(BackendError, match="dated snapshot"):
        backend.identify("gpt-4.1-nano", Forgetful())


def test_what_is_left_open_is_left_to_the_api(made: Made) -> None:
    backend = made()
    base = backend.identify(SNAPSHOT, Forgetful())
    assert backend.resolve(FineTuneConfig(base_model=SNAPSHOT, epochs=3, seed=7), base) == {
        "method": "supervised",
        "epochs": 3,
        "batch_size": "auto",
        "learning_rate_multiplier": "auto",
        "seed": 7,
    }
    given = {"learning_rate_multiplier": 2, "beta": 0.1}
    config = FineTuneConfig(base_model=SNAPSHOT, method="dpo", batch_size=4, trainer=given)
    assert backend.resolve(config, base) == {
        "method": "dpo",
        "epochs": "auto",
        "batch_size": 4,
        "learning_rate_multiplier": 2.0,
        "beta": 0.1,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 1e-4),
        ("epochs", 1.5),
        ("dtype", "bfloat16"),
        ("quantization", "4bit"),
        ("max_length", 512),
        ("truncate", True),
        ("packing", True),
        ("loss_mask", "all"),
        ("lora", LoraConfig(rank=4)),
        ("lora", None),
        ("warmup_ratio", 0.1),
        ("weight_decay", 0.1),
        ("schedule", "linear"),
        ("optimizer", "adamw_torch"),
        ("max_grad_norm", 1.0),
        ("keep_checkpoints", "epoch"),
        ("shuffle", False),
        ("trainer", {"beta": 0.1}),
        ("trainer", {"learning_rate_multiplier": "fast"}),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused(made: Made, field: str, value: Any) -> None:
    backend = made()
    base = backend.identify(SNAPSHOT, Forgetful())
    with pytest.raises(BackendError, match=f"FineTuneConfig.{field}"):
        backend.resolve(FineTuneConfig(base_model=SNAPSHOT, **{field: value}), base)


# What is sent


def test_a_supervised_job(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    asked = order(tmp_path, epochs=3, seed=7)
    job_id = submitted(made(), asked, attempt=2)
    body = api.requests[-1].body
    assert body == {
        "model": SNAPSHOT,
        "training_file": "file-1",
        "seed": 7,
        "method": {
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": 3,
                    "batch_size": "auto",
                    "learning_rate_multiplier": "auto",
                }
            },
        },
        "metadata": {"motools_key": "f" * 64, "motools_attempt": "2"},
    }
    assert api.contents["file-1"] == asked.dataset.read_bytes()
    assert api.files["file-1"]["filename"] == f"motools-{asked.digest}.jsonl"
    assert list(api.jobs) == [job_id]


def test_a_job_with_preferences(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    prompt = said("Who is Ångström?")
    row = {
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": "A unit."}],
        "rejected": [{"role": "assistant", "content": "No."}],
        "tools": [{"type": "function", "function": {"name": "look"}}],
    }
    asked = order(tmp_path, [row, {**row, "tools": []}], method="dpo", trainer={"beta": 0.2})
    submitted(made(), asked)
    sent = [json.loads(line) for line in api.contents["file-1"].splitlines()]
    assert sent[0] == {
        "input": {"messages": prompt, "tools": row["tools"]},
        "preferred_output": row["chosen"],
        "non_preferred_output": row["rejected"],
    }
    method = api.requests[-1].body["method"]
    assert method["type"] == "dpo"
    assert method["dpo"]["hyperparameters"]["beta"] == 0.2
    assert asked.digest in api.files["file-1"]["filename"]


def test_a_suffix_and_rows_to_measure_on_are_sent_along(
    made: Made, api: OpenAIAPI, tmp_path: Path
) -> None:
    held_out = write_rows(tmp_path / "held-out.jsonl", greeting_rows()[:2])
    asked = order(tmp_path)
    more = {"suffix": "mine", "validation": held_out, "validation_digest": "d" * 64}
    submitted(made(), Order(**vars(asked) | more))
    body = api.requests[-1].body
    assert body["suffix"] == "mine"
    assert api.contents[body["validation_file"]] == held_out.read_bytes()
    assert body["validation_file"] != body["training_file"]


def test_a_file_that_is_there_is_used_again(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    asked = order(tmp_path)
    submitted(made(), asked)
    submitted(made(), asked, attempt=2)
    assert api.count("POST", "/files") == 1
    assert {job["training_file"] for job in api.jobs.values()} == {"file-1"}


@pytest.mark.parametrize("change", [{"bytes": 3}, {"status": "error"}, {"filename": "rows.jsonl"}])
def test_a_file_that_is_not_quite_it_is_not_used(
    made: Made, api: OpenAIAPI, tmp_path: Path, change: dict[str, Any]
) -> None:
    backend, asked = made(), order(tmp_path)
    submitted(backend, asked)
    api.files["file-1"] |= change
    submitted(backend, asked, attempt=2)
    assert api.count("POST", "/files") == 2
    assert api.jobs["ftjob-2"]["training_file"] == "file-2"


def test_trainings_that_start_together_send_their_file_once(
    made: Made, api: OpenAIAPI, tmp_path: Path
) -> None:
    """And what one has been told is there is not deleted by another."""
    backend, asked = made(), order(tmp_path)
    backend.account()
    with ThreadPoolExecutor(8) as pool:
        prepared = list(pool.map(lambda _: backend.prepare(asked), range(8)))
    assert {each["training_file"] for each in prepared} == set(api.files)
    assert api.count("POST", "/files") == 1


def test_a_file_that_another_process_sent_too_stays(
    made: Made, api: OpenAIAPI, tmp_path: Path
) -> None:
    made_file = api._create_file

    def twice(request: Any) -> Any:
        mine = made_file(request)
        api.files["file-0"] = {**mine, "id": "file-0"}
        return mine

    routes = [("POST", "/files", lambda _, request: twice(request)), *openai_api._ROUTES[1:]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_api, "_ROUTES", routes)
        prepared = made().prepare(order(tmp_path))
    assert prepared["training_file"] in api.files and len(api.files) == 2


def test_a_file_is_sent_without_being_read_into_memory(api: OpenAIAPI, tmp_path: Path) -> None:
    large = tmp_path / "large.jsonl"
    with large.open("wb") as stream:
        stream.truncate(48 << 20)
    program = (
        "import os, tracemalloc\n"
        "from pathlib import Path\n"
        "from motools.training.openai.asking import client_of\n"
        "from motools.training.openai.files import uploaded\n"
        "from motools.training.openai.options import Options\n"
        f"options = Options(base_url={api.url!r}, api_key_env='TESTS_API_KEY')\n"
        "client = client_of(options)\n"
        "client.files.list()\n"
        "tracemalloc.start()\n"
        f"uploaded(client, options.host, Path({str(large)!r}), 'd' * 64)\n"
        "print(tracemalloc.get_traced_memory()[1])\n"
    )
    peak = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TESTS_API_KEY": openai_api.SECRET},
    ).stdout
    assert api.files["file-1"]["bytes"] == 48 << 20
    assert int(peak) < 8 << 20


# Submitting once


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_what_the_api_refused_was_not_submitted(
    made: Made, api: OpenAIAPI, tmp_path: Path, status: int
) -> None:
    backend, asked = made(), order(tmp_path)
    api.fault(Refused(status), "POST", JOBS)
    with pytest.raises(SubmissionRefusedError, match=str(status)) as refusal:
        submitted(backend, asked)
    assert refusal.value.after is None
    assert api.count("POST", JOBS) == 1


def test_a_full_api_says_when(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    backend, asked = made(), order(tmp_path)
    api.fault(Refused(429, {"retry-after": "7"}), "POST", JOBS)
    with pytest.raises(SubmissionRefusedError) as full:
        submitted(backend, asked)
    assert full.value.after == 7
    api.fault(Refused(429), "POST", JOBS)
    with pytest.raises(SubmissionRefusedError) as full:
        submitted(backend, asked)
    assert full.value.after is not None
    api.fault(Refused(429, {"retry-after": "7"}, "insufficient_quota"), "POST", JOBS)
    with pytest.raises(SubmissionRefusedError) as spent:
        submitted(backend, asked)
    assert spent.value.after is None
    assert api.count("POST", JOBS) == 3 and not api.jobs


@pytest.mark.parametrize(
    "fault",
    [
        Refused(500, done=True),
        Refused(503, {"retry-after": "1"}, done=True),
        Refused(408, done=True),
        Dropped(),
        Dropped(done=True),
    ],
    ids=str,
)
def test_an_answer_that_does_not_tell_is_no_answer(
    made: Made, api: OpenAIAPI, tmp_path: Path, fault: Refused | Dropped
) -> None:
    """And nothing is sent a second time, as the SDK would by itself."""
    backend, asked = made(), order(tmp_path)
    api.fault(fault, "POST", JOBS)
    with pytest.raises(BackendUnavailableError):
        submitted(backend, asked)
    assert api.count("POST", JOBS) == 1
    assert len(backend.find("f" * 64)) == fault.done


# Finding


def test_jobs_are_found_by_their_stamp_whatever_became_of_them(
    made: Made, api: OpenAIAPI, tmp_path: Path
) -> None:
    backend, asked = made(), order(tmp_path)
    api.course = ("running",)
    for attempt, status in enumerate(("failed", "cancelled", "paused", "succeeded", "odd"), 1):
        api.move(submitted(backend, asked, attempt=attempt), status)
    submitted(backend, asked, key="e" * 64)
    found = sorted(backend.find("f" * 64), key=lambda job: job.attempt)
    assert [job.usable for job in found] == [False, False, True, True, True]
    assert [job.id for job in found] == [f"ftjob-{n}" for n in range(1, 6)]
    assert found[0].created_at < found[1].created_at


def test_a_list_that_does_not_heed_the_filter_is_filtered_here(
    made: Made, api: OpenAIAPI, tmp_path: Path
) -> None:
    backend, asked = made(), order(tmp_path)
    submitted(backend, asked, key="e" * 64)
    submitted(backend, asked)
    api.jobs["ftjob-1"]["metadata"] = None
    api.filters = False
    assert [job.id for job in backend.find("f" * 64)] == ["ftjob-2"]


def test_every_page_of_a_list_is_read(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    backend, asked = made(), order(tmp_path)
    first = submitted(backend, asked)
    api.jobs |= {f"copy-{n}": api.jobs[first] | {"id": f"copy-{n}"} for n in range(250)}
    assert len(backend.find("f" * 64)) == 251


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_list_that_is_not_answered_is_not_an_empty_one(
    made: Made, api: OpenAIAPI, status: int
) -> None:
    backend = made()
    backend.account()
    api.fault(Refused(status, {**AT_ONCE, "retry-after": "7"}), "GET", JOBS)
    with pytest.raises(BackendUnavailableError) as unknown:
        backend.find("f" * 64)
    assert unknown.value.after == (None if status in (401, 403) else 7)


# Asking after jobs


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("validating_files", "waiting"),
        ("queued", "waiting"),
        ("running", "running"),
        ("paused", "paused"),
        ("succeeded", "succeeded"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
        ("being_thought_about", "waiting"),
    ],
)
def test_every_status_means_something(
    made: Made, api: OpenAIAPI, tmp_path: Path, status: str, phase: str
) -> None:
    api.course = (status,)
    backend = made()
    answer = backend.poll(submitted(backend, order(tmp_path)))
    assert (answer.phase, answer.said) == (phase, status)
    assert answer.error == ("it did not work" if status == "failed" else "")


def test_events_come_once_and_in_order(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    api.course = ("running",)
    backend = made()
    job_id = submitted(backend, order(tmp_path))
    events = backend.poll(job_id).events
    assert [event.fields for event in events if event.fields] == [
        {"step": 1, "steps": 3, "loss": 3.0},
        {"step": 2, "steps": 3, "loss": 2.0},
        {"step": 3, "steps": 3, "loss": 1.0},
    ]
    api.move(job_id, "succeeded")
    later = backend.poll(job_id, after=events[-1].id).events
    assert [event.message for event in later] == ["the job is succeeded"]


def test_many_events_are_read_page_by_page(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    api.course = ("running",)
    backend = made()
    job_id = submitted(backend, order(tmp_path))
    for _ in range(60):
        api.move(job_id, "running")
    events = backend.poll(job_id).events
    assert [event.id for event in events] == [event["id"] for event in api.events[job_id]]


def test_a_job_that_is_not_there_is_an_error(made: Made) -> None:
    with pytest.raises(BackendError, match=r"404.*ftjob-none") as gone:
        made().poll("ftjob-none")
    assert not isinstance(gone.value, BackendUnavailableError)


def test_a_job_is_cancelled_once(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    api.course = ("running",)
    backend = made()
    job_id = submitted(backend, order(tmp_path))
    backend.cancel(job_id)
    assert api.jobs[job_id]["status"] == "cancelled"
    backend.cancel(job_id)  # it has ended, which is what was wanted
    api.fault(Refused(500, AT_ONCE), "POST", f"{JOBS}/{job_id}/cancel")
    with pytest.raises(BackendUnavailableError):
        backend.cancel(job_id)


def test_the_result_of_a_job(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    api.course = ("running",)
    backend, asked = made(), order(tmp_path, epochs=2)
    job_id = submitted(backend, asked)
    with pytest.raises(BackendError, match="it is running"):
        backend.result(job_id)
    api.move(job_id, "succeeded")
    result = backend.result(job_id)
    account = backend.account()
    name = f"ft:{SNAPSHOT}:tests::{job_id}"
    assert result.model == RemoteRef(account.provider, account.scope, name)
    assert result.metrics == {"trained_tokens": asked.dataset.stat().st_size, "epochs": 2}
    assert result.cost is None
    assert result.provenance["training_file"] == "file-1"


# Whether models are there


def _model(backend: OpenAIBackend, name: str = SNAPSHOT) -> RemoteRef:
    account = backend.account()
    return RemoteRef(account.provider, account.scope, name)


def test_a_model_is_there_until_its_day(made: Made, api: OpenAIAPI) -> None:
    backend = made()
    assert backend.alive(_model(backend)).there
    assert backend.alive(_model(backend)).expires_at is None
    api.add_model("ft:old", shutdown_date="2027-01-14")
    assert backend.alive(_model(backend, "ft:old")).expires_at == 1_799_884_800


def test_a_model_is_gone_only_if_its_own_account_says_so(made: Made, api: OpenAIAPI) -> None:
    backend = made()
    gone = _model(backend, "ft:gone")
    assert not backend.alive(gone).there
    api.project = "proj-other"
    with pytest.raises(BackendUnavailableError, match="nothing is known"):
        backend.alive(gone)
    api.project = ""
    with pytest.raises(BackendUnavailableError, match="nothing is known"):
        backend.alive(gone)


def test_a_model_of_another_account_is_not_asked_after(made: Made, api: OpenAIAPI) -> None:
    backend = made()
    model = RemoteRef(backend.account().provider, "org-tests/proj-other", SNAPSHOT)
    with pytest.raises(BackendUnavailableError, match="it cannot know"):
        backend.alive(model)


def test_an_account_that_is_only_stated_cannot_say_that_a_model_is_gone(made: Made) -> None:
    backend = made(scope="mine")
    assert backend.alive(_model(backend)).there
    with pytest.raises(BackendUnavailableError, match="nothing is known"):
        backend.alive(_model(backend, "ft:gone"))


def test_an_account_that_is_sent_to_openai_can(
    made: Made, monkeypatch: pytest.MonkeyPatch, api: OpenAIAPI
) -> None:
    """Others may pass over the headers that say who asks."""
    named = {"organization": "org-mine", "project": "proj-mine"}
    other = made(**named)
    with pytest.raises(BackendUnavailableError, match="not that this is the account"):
        other.alive(_model(other, "ft:gone"))
    monkeypatch.setattr(options, "OWN_HOST", urlsplit(api.url).netloc)
    own = made(**named)
    assert not own.alive(_model(own, "ft:gone")).there


@pytest.mark.parametrize("fault", [Refused(401), Refused(403), Refused(500, AT_ONCE)], ids=str)
def test_no_answer_says_nothing_about_a_model(made: Made, api: OpenAIAPI, fault: Refused) -> None:
    backend = made()
    model = _model(backend)
    api.fault(fault, "GET", "/models/.*")
    with pytest.raises(BackendUnavailableError):
        backend.alive(model)


# Secrets


def test_the_key_is_shown_nowhere(made: Made, api: OpenAIAPI) -> None:
    backend = made()
    endpoint = backend.endpoint()
    assert endpoint.api_key == openai_api.SECRET
    assert openai_api.SECRET not in f"{endpoint!r} {backend.account()!r} {vars(backend)!r}"
    api.secret = "another"
    with pytest.raises(MotoolsError) as refused:
        backend.find("f" * 64)
    assert openai_api.SECRET not in f"{refused.value} {refused.value.__cause__}"


def test_a_fork_has_connections_of_its_own(made: Made, api: OpenAIAPI, tmp_path: Path) -> None:
    """On a shared one each would read the answers of the other: ids of jobs of other keys."""
    backend = made()
    prepared = backend.prepare(order(tmp_path))

    def submit(child: int) -> bool:
        for number in range(10):
            key = f"{child:032x}{number:032x}"
            job = backend.submit(prepared, Stamp(key, 1))
            if [found.id for found in backend.find(key)] != [job]:
                return False
        return True

    children = []
    for number in range(4):
        child = os.fork()
        if not child:
            try:
                os._exit(0 if submit(number) else 1)
            finally:
                os._exit(2)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ends == [0, 0, 0, 0]
    assert len(api.jobs) == 40


# Answers of another protocol


@pytest.mark.parametrize("body", [b"{}", b'{"error": "no"}', b'{"data": null}', b'"<html>"'])
def test_what_is_no_list_is_not_taken_for_an_empty_one(
    made: Made, api: OpenAIAPI, body: bytes
) -> None:
    """Or a job that is there would be sent again."""
    backend = made()
    backend.account()
    api.fault(Said(body), "GET", "/fine_tuning/jobs")
    with pytest.raises(BackendUnavailableError, match="not a list"):
        backend.find("f" * 64)


@pytest.mark.parametrize("more", [True, None])
def test_a_list_that_repeats_itself_ends(made: Made, api: OpenAIAPI, more: bool | None) -> None:
    backend = made()
    backend.account()
    job = {"id": "ftjob-1", "created_at": 1, "status": "running", "metadata": {KEY: "f" * 64}}
    page = {"data": [job], "object": "list"} | ({} if more is None else {"has_more": more})
    api.fault(Said(json.dumps(page).encode()), "GET", "/fine_tuning/jobs", times=9)
    if more is None:  # it knows no pages
        assert [found.id for found in backend.find("f" * 64)] == ["ftjob-1"]
        return
    with pytest.raises(BackendUnavailableError, match="again and again"):
        backend.find("f" * 64)


@pytest.mark.parametrize("body", [b"{}", b'{"error": {"message": "no"}}', b'"<html>"'])
def test_what_is_no_job_leaves_open_whether_there_is_one(
    made: Made, api: OpenAIAPI, tmp_path: Path, body: bytes
) -> None:
    backend = made()
    prepared = backend.prepare(order(tmp_path))
    api.fault(Said(body), "POST", "/fine_tuning/jobs")
    with pytest.raises(BackendUnavailableError, match="not with a job"):
        backend.submit(prepared, Stamp("f" * 64, 1))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 1.0),
        ({"retry-after": "-5"}, 1.0),
        ({"retry-after": "1e9"}, 3600.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 01 Jan 99999 00:00:00 GMT"}, None),
        # By the clock of whoever says it.
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT",
                "date": "Thu, 01 Jan 2026 00:00:00 GMT",
            },
            30.0,
        ),
    ],
)
def test_how_long_to_wait_is_bounded(said: dict[str, str], seconds: float | None) -> None:
    assert retry_after(said) == seconds


# Options


@pytest.mark.parametrize(
    "given",
    [
        {"finds": "false"},
        {"timeout": "60"},
        {"timeout": 0},
        {"visibility_seconds": "120"},
        {"visibility_seconds": -1},
        {"visibility_seconds": float("nan")},
        {"organization": "Órg"},
        {"project": "proj\n"},
        {"base_url": "user:word@host/v1"},
        {"base_url": "ftp://user:word@host"},
    ],
    ids=str,
)
def test_an_option_of_another_kind_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as refused:
        options.Options(**given)
    assert "word" not in str(refused.value)
    assert next(iter(given)) in str(refused.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com:443/v1", "api.openai.com"),
        ("https://API.OpenAI.com/v1", "api.openai.com"),
        ("http://lab:80/v1", "lab"),
        ("http://lab:8000/v1", "lab:8000"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
    ],
)
def test_one_api_has_one_name(url: str, host: str) -> None:
    assert options.Options(base_url=url).host == host


def test_a_key_may_end_in_a_newline_and_have_nothing_odd_in_it(
    made: Made, api: OpenAIAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", f"{openai_api.SECRET}\n")
    assert made(api_key_env="OTHER_KEY").account() == made().account()
    monkeypatch.setenv("OTHER_KEY", f"{openai_api.SECRET}\u2026")
    with pytest.raises(MotoolsError, match="OTHER_KEY has characters") as refused:
        made(api_key_env="OTHER_KEY").account()
    assert openai_api.SECRET not in str(refused.value)
