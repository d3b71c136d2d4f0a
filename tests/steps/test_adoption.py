"""A job is adopted only if it does what the key says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from motools import Dataset, FineTuneConfig
from motools.cache import Cache
from motools.errors import BackendError, BackendUnavailableError
from motools.jobs import Stamp
from motools.steps import jobs
from motools.steps.adoption import adopt, require_same
from motools.steps.jobs import Work
from motools.steps.options import RunOptions
from motools.steps.train import Train
from motools.training import registry
from motools.training.provider import Describes
from tests.training.lab import opened
from tests.training.lessons import greeting_rows, said
from tests.training.openai_api import SNAPSHOT, OpenAIAPI, Refused

CONFIG = {"epochs": 2, "batch_size": 4, "trainer": {"learning_rate_multiplier": 0.5}}
JOB = "ftjob-1"


def step(rows: list[Any] | None = None, **changes: Any) -> Train:
    dataset = Dataset.from_rows(greeting_rows() if rows is None else rows)
    validation = changes.pop("validation", None)
    replicate = changes.pop("replicate", 0)
    config = FineTuneConfig(**{"base_model": SNAPSHOT, **CONFIG, **changes})
    return Train(dataset, config, "lab", RunOptions(), replicate, validation)


def work(cache: Cache, of: Train) -> Work:
    action = of.action(cache)
    return Work(action.key, action.canonical.decode(), {"backend": "lab"})


@pytest.fixture
def cache(api: OpenAIAPI) -> Cache:
    return opened()


Submitted = Callable[..., None]


@pytest.fixture
def submitted(api: OpenAIAPI, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Submitted:
    """A job for a training in flight at the API, as somebody sent it who has not this cache."""
    from motools.training.openai.backend import OpenAIBackend

    def submit(of: Train, *, stamped: bool = False) -> None:
        api.course = ("running",)
        sent: list[Any] = []

        def note(self: OpenAIBackend, prepared: Any, stamp: Stamp) -> str:
            sent.append((self, prepared, stamp))
            raise Sent

        class Sent(Exception):
            pass

        with monkeypatch.context() as patch:
            patch.setattr(OpenAIBackend, "submit", note)
            with pytest.raises(Sent):
                cache.get_or_run(of.action(cache), of.run)
        [(backend, prepared, stamp)] = sent
        backend.submit(prepared, stamp)
        for attempt in cache.attempts.of_key(stamp.key):
            cache.attempts.forget(stamp.key, attempt.attempt, "it was somebody else's")
        if not stamped:
            api.jobs[JOB]["metadata"] = None

    return submit


def test_the_backend_can_describe(api: OpenAIAPI, cache: Cache) -> None:
    assert isinstance(registry.backend("lab", cache.settings.backends), Describes)


@pytest.mark.parametrize("stamped", [True, False])
def test_the_same_is_adopted(
    api: OpenAIAPI, cache: Cache, submitted: Submitted, *, stamped: bool
) -> None:
    submitted(step(seed=3), stamped=stamped)
    assert adopt(cache, work(cache, step(seed=3)), JOB) == 2  # one was forgotten
    api.move(JOB, "succeeded")
    action = step(seed=3).action(cache)
    entry = cache.get_or_run(action, step(seed=3).run)
    assert entry.remote.id == api.jobs[JOB]["fine_tuned_model"]
    assert len(api.jobs) == 1


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"base_model": "gpt-4.1-mini-2025-04-14"}, "base_model"),
        ({"epochs": 3}, "epochs"),
        ({"batch_size": 8}, "batch_size"),
        ({"trainer": {"learning_rate_multiplier": 2.0}}, "learning_rate_multiplier"),
        ({"seed": 1}, "seed"),
        ({"rows": greeting_rows()[1:]}, "dataset"),
        ({"method": "dpo"}, "method"),
        ({"validation": Dataset.from_rows(greeting_rows()[:2])}, "validation"),
        ({"replicate": 1}, "replicate"),
        ({"epochs": None}, "epochs: the key leaves it to the provider"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_differs_is_named(
    api: OpenAIAPI, cache: Cache, submitted: Submitted, wanted: dict[str, Any], field: str
) -> None:
    submitted(step())
    with pytest.raises(BackendError, match=field) as refusal:
        adopt(cache, work(cache, step(**wanted)), JOB)
    assert "Nothing was changed" in str(refusal.value)
    assert cache.attempts.of_key(step(**wanted).action(cache).key) == []


def test_a_job_with_rows_to_measure_on_is_another_one(cache: Cache, submitted: Submitted) -> None:
    held_out = Dataset.from_rows(greeting_rows()[:2])
    submitted(step(validation=held_out))
    with pytest.raises(BackendError, match="validation: the job has one, and the key none"):
        adopt(cache, work(cache, step()), JOB)
    adopt(cache, work(cache, step(validation=held_out)), JOB)


def test_what_was_submitted_for_another_key_is_that_keys(
    cache: Cache, submitted: Submitted
) -> None:
    submitted(step(seed=1), stamped=True)
    with pytest.raises(BackendError, match=r"it was submitted for [0-9a-f]{12}"):
        adopt(cache, work(cache, step()), JOB)


def test_of_our_own_job_the_provider_may_have_chosen(
    api: OpenAIAPI, cache: Cache, submitted: Submitted
) -> None:
    """As it does when a job begins: it then says numbers in place of ``auto``."""
    open_ = {"epochs": None, "batch_size": None, "trainer": {}}
    submitted(step(**open_), stamped=True)
    part = api.jobs[JOB]["method"]["supervised"]
    part["hyperparameters"] = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}
    api.jobs[JOB]["hyperparameters"] = part["hyperparameters"]
    adopt(cache, work(cache, step(**open_)), JOB)


def test_preferences_are_held_against_the_dataset(
    api: OpenAIAPI, cache: Cache, submitted: Submitted
) -> None:
    rows = [
        {"prompt": said(f"Hi {n}"), "chosen": said("", "Ho")[1:], "rejected": said("", "No")[1:]}
        for n in range(3)
    ]
    how = {"method": "dpo", "trainer": {"learning_rate_multiplier": 1.0, "beta": 0.1}}
    submitted(step(rows, **how))
    with pytest.raises(BackendError, match=f"{JOB} is not adopted .* dataset"):
        adopt(cache, work(cache, step(rows[1:], **how)), JOB)
    adopt(cache, work(cache, step(rows, **how)), JOB)


def test_rows_that_are_not_handed_out_are_known_by_the_name_of_their_file(
    api: OpenAIAPI, cache: Cache, submitted: Submitted
) -> None:
    submitted(step())
    api.fault(Refused(400), "GET", "/files/file-1/content", times=9)
    with pytest.raises(BackendError, match="dataset: the job learns from"):
        adopt(cache, work(cache, step(greeting_rows()[1:])), JOB)
    named = api.files["file-1"]["filename"]
    api.files["file-1"]["filename"] = "rows.jsonl"
    with pytest.raises(BackendError, match="dataset: the provider no longer has"):
        adopt(cache, work(cache, step()), JOB)
    api.files["file-1"]["filename"] = named
    adopt(cache, work(cache, step()), JOB)


def test_a_file_that_says_it_is_another_is_read(
    api: OpenAIAPI, cache: Cache, submitted: Submitted
) -> None:
    submitted(step())
    api.contents["file-1"] = api.contents["file-1"].replace(b"Ann", b"Bad")
    with pytest.raises(BackendError, match="dataset: the job learns from"):
        adopt(cache, work(cache, step()), JOB)
    api.contents["file-1"] = b"not rows\n"
    with pytest.raises(BackendError, match="dataset: the job's rows cannot be read"):
        adopt(cache, work(cache, step()), JOB)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_came_to_nothing_is_not_wanted(
    api: OpenAIAPI, cache: Cache, submitted: Submitted, status: str
) -> None:
    submitted(step())
    api.move(JOB, status)
    with pytest.raises(BackendError, match=f"it has {status}"):
        adopt(cache, work(cache, step()), JOB)


def test_a_job_that_is_not_there(cache: Cache) -> None:
    with pytest.raises(BackendError, match="404"):
        adopt(cache, work(cache, step()), "ftjob-none")


def test_a_provider_out_of_reach_is_no_yes(
    api: OpenAIAPI, cache: Cache, submitted: Submitted
) -> None:
    submitted(step())
    wanted = work(cache, step())
    api.secret = "another"
    with pytest.raises(BackendUnavailableError):
        adopt(cache, wanted, JOB)


def test_one_job_at_a_time(api: OpenAIAPI, cache: Cache, submitted: Submitted) -> None:
    submitted(step())
    api.jobs["ftjob-2"] = {**api.jobs[JOB], "id": "ftjob-2"}
    api.events["ftjob-2"], api._ahead["ftjob-2"] = [], []
    adopt(cache, work(cache, step()), JOB)
    with pytest.raises(BackendError, match=r"ftjob-1 is at work for it: `motools jobs cancel`"):
        adopt(cache, work(cache, step()), "ftjob-2")


def test_an_attempt_is_one_whose_end_is_unclear(cache: Cache, submitted: Submitted) -> None:
    submitted(step())
    with pytest.raises(BackendError, match="attempt 1 is not one whose end is unclear"):
        adopt(cache, work(cache, step()), JOB, attempt=1)


def test_a_backend_that_cannot_describe_adopts_nothing(cache: Cache) -> None:
    mute: Any = object()
    with pytest.raises(BackendError, match="cannot say what a job was told to do"):
        require_same(cache, work(cache, step()), JOB, mute)


def test_of_what_nothing_is_kept_no_provider_is_known(cache: Cache) -> None:
    nothing = jobs.works(cache, ["f" * 64])["f" * 64]
    with pytest.raises(BackendUnavailableError, match="nothing is kept of what ffffffffffff"):
        adopt(cache, nothing, JOB)
