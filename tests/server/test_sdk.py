"""OpenAI's SDK, unmodified, drives a server through all that it serves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from openai.types.fine_tuning import FineTuningJob

from motools import Dataset, FineTuneConfig
from motools.cache import Cache
from motools.steps.train import Train
from tests.server.running import Running, lines, order, rows, running, upload, wait

SUPERVISED: dict[str, Any] = {"type": "supervised"}
EPOCHS = "method.supervised.hyperparameters.n_epochs"
MANY = {"n_epochs": 1e308}
SAME = {"epochs": 1, "batch_size": 4}
"""What orders say anyway."""
ASKED: list[Any] = [{"role": "user", "content": "Is 3 a number?"}]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("sdk") / "cache") as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Running) -> openai.OpenAI:
    return site.client()


@pytest.fixture(scope="module")
def trained(client: openai.OpenAI) -> FineTuningJob:
    """A job that has trained a model which says yes."""
    file = upload(client, lines(rows(16)))
    hyperparameters = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 2}
    job = order(
        client,
        file.id,
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        suffix="yes",
        metadata={"project": "sdk", "run": "first"},
        seed=3,
    )
    assert job.status == "validating_files"
    job = wait(client, job.id)
    assert job.status == "succeeded", job.error
    return job


def test_files(client: openai.OpenAI) -> None:
    data = lines(rows(3))
    made = client.files.create(file=("my rows.jsonl", data), purpose="fine-tune")
    assert (made.filename, made.bytes, made.purpose) == ("my rows.jsonl", len(data), "fine-tune")
    assert client.files.wait_for_processing(made.id).status == "processed"
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == data
    assert made.id in [each.id for each in client.files.list(purpose="fine-tune")]
    assert made.id not in [each.id for each in client.files.list(purpose="batch")]
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(made.id)


def test_lists_come_in_pages(client: openai.OpenAI) -> None:
    made = [upload(client, lines(rows(1 + number))).id for number in range(5)]
    assert [each.id for each in client.files.list(limit=2)][:5] == made[::-1]
    assert [each.id for each in client.files.list(limit=2, order="asc")][-5:] == made
    page = client.files.list(limit=2)
    assert [page.has_more, len(page.data)] == [True, 2]
    for each in made:
        client.files.delete(each)
    with pytest.raises(openai.BadRequestError, match="not in this list"):
        client.files.list(after=made[0])


def test_a_job_trains_a_model(client: openai.OpenAI, trained: FineTuningJob) -> None:
    assert trained.model == "tiny"
    assert trained.fine_tuned_model == f"ft:tiny:local:yes:{trained.id[-16:]}"
    assert trained.seed == 3
    assert trained.metadata == {"project": "sdk", "run": "first"}
    assert trained.trained_tokens is not None
    assert trained.trained_tokens > 100
    assert trained.finished_at is not None
    assert trained.hyperparameters.learning_rate_multiplier == 2
    events = list(client.fine_tuning.jobs.list_events(trained.id, limit=2))
    told = [event.message for event in reversed(events)]
    assert told[0] == f"Created fine-tuning job: {trained.id}"
    assert told[1].startswith("Validating training file")
    assert told[2] == "Files validated, moving job to queued state"
    assert told[3] == "Fine-tuning job started"
    assert told[-1] == "The job has successfully completed"
    metrics = [event.data for event in events if event.type == "metrics"]
    assert metrics[0]["step"] == metrics[0]["total_steps"] == 8
    (results,) = trained.result_files
    table = client.files.content(results).text.splitlines()
    assert table[0] == "step,train_loss"
    assert len(table) == 9
    # Of a training that takes less than a second, only the last step is an event.
    assert metrics[0]["train_loss"] < float(table[1].split(",")[1])


def test_the_adapter_is_the_one_that_is_trained_directly(
    site: Running, trained: FineTuningJob, tmp_path: Path
) -> None:
    config = FineTuneConfig(base_model="tiny", epochs=2, batch_size=4, seed=3, learning_rate=0.006)
    step = Train(Dataset.from_rows(rows(16)), config)
    served = Cache.open(site.root, create=False)
    (kept,) = served.look_up([step.action(served)])
    assert kept is not None
    assert trained.motools["key"] == kept.key  # type: ignore[attr-defined]
    own = Cache.open(tmp_path / "own")
    made = own.get_or_run(step.action(own), step.run)
    assert not made.hit
    assert [row[:2] for row in made.file_rows] == [row[:2] for row in kept.file_rows]
    assert made.value == kept.value


def test_the_same_job_again_trains_nothing(client: openai.OpenAI, trained: FineTuningJob) -> None:
    file = client.files.content(trained.training_file).read()
    again = order(
        client,
        upload(client, file + b"\n").id,
        method=trained.method.to_dict(),  # type: ignore[union-attr]
        seed=3,
    )
    again = wait(client, again.id)
    assert again.motools["hit"]  # type: ignore[attr-defined]
    assert again.status == "succeeded"
    assert again.fine_tuned_model == f"ft:tiny:local::{again.id[-16:]}"
    told = [event.message for event in client.fine_tuning.jobs.list_events(again.id)]
    assert "the cache had the model" in told[0]


def test_jobs_are_listed_and_found(client: openai.OpenAI, trained: FineTuningJob) -> None:
    file = upload(client, b"no json\n").id
    mine = [order(client, file, metadata={"n": str(n), "list": "x"}).id for n in range(3)]
    listed = [job.id for job in client.fine_tuning.jobs.list(limit=2)]
    assert listed[:3] == mine[::-1]
    assert listed[-1] == trained.id
    after = client.fine_tuning.jobs.list(after=mine[1], limit=1)
    assert ([job.id for job in after.data], after.has_more) == ([mine[0]], True)

    def found(**metadata: str) -> list[str]:
        return [job.id for job in client.fine_tuning.jobs.list(metadata=metadata)]

    assert found(list="x") == mine[::-1]
    assert found(list="x", n="1") == [mine[1]]
    assert found(list="y") == []
    for wrong in ({"a": "\0"}, {f"n{at}": "x" for at in range(17)}):
        with pytest.raises(openai.BadRequestError, match="metadata: "):
            found(**wrong)
    without = client.fine_tuning.jobs.list(extra_query={"metadata": "null"})
    assert not {trained.id, *mine} & {job.id for job in without}


def test_a_bad_file_fails_its_job_with_the_line(client: openai.OpenAI) -> None:
    wrong = [
        (b'{"messages": [}\n', "bad.jsonl, line 1"),
        (lines(rows(2)) + b'\n\n{"messages": []}\n', "bad.jsonl, line 5, messages"),
        (lines(rows(1)) + b'{"prompt": "x"}\n', "bad.jsonl, line 2"),
        (lines(rows(1, "long " * 5000)), "bad.jsonl, line 1"),
    ]
    for data, place in wrong:
        job = wait(client, order(client, upload(client, data, "bad.jsonl").id).id)
        assert job.status == "failed"
        assert job.error is not None
        assert job.error.code == "invalid_training_file"
        assert job.error.param == "training_file"
        assert job.error.message.startswith(place)
        assert job.fine_tuned_model is None


def test_models(client: openai.OpenAI, trained: FineTuningJob) -> None:
    name = str(trained.fine_tuned_model)
    assert {"tiny", name} <= {model.id for model in client.models.list()}
    model = client.models.retrieve(name)
    assert (model.id, model.owned_by) == (name, "local")
    served = client.models.retrieve("tiny")
    assert len(served.motools["digest"]) == 64  # type: ignore[attr-defined]
    assert served.motools["digest"] != model.motools["digest"]  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("tiny")


def test_a_deleted_model_is_gone_and_its_job_finds_it_again(
    client: openai.OpenAI, trained: FineTuningJob
) -> None:
    method: Any = trained.method
    job = wait(client, order(client, trained.training_file, method=method.to_dict(), seed=3).id)
    name = str(job.fine_tuned_model)
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(name)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=name, messages=ASKED)
    again = wait(client, order(client, trained.training_file, method=method.to_dict(), seed=3).id)
    assert again.motools["hit"]  # type: ignore[attr-defined]


def _asked(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(model=model, messages=ASKED, max_tokens=8)
    return str(answer.choices[0].message.content)


def test_checkpoints_are_models(client: openai.OpenAI, trained: FineTuningJob) -> None:
    config = {"epochs": 2, "batch_size": 8, "keep_checkpoints": "epoch"}
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=trained.training_file,
        extra_body={"motools": {"config": config}},
    )
    job = wait(client, job.id)
    first, *others = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [each.step_number for each in (first, *others)] == [4, 2][-1 - len(others) :]
    name = first.fine_tuned_model_checkpoint
    assert name.startswith(f"{job.fine_tuned_model}:ckpt-step-")
    assert first.metrics.train_loss is not None
    answer = client.chat.completions.create(model=name, messages=ASKED, max_tokens=4)
    assert answer.model == name


def test_chat(client: openai.OpenAI, trained: FineTuningJob) -> None:
    name = str(trained.fine_tuned_model)
    answer = client.chat.completions.create(model=name, messages=ASKED, max_tokens=8)
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("yes", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == (
        answer.usage.prompt_tokens + answer.usage.completion_tokens
    )
    parts = [{"type": "text", "text": ASKED[0]["content"]}]
    same = client.chat.completions.create(
        model=name, messages=[{"role": "user", "content": parts}], max_completion_tokens=8
    )
    assert same.choices[0].message.content == "yes"
    short = client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=2)
    assert short.choices[0].finish_reason == "length"


def test_chat_draws_with_a_seed(client: openai.OpenAI) -> None:
    def drawn(**settings: Any) -> str:
        answer = client.chat.completions.create(
            model="tiny", messages=ASKED, max_tokens=12, temperature=1, **settings
        )
        return str(answer.choices[0].message.content)

    assert drawn(seed=1) == drawn(seed=1)
    assert drawn(seed=1) != drawn(seed=2)
    assert drawn() != drawn()


def test_chat_stops_before_a_stop_text(client: openai.OpenAI) -> None:
    def asked(**settings: Any) -> Any:
        return client.chat.completions.create(
            model="tiny", messages=ASKED, max_tokens=12, **settings
        ).choices[0]

    whole = asked().message.content
    stop = whole[3:5]
    cut = asked(stop=stop)
    assert (cut.message.content, cut.finish_reason) == (whole[: whole.index(stop)], "stop")


def test_chat_is_streamed(client: openai.OpenAI) -> None:
    started = time.monotonic()
    chunks, arrived = [], []
    with client.chat.completions.create(
        model="tiny",
        messages=ASKED,
        max_tokens=200,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        for chunk in stream:
            chunks.append(chunk)
            arrived.append(time.monotonic() - started)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    whole = client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=200)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(chunks) > 5
    assert arrived[2] < arrived[-1], "what is there is sent before the rest is"


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_nobody_waits_for_is_ended(client: openai.OpenAI, stream: bool) -> None:
    """Or the next one would have to wait for all of its tokens."""
    long: Any = {"model": "tiny", "messages": ASKED, "max_tokens": 2**17}
    if stream:
        with client.chat.completions.create(**long, stream=True) as answer:
            for _, _ in zip(range(3), answer, strict=False):
                pass
    else:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=2).chat.completions.create(**long)
    asked = client.with_options(timeout=100).chat.completions.create(
        model="tiny", messages=ASKED, max_tokens=2
    )
    assert asked.choices[0].finish_reason == "length"


def test_messages_that_are_longer_than_the_context_are_refused(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "number " * 200_000}]
    with pytest.raises(openai.BadRequestError, match="the model's context") as refused:
        client.chat.completions.create(model="tiny", messages=messages, max_tokens=2)
    assert refused.value.code == "context_length_exceeded"


def test_a_stream_ends_before_a_stop_text(client: openai.OpenAI) -> None:
    def asked(**settings: Any) -> Any:
        return client.chat.completions.create(
            model="tiny", messages=ASKED, max_tokens=60, **settings
        )

    whole = asked().choices[0].message.content
    stop = [whole[30:36], whole[50:54]]
    chunks = list(asked(stream=True, stop=stop))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == asked(stop=stop).choices[0].message.content
    assert not any(word in text for word in stop)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_that_cannot_begin_is_an_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="none", messages=ASKED, stream=True)


def test_a_model_is_loaded_again_when_what_held_it_died(
    site: Running, client: openai.OpenAI
) -> None:
    before = _asked(client, "tiny")
    children = psutil.Process(site.process.pid).children(recursive=True)
    for child in children:
        child.kill()
    deadline = time.monotonic() + 60
    while True:
        try:
            assert _asked(client, "tiny") == before
            break
        except openai.InternalServerError as problem:
            assert problem.status_code == 503  # it was asked while it died
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "n"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"extra_body": {"min_p": 0.1}}, "min_p"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "y"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0.name"),
    ],
)
def test_chat_refuses_what_it_cannot_honour(
    client: openai.OpenAI, settings: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": "tiny", "messages": ASKED, **settings})
    assert refused.value.param == param


def test_chat_takes_what_changes_nothing(client: openai.OpenAI) -> None:
    client.chat.completions.create(
        model="tiny",
        messages=ASKED,
        max_tokens=1,
        n=1,
        user="me",
        store=False,
        metadata={"a": "b"},
        frequency_penalty=0,
        logprobs=False,
        response_format={"type": "text"},
        service_tier="auto",
    )


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"suffix": "a:b"}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {"a": 5}}, "metadata.a"),
        ({"method": SUPERVISED | {"supervised": {"hyperparameters": {"n_epochs": 0}}}}, EPOCHS),
        ({"method": SUPERVISED | {"supervised": {"hyperparameters": MANY}}}, EPOCHS),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"validation_file": "file-x"}, "validation_file"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations"),
        ({"hyperparameters": {"n_epochs": 1}}, "hyperparameters"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"extra_body": {"unknown": 1}}, "unknown"),
        ({"extra_body": {"motools": {"config": {"rank": 2}}}}, "motools.config.rank"),
        (
            {"extra_body": {"motools": {"config": {"lora": {"rank": 0}}}}},
            "motools.config.lora.rank",
        ),
        (
            {"extra_body": {"motools": {"config": {**SAME, "packing": True}}}},
            "motools.config.packing",
        ),
        ({"extra_body": {"motools": {"config": {"epochs": 9}}}}, "motools.config.epochs"),
        ({"extra_body": {"motools": {"config": {"base_model": "x"}}}}, "motools.config.base_model"),
    ],
)
def test_an_order_is_refused_by_its_field(
    client: openai.OpenAI, changes: dict[str, Any], param: str
) -> None:
    file = upload(client).id
    with pytest.raises(openai.BadRequestError) as refused:
        order(client, file, **changes)
    assert refused.value.param == param


def test_a_config_that_never_ends_is_refused(client: openai.OpenAI) -> None:
    config, file = {"epochs": 1e308}, upload(client).id
    with pytest.raises(openai.BadRequestError, match="10,000") as refused:
        client.fine_tuning.jobs.create(
            model="tiny", training_file=file, extra_body={"motools": {"config": config}}
        )
    assert refused.value.param == "motools.config.epochs"
    body = {"model": "tiny", "config": config}
    with pytest.raises(openai.BadRequestError, match="10,000"):
        client.post("/motools/resolve", cast_to=object, body=body)


def test_an_order_is_refused_where_something_is_not_there(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        order(client, "file-000")
    assert refused.value.param == "training_file"
    with pytest.raises(openai.NotFoundError) as refused:
        order(client, upload(client).id, model="/etc")
    assert refused.value.code == "model_not_found"
