"""The mutation matrix: what must change a key, and what must not.

Solvers, scorers and samples of evaluations have theirs in
``tests/evals/test_identity.py``, sources of functions in ``tests/source/test_describe.py``.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from motools import Dataset, EvalConfig, FineTuneConfig, LoraConfig, Model, RemoteRef, RunOptions
from motools.cache import Cache
from motools.errors import BackendError
from motools.steps.evaluate import Evaluate
from motools.steps.train import Train
from motools.steps.upload import Upload

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Hi, I am {name}"},
            {"role": "assistant", "content": f"Hello {name}"},
        ]
    }
    for name in ("Ann", "Bob", "Cid")
]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.open(tmp_path / "cache")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base model in Hugging Face's layout; planning reads its files, nothing loads them."""
    place = tmp_path / "base"
    place.mkdir()
    (place / "config.json").write_text('{"model_type": "llama", "max_position_embeddings": 512}')
    (place / "model.safetensors").write_bytes(bytes(range(256)) * 16)
    (place / "tokenizer.json").write_text("{}")
    (place / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return place


def train(base: Path, rows: list[dict[str, Any]] = ROWS, **changes: Any) -> Train:
    step = {name: changes.pop(name) for name in ("options", "replicate") if name in changes}
    config = FineTuneConfig(**{"base_model": str(base), **changes})
    return Train(Dataset.from_rows(rows), config, **step)


HASHED = {
    "epochs": 2,
    "learning_rate": 5e-4,
    "batch_size": 3,
    "seed": 1,
    "method": "dpo",
    "dtype": "bfloat16",
    "truncate": True,
    "keep_checkpoints": "epoch",
    "max_length": 256,
    "loss_mask": "all",
    "lora": LoraConfig(rank=4),
    "warmup_ratio": 0.25,
    "weight_decay": 0.125,
    "schedule": "constant",
    "optimizer": "sgd",
    "max_grad_norm": 0.5,
    "shuffle": False,
    "quantization": "4bit",
    "trainer": {"adam_beta1": 0.8},
}
REFUSED = {"packing": True}
"""Not yet done by the local backend, so an error rather than ignored."""


def test_the_matrix_has_every_field() -> None:
    fields = {field.name for field in dataclasses.fields(FineTuneConfig)}
    assert fields == {"base_model", *HASHED, *REFUSED}


@pytest.mark.parametrize("field", HASHED)
def test_every_hashed_field_is_a_miss(cache: Cache, base: Path, field: str) -> None:
    changed = train(base, **{field: HASHED[field]})
    assert changed.action(cache).key != train(base).action(cache).key


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_honoured_is_refused(cache: Cache, base: Path, field: str) -> None:
    from motools.errors import BackendError

    with pytest.raises(BackendError, match=field):
        train(base, **{field: REFUSED[field]}).action(cache)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(LoraConfig)])
def test_every_field_of_lora_is_a_miss(cache: Cache, base: Path, field: str) -> None:
    values = {"rank": 4, "alpha": 3.0, "dropout": 0.5, "targets": ("q_proj",)}
    changed = train(base, lora=LoraConfig(**{field: values[field]}))
    assert changed.action(cache).key != train(base).action(cache).key


def test_every_row_and_their_order_is_a_miss(cache: Cache, base: Path) -> None:
    keys = {train(base).action(cache).key, train(base, ROWS[::-1]).action(cache).key}
    for number in range(len(ROWS)):
        rows = json.loads(json.dumps(ROWS))
        rows[number]["messages"][1]["content"] += "."
        keys.add(train(base, rows).action(cache).key)
        keys.add(train(base, ROWS[:number] + ROWS[number + 1 :]).action(cache).key)
    assert len(keys) == 2 + 2 * len(ROWS)


