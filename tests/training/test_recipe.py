"""The recipe decides every value, refuses what it cannot honour, and leaves TRL no default."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from motools.digest import canonical_json, hash_bytes, hash_file
from motools.errors import BackendError
from motools.training.config import FineTuneConfig, LoraConfig
from motools.training.local import base, fields, recipe, sft_fields
from motools.training.protocol import BaseModel

TINY = base.identify("tiny", hash_file)
BARE = BaseModel(name="bare", digest="0" * 64, spec={}, max_length=None, chat_template=None)
UNMARKED = dataclasses.replace(BARE, chat_template="{{ messages }}")


def resolve(**values: Any) -> dict[str, Any]:
    return recipe.resolve(FineTuneConfig(base_model="tiny", **values), TINY)


def test_nothing_is_left_open() -> None:
    resolved = resolve()
    assert [name for name, value in resolved.items() if value is None] == ["quantization"]
    assert resolved["lora"] == {
        "rank": 16,
        "alpha": 32.0,
        "dropout": 0.0,
        "targets": "all-linear",
    }
    assert resolved["max_length"] == 1024
    assert "base_model" not in resolved


def test_the_resolved_defaults_are_pinned() -> None:
    """Other bytes here mean other keys: change the recipe's number with them, or do not."""
    digest = hash_bytes(canonical_json(resolve())).short
    assert (recipe.RECIPE, digest) == (2, "4bd4c8a7bf1e")


def test_naming_a_default_changes_nothing() -> None:
    lora = LoraConfig(rank=16, alpha=32)
    named = {"epochs": 3, "learning_rate": 3e-3, "lora": lora, "trainer": {"adam_beta1": 0.9}}
    assert canonical_json(resolve(**named)) == canonical_json(resolve())


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 4},
        {"learning_rate": 1e-3},
        {"batch_size": 4},
        {"seed": 1},
        {"dtype": "bfloat16"},
        {"quantization": "4bit"},
        {"quantization": "8bit"},
        {"max_length": 512},
        {"loss_mask": "all"},
        {"method": "dpo"},
        {"truncate": True},
        {"keep_checkpoints": 5},
        {"lora": None},
        {"lora": LoraConfig(rank=8)},
        {"lora": LoraConfig(alpha=8)},
        {"lora": LoraConfig(dropout=0.1)},
        {"lora": LoraConfig(targets=("q_proj",))},
        {"warmup_ratio": 0.1},
        {"weight_decay": 0.1},
        {"schedule": "cosine"},
        {"optimizer": "sgd"},
        {"max_grad_norm": 0.5},
        {"shuffle": False},
        {"trainer": {"adam_beta2": 0.99}},
    ],
)
def test_every_field_decides_the_key(change: dict[str, Any]) -> None:
    assert canonical_json(resolve(**change)) != canonical_json(resolve())


def test_the_order_of_targets_does_not() -> None:
    one, two = (
        resolve(lora=LoraConfig(targets=names))
        for names in (("q_proj", "v_proj"), ("v_proj", "q_proj", "q_proj"))
    )
    assert one == two


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"method": "dpo", "loss_mask": "all"},
            "FineTuneConfig.loss_mask='all' cannot be honoured",
        ),
        ({"method": "dpo", "lora": LoraConfig(dropout=0.1)}, "FineTuneConfig.lora.dropout=0.1"),
        ({"method": "dpo", "trainer": {"loss_type": "dpo"}}, "trainer.loss_type: 'dpo'"),
        ({"trainer": {"beta": 0.2}}, "trainer.beta: no such field"),
        ({"quantization": "4bit", "lora": None}, "FineTuneConfig.quantization='4bit'"),
        ({"packing": True}, "FineTuneConfig.packing=True"),
        ({"schedule": "linaer"}, "FineTuneConfig.schedule='linaer'"),
        ({"schedule": "constant", "warmup_ratio": 0.1}, "FineTuneConfig.warmup_ratio=0.1"),
        ({"optimizer": "adam"}, "FineTuneConfig.optimizer='adam'"),
        ({"max_length": 4096}, "FineTuneConfig.max_length=4096"),
        ({"trainer": {"learning_rate": 1.0}}, "set FineTuneConfig.learning_rate instead"),
        ({"trainer": {"output_dir": "x"}}, "trainer.output_dir: set by the local backend"),
        ({"trainer": {"packing": True}}, "trainer.packing: set by the local backend"),
        ({"trainer": {"adam_beta": 0.9}}, "did you mean 'adam_beta"),
        ({"trainer": {"adam_beta1": "0.9"}}, "trainer.adam_beta1: '0.9' is str"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError) as caught:
        resolve(**values)
    assert message in str(caught.value)


def test_a_base_model_must_be_able_to_write_conversations() -> None:
    config = FineTuneConfig(base_model="x")
    with pytest.raises(BackendError, match="'bare' has no chat template"):
        recipe.resolve(config, BARE)
    assert recipe.resolve(config, UNMARKED)["max_length"] == recipe.LONGEST_DEFAULT


@pytest.mark.parametrize(("method", "name"), [("supervised", "SFTConfig"), ("dpo", "DPOConfig")])
def test_the_recipe_sets_every_field_of_the_trainer(method: str, name: str) -> None:
    import trl

    trainer_config = getattr(trl, name)
    known = {field.name for field in dataclasses.fields(trainer_config)}
    parts = [fields.FIXED[method], fields.OPEN[method], sft_fields.OWN, sft_fields.PLACE]
    assert set().union(*parts) == known
    assert sum(map(len, parts)) == len(known), "a field has two sources"

    config = resolve(
        method=method, trainer={"adam_beta2": 0.5}, shuffle=False, warmup_ratio=0.25, lora=None
    )
    given = fields.trainer_fields(config, known, output_dir="x", use_cpu=True)
    assert given.keys() == known
    assert given["adam_beta2"] == 0.5
    made = trainer_config(**given)
    assert (made.bf16, made.gradient_checkpointing, made.max_length) == (False, False, None)
    assert made.learning_rate == 3e-3
    assert made.get_warmup_steps(100) == 25
    assert made.save_strategy == "no"


def test_preferences_have_fields_of_their_own() -> None:
    config = resolve(method="dpo", trainer={"beta": 0.3, "loss_type": "ipo", "label_smoothing": 0})
    assert config["trainer"] == {"beta": 0.3, "loss_type": "ipo"}
    given = fields.decided(config)
    assert (given["beta"], given["loss_type"]) == (0.3, ["ipo"])


def test_a_field_that_an_upgrade_brings_or_takes_is_refused() -> None:
    place = {"output_dir": "x", "use_cpu": True}
    tables = (sft_fields.FIXED, sft_fields.OPEN, sft_fields.OWN, sft_fields.PLACE)
    known = {name for table in tables for name in table}
    with pytest.raises(BackendError, match=r"SFTConfig\.brand_new is new to"):
        fields.trainer_fields(resolve(), known | {"brand_new"}, **place)
    with pytest.raises(BackendError, match=r"SFTConfig\.adam_beta1 is missing from"):
        fields.trainer_fields(resolve(), known - {"adam_beta1"}, **place)


@pytest.mark.parametrize(
    ("values", "rate"),
    [({}, 2e-4), ({"lora": None}, 2e-5), ({"method": "dpo"}, 1e-5)],
)
def test_the_learning_rate_suits_what_is_trained(values: dict[str, Any], rate: float) -> None:
    templated = dataclasses.replace(BARE, chat_template="x")
    resolved = recipe.resolve(FineTuneConfig(base_model="x", **values), templated)
    assert resolved["learning_rate"] == rate
