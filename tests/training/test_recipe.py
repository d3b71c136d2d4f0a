"""The recipe decides every value, refuses what it cannot honour, and leaves TRL no default."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from motools.digest import canonical_json, hash_bytes, hash_file
from motools.errors import BackendError
from motools.training.config import FineTuneConfig, LoraConfig
from motools.training.local import base, recipe, sft_fields
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
    assert (recipe.RECIPE, digest) == (1, "4bd4c8a7bf1e")


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
        {"max_length": 512},
        {"loss_mask": "all"},
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
        ({"method": "dpo"}, "FineTuneConfig.method='dpo' cannot be honoured by the local backend"),
        ({"quantization": "4bit"}, "FineTuneConfig.quantization='4bit'"),
        ({"packing": True}, "FineTuneConfig.packing=True"),
        ({"lora": None}, "FineTuneConfig.lora=None"),
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
    with pytest.raises(BackendError, match=r"no \{% generation %\} block.*loss_mask='all'"):
        recipe.resolve(config, UNMARKED)
    every = recipe.resolve(config.replace(loss_mask="all"), UNMARKED)
    assert every["max_length"] == recipe.LONGEST_DEFAULT


def test_the_recipe_sets_every_field_of_the_trainer() -> None:
    import trl

    known = {field.name for field in dataclasses.fields(trl.SFTConfig)}
    parts = [set(part) for part in (sft_fields.FIXED, sft_fields.OPEN, sft_fields.OWN)]
    parts.append(set(sft_fields.PLACE))
    assert set.union(*parts) == known
    assert sum(map(len, parts)) == len(known), "a field has two sources"

    config = resolve(trainer={"adam_beta2": 0.5}, shuffle=False, warmup_ratio=0.25)
    fields = sft_fields.trainer_fields(config, known, output_dir="x", use_cpu=True)
    assert fields.keys() == known
    assert fields["adam_beta2"] == 0.5
    made = trl.SFTConfig(**fields)
    assert (made.bf16, made.gradient_checkpointing, made.max_length) == (False, False, None)
    assert made.learning_rate == 3e-3
    assert made.get_warmup_steps(100) == 25
    assert made.save_strategy == "no"


def test_a_field_that_an_upgrade_brings_or_takes_is_refused() -> None:
    place = {"output_dir": "x", "use_cpu": True}
    known = set(sft_fields.trainer_fields(resolve(), _all(), **place))
    with pytest.raises(BackendError, match=r"SFTConfig\.brand_new is new to"):
        sft_fields.trainer_fields(resolve(), known | {"brand_new"}, **place)
    with pytest.raises(BackendError, match=r"SFTConfig\.adam_beta1 is missing from"):
        sft_fields.trainer_fields(resolve(), known - {"adam_beta1"}, **place)


def _all() -> set[str]:
    tables = (sft_fields.FIXED, sft_fields.OPEN, sft_fields.OWN, sft_fields.PLACE)
    return {name for table in tables for name in table}