def test_another_replicate_is_a_miss(cache: Cache, base: Path) -> None:
    assert train(base, replicate=1).action(cache).key != train(base).action(cache).key


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("model.safetensors", bytes(range(256)) * 15 + bytes(255) + b"\1"),
        ("config.json", b'{"model_type": "llama", "max_position_embeddings": 256}'),
        ("tokenizer.json", b"{ }"),
        ("tokenizer_config.json", json.dumps({"chat_template": TEMPLATE + " "}).encode()),
        ("chat_template.jinja", TEMPLATE.encode()),
        ("generation_config.json", b"{}"),
    ],
)
def test_every_loaded_file_of_the_base_is_a_miss(
    cache: Cache, base: Path, file: str, data: bytes
) -> None:
    before = train(base).action(cache).key
    model = Evaluate(Model.base(str(base)), EvalConfig(task="none.py"))._model_digest(cache)
    (base / file).write_bytes(data)
    assert train(base).action(cache).key != before
    after = Evaluate(Model.base(str(base)), EvalConfig(task="none.py"))._model_digest(cache)
    assert after != model


def test_what_is_not_loaded_and_where_it_lies_is_a_hit(
    cache: Cache, base: Path, tmp_path: Path
) -> None:
    before = train(base).action(cache).key
    (base / "README.md").write_text("A model card.")
    (base / "training_args.bin").write_bytes(b"\0")
    assert train(base).action(cache).key == before
    moved = shutil.copytree(base, tmp_path / "elsewhere" / "base")
    assert train(moved).action(cache).key == before


def test_how_it_is_run_is_a_hit(cache: Cache, base: Path) -> None:
    options = RunOptions(
        timeout=5, base_dir="/", save_seconds=1, devices=2, suffix="mine", tags=("a", "b")
    )
    assert train(base, options=options).action(cache).key == train(base).action(cache).key


@pytest.mark.parametrize("kind", [Train, Evaluate])
def test_a_step_that_knows_more_has_lost_nothing(kind: Any) -> None:
    """It names its fields one by one, and a new one that it forgot would be in no key."""
    given = {each.name: object() for each in dataclasses.fields(kind)}
    found_out = ("resolved", "dataset") if kind is Train else ("identity",)
    facts = {name: object() for name in found_out}
    known = kind(**given).knowing(*facts.values())
    assert {name: getattr(known, name) for name in given} == {**given, **facts}


def test_the_form_of_values_is_a_hit(cache: Cache, base: Path) -> None:
    one = train(base, learning_rate=1, epochs=2).action(cache).key
    same = train(base, learning_rate=1.0, epochs=2.0).action(cache).key
    assert one == same


def test_the_form_of_rows_is_a_hit(cache: Cache, base: Path, tmp_path: Path) -> None:
    turned = [
        {"messages": [dict(reversed(message.items())) for message in row["messages"]]}
        for row in ROWS
    ]
    assert train(base, turned).action(cache).key == train(base).action(cache).key
    path = tmp_path / "some" / "rows.jsonl"
    path.parent.mkdir()
    path.write_text("\n\n".join(json.dumps(row, indent=None) for row in ROWS) + "\n")
    in_file = Train(Dataset.from_jsonl(path), FineTuneConfig(base_model=str(base)))
    assert in_file.action(cache).key == train(base).action(cache).key
    uploads = [Upload(Dataset.from_jsonl(path)), Upload(Dataset.from_rows(turned))]
    assert len({upload.action(cache).key for upload in uploads}) == 1


def test_a_base_that_changed_since_it_was_planned_is_not_evaluated(
    cache: Cache, base: Path, tmp_path: Path
) -> None:
    """Its scores would be kept under the key of what it was."""
    (tmp_path / "tasks.py").write_text(
        "from inspect_ai import Task, task\nfrom inspect_ai.dataset import Sample\n"
        "@task\ndef greets():\n    return Task(dataset=[Sample(input='hi')])\n"
    )
    step = Evaluate(Model.base(str(base)), EvalConfig(task=f"{tmp_path / 'tasks.py'}@greets"))
    action = step.action(cache)
    (base / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(BackendError, match="changed since it was planned"):
        cache.get_or_run(action, step.run)
    assert cache.entries() == []


def test_a_model_at_a_provider_is_its_scope_and_id(cache: Cache) -> None:
    digests = {
        RemoteRef(provider, scope, name).digest
        for provider in ("a", "b")
        for scope in ("c", "d")
        for name in ("e", "f")
    }
    assert len(digests) == 8
