"""Jobs that wait, pause, end early, and outlive their server."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from motools import Dataset, FineTuneConfig
from motools.cache import Action, Cache, CacheUtils, Claim
from motools.steps.train import Train
from motools.upkeep import prune
from motools.upkeep.policy import Budget, Policy
from tests.filled import fill
from tests.server.running import PATIENCE, Running, order, rows, running, upload, wait

LONG = {"epochs": 500, "batch_size": 4, "learning_rate": 1e-4}
"""A thousand steps."""


def ordered(client: openai.OpenAI, file: str, **config: Any) -> str:
    body = {"motools": {"config": config}}
    return client.fine_tuning.jobs.create(model="tiny", training_file=file, extra_body=body).id


def steps(client: openai.OpenAI, job: str) -> list[int]:
    """The steps that events tell of, the first first."""
    events = client.fine_tuning.jobs.list_events(job, limit=100)
    data: list[Any] = [event.data for event in events if event.type == "metrics"]
    return [each["step"] for each in reversed(data)]


def told(client: openai.OpenAI, job: str) -> str:
    return "\n".join(event.message for event in client.fine_tuning.jobs.list_events(job))


def until_told(client: openai.OpenAI, job: str, text: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while text not in (said := told(client, job)):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def until_step(client: openai.OpenAI, job: str, step: int) -> int:
    deadline = time.monotonic() + PATIENCE
    while not (made := steps(client, job)) or made[-1] < step:
        assert time.monotonic() < deadline, told(client, job)
        time.sleep(0.1)
    return made[-1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("queue") / "cache"
    with running(root, "--save-seconds", "0.2") as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Running) -> openai.OpenAI:
    return site.client()


def test_a_job_pauses_makes_room_and_goes_on(client: openai.OpenAI) -> None:
    file = upload(client).id
    job = ordered(client, file, **{**LONG, "epochs": 60})
    until_step(client, job, 10)
    paused = client.fine_tuning.jobs.pause(job)
    assert paused.status == "paused"
    assert paused.finished_at is None
    other = order(client, file)
    assert wait(client, other.id).status == "succeeded"
    assert client.fine_tuning.jobs.retrieve(job).status == "paused"
    with pytest.raises(openai.ConflictError, match="paused"):
        client.fine_tuning.jobs.pause(job)
    reached = steps(client, job)[-1]
    assert client.fine_tuning.jobs.resume(job).status == "queued"
    wait(client, job, ("running",))
    hit = wait(client, order(client, file).id)
    assert hit.motools["hit"], "a hit waits for no training"  # type: ignore[attr-defined]
    assert client.fine_tuning.jobs.retrieve(job).status == "running"
    done = wait(client, job)
    assert done.status == "succeeded"
    assert "going on after step" in told(client, job)
    made = steps(client, job)
    assert 1 not in made[made.index(reached) + 1 :]
    assert made[-1] == 120
    with pytest.raises(openai.ConflictError, match="succeeded"):
        client.fine_tuning.jobs.resume(job)


def test_a_cancelled_job_frees_the_device_and_leaves_no_model(
    site: Running, client: openai.OpenAI
) -> None:
    file = upload(client).id
    job = ordered(client, file, **LONG)
    until_step(client, job, 2)  # whichever is validated first is trained first
    waiting = ordered(client, file, **{**LONG, "seed": 1})
    wait(client, waiting, ("queued",))
    assert client.fine_tuning.jobs.cancel(waiting).status == "cancelled"
    cancelled = client.fine_tuning.jobs.cancel(job)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at is not None
    assert wait(client, order(client, file, seed=5).id).status == "succeeded", "it is free"
    for each in (job, waiting):
        with pytest.raises(openai.ConflictError, match="cancelled"):
            client.fine_tuning.jobs.cancel(each)
        assert client.fine_tuning.jobs.retrieve(each).fine_tuned_model is None


def test_a_file_that_a_job_needs_stays(client: openai.OpenAI) -> None:
    file = upload(client).id
    job = ordered(client, file, **{**LONG, "seed": 9})
    with pytest.raises(openai.ConflictError, match=job) as refused:
        client.with_options(max_retries=5).files.delete(file)
    assert refused.value.response.headers["x-should-retry"] == "false"
    client.fine_tuning.jobs.cancel(job)
    assert client.files.delete(file).deleted


def test_what_a_client_planned_is_what_is_trained(client: openai.OpenAI) -> None:
    file = upload(client).id
    found = client.post(
        "/motools/resolve",
        cast_to=dict[str, Any],  # type: ignore[arg-type]
        body={"model": "tiny", "config": {"epochs": 1, "batch_size": 4, "seed": 0}},
    )
    digest = str(Dataset.from_rows(rows()).identify().digest)
    inputs = {"dataset": digest, "base_model": found["base_model"]}
    action = Action("model", inputs=inputs, config=found["config"], backend=found["backend"])
    config = {"epochs": 1, "batch_size": 4, "seed": 0}

    def expecting(key: str) -> Any:
        return client.fine_tuning.jobs.create(
            model="tiny",
            training_file=file,
            extra_body={"motools": {"config": config, "expect": {"key": key}}},
        )

    count = len(list(client.fine_tuning.jobs.list()))
    with pytest.raises(openai.ConflictError) as refused:
        expecting("0" * 64)
    assert refused.value.code == "recipe_changed"
    assert len(list(client.fine_tuning.jobs.list())) == count
    job = wait(client, expecting(action.key).id)
    assert job.status == "succeeded"
    assert job.motools["key"] == action.key  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["released", "cleared"])
def test_a_model_that_is_gone_is_made_again(site: Running, client: openai.OpenAI, how: str) -> None:
    file = upload(client).id
    job = wait(client, order(client, file, seed=0).id)
    name = str(job.fine_tuned_model)
    assert client.models.retrieve(name).id == name
    key = job.motools["key"]  # type: ignore[attr-defined]
    if how == "cleared":
        assert CacheUtils(site.root).clear_models([key]) == 1
    else:
        cache = Cache.open(site.root)
        policy = Policy(Budget(max_size=0), spare=0)
        prune.execute(cache, prune.plan(cache, policy, now=time.time() + 60))
        assert cache.entry(key).released
    with pytest.raises(openai.NotFoundError, match="the same job makes it again"):
        client.models.retrieve(name)
    again = wait(client, order(client, file, seed=0).id)
    assert again.motools["hit"] is False  # type: ignore[attr-defined]
    assert client.models.retrieve(name).id == name


def test_a_budget_is_kept_where_a_server_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motools.toml").write_text('[budget.model]\nmax_size = "0B"\n')
    filled = fill(tmp_path / "cache")
    cache = Cache.open(filled.root)
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET created_at = 0")
        transaction.run("DELETE FROM statistics")
    with running(filled.root) as site:
        client = site.client()
        made = wait(client, order(client, upload(client).id, seed=1).id)
        assert made.status == "succeeded"
        assert client.models.retrieve(str(made.fine_tuned_model))
    kept = {entry.key: entry.released for entry in cache.entries(kind="model")}
    assert kept.pop(made.motools["key"]) is False  # type: ignore[attr-defined]
    assert True in kept.values()


def test_the_server_says_who_it_is(site: Running, client: openai.OpenAI) -> None:
    found = client.get("/motools", cast_to=dict[str, Any])  # type: ignore[arg-type]
    assert found["id"] == Cache.open(site.root, create=False).id
    assert (found["object"], found["account"]) == ("motools.server", "local")


def test_two_servers_of_one_cache_are_refused(site: Running, client: openai.OpenAI) -> None:
    with (
        pytest.raises(AssertionError, match=r"another server serves the cache.*pid"),
        running(site.root),
    ):
        pass
    assert client.models.list().data


def test_a_job_that_is_said_to_run_and_does_not_goes_on(
    site: Running, client: openai.OpenAI
) -> None:
    """The database was out of reach when it should have been told that it does not."""
    file = upload(client).id
    job = ordered(client, file, **{**LONG, "seed": 3})
    wait(client, job, ("running",))
    client.fine_tuning.jobs.pause(job)
    with Cache.open(site.root).database.write() as transaction:
        transaction.run("UPDATE server_jobs SET status = 'running' WHERE id = :job", job=job)
    other = order(client, file, seed=4).id
    until_told(client, job, "was interrupted, and goes on")
    client.fine_tuning.jobs.cancel(job)
    assert wait(client, other).status == "succeeded"


def test_a_job_that_cannot_be_done_now_lets_others_go_first(
    site: Running, client: openai.OpenAI
) -> None:
    file = upload(client).id
    cache = Cache.open(site.root)
    config = FineTuneConfig(base_model="tiny", epochs=1, batch_size=4, seed=5)
    in_the_way = site.root / "jobs" / Train(Dataset.from_rows(rows()), config).action(cache).key
    in_the_way.write_text("")
    job = ordered(client, file, epochs=1, batch_size=4, seed=5)
    until_told(client, job, "cannot lock")
    assert wait(client, order(client, file, seed=6).id).status == "succeeded"
    assert client.fine_tuning.jobs.retrieve(job).status == "queued"
    in_the_way.unlink()
    assert wait(client, job).status == "succeeded"


def test_a_job_that_is_done_waits_for_room_to_say_so(site: Running, client: openai.OpenAI) -> None:
    file = upload(client).id
    assert wait(client, order(client, file, seed=7).id).status == "succeeded"
    uploads = site.root / "server" / "uploads"
    uploads.rename(uploads.with_name("elsewhere"))
    job = order(client, file, seed=7).id
    deadline = time.monotonic() + PATIENCE
    while "cannot keep step_metrics.csv" not in site.log.read_text():
        assert time.monotonic() < deadline, client.fine_tuning.jobs.retrieve(job)
        time.sleep(0.1)
    uploads.with_name("elsewhere").rename(uploads)
    assert wait(client, job).status == "succeeded"


@contextmanager
def held(root: Path, **config: Any) -> Iterator[None]:
    """Have a job of this config wait: somebody else trains it."""
    cache = Cache.open(root)
    step = Train(Dataset.from_rows(rows()), FineTuneConfig(base_model="tiny", **config))
    claim = cache.claim(step.action(cache))
    assert isinstance(claim, Claim)
    with claim:
        yield


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with held(root, **LONG), running(root, "--queue", "2") as site:
        client = site.client()
        file = upload(client).id
        job = ordered(client, file, **LONG)
        until_told(client, job, "is run by")
        order(client, file)
        with pytest.raises(openai.RateLimitError, match="the queue is full") as refused:
            order(client, file)
        assert refused.value.code == "queue_full"
        assert int(refused.value.response.headers["retry-after"]) > 0
        client.fine_tuning.jobs.cancel(job)
        assert order(client, file).status == "validating_files"


def test_a_training_goes_on_after_its_server_was_killed(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with running(root, "--save-seconds", "0.2") as site:
        client = site.client()
        job = ordered(client, upload(client).id, **LONG)
        until_step(client, job, 5)
        assert site.end(signal.SIGKILL) == -signal.SIGKILL
    with running(root, "--save-seconds", "0.2") as site:
        client = site.client()
        until_told(client, job, "going on after step")
        assert site.end(signal.SIGTERM) == 0, "a training is ended at once"


def test_two_hundred_jobs_outlive_five_servers(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    mine: list[str] = []
    with held(root, **LONG):
        for number in range(5):
            with running(root) as site:
                client = site.client()
                file = upload(client).id
                if not mine:
                    first = ordered(client, file, **LONG)
                for at in range(40):
                    seed = 1 if (number, at) == (1, 0) else 0
                    mine.append(order(client, file, seed=seed).id)
                assert site.end(signal.SIGKILL if number % 2 else signal.SIGTERM) in (0, -9)
        with running(root) as site:
            client = site.client()
            listed = [job.id for job in client.fine_tuning.jobs.list(limit=70)]
            assert listed == [*mine[::-1], first]
            client.fine_tuning.jobs.cancel(first)
            done = [wait(client, job) for job in mine]
            assert {job.status for job in done} == {"succeeded"}
            assert len({job.fine_tuned_model for job in done}) == 200
            assert sum(not job.motools["hit"] for job in done) == 2  # type: ignore[attr-defined]
            assert len(client.models.list().data) == 201
    assert len(Cache.open(root).entries("model")) == 2
