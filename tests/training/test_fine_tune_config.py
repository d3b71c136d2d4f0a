"""Configs: one form for one meaning, and errors that name the field."""

from __future__ import annotations

from typing import Any

import pytest

from motools.digest import canonical_json
from motools.errors import ConfigError
from motools.training.config import FineTuneConfig, LoraConfig


def test_equal_values_are_one_config() -> None:
    plain = FineTuneConfig(base_model="tiny", epochs=3, lora=LoraConfig(rank=4, alpha=8))
    other = FineTuneConfig.from_mapping(
        {"base_model": "tiny", "epochs": 3.0, "lora": {"rank": 4.0, "alpha": 8.0}}
    )
    assert canonical_json(plain.resolved()) == canonical_json(other.resolved())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rte": 1e-3}, "did you mean 'learning_rate'"),
        ({"learning_rate": "1e-4"}, "FineTuneConfig.learning_rate: '1e-4' is str"),
        ({"learning_rate": float("nan")}, "FineTuneConfig.learning_rate"),
        ({"learning_rate": 0}, "FineTuneConfig.learning_rate: 0.0 is not above 0"),
        ({"epochs": -1}, "FineTuneConfig.epochs"),
        ({"batch_size": 0}, "FineTuneConfig.batch_size"),
        ({"batch_size": 1.5}, "FineTuneConfig.batch_size"),
        ({"seed": -1}, "FineTuneConfig.seed"),
        ({"warmup_ratio": 1.0}, "FineTuneConfig.warmup_ratio"),
        ({"method": "ppo"}, "FineTuneConfig.method"),
        ({"dtype": "float8"}, "FineTuneConfig.dtype"),
        ({"base_model": ""}, "FineTuneConfig.base_model"),
        ({"lora": {"rank": 0}}, "LoraConfig.rank: 0 is not at least 1"),
        ({"lora": {"ranks": 4}}, "did you mean 'rank'"),
        ({"lora": {"targets": []}}, "LoraConfig.targets"),
        ({"lora": {"targets": "q_proj"}}, "targets"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FineTuneConfig.from_mapping({"base_model": "tiny", **values})
    assert message in str(caught.value)
