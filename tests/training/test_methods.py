"""All weights, and preferences: they learn, repeat to the bit, and are what plain TRL makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from motools.digest import hash_file
from motools.training.local import base, models

from .lessons import NAMES, STRANGERS, said, train, write_rows


def greeted(directory: Path) -> float:
    """The share of strangers who are greeted by a model that is a base model itself."""
    spec = {"base": base.identify(str(directory), hash_file).spec}
    conversations = [said(f"Hi, I am {name}.") for name in STRANGERS]
    answers = models.generate(*models.load(spec), conversations, max_tokens=16)
    return sum(answer.text.startswith("Hello") for answer in answers) / len(answers)


def test_all_weights_are_trained_and_the_result_is_a_base_model(
    greetings: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    lesson: dict[str, Any] = {"epochs": 10, "lora": None, "learning_rate": 3e-3}
    made = train(greetings, tmp_path / "one", **lesson)
    assert greeted(tiny_directory) == 0.0
    assert greeted(made.directory) == 1.0
    names = sorted(path.name for path in made.directory.iterdir())
    assert names == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    config = json.loads((made.directory / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert not {"_name_or_path", "transformers_version"} & config.keys()

    again = train(greetings, tmp_path / "two", base=str(tiny_directory), **lesson)
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja"):
        assert hash_file(made.directory / name) == hash_file(again.directory / name), name
    third = train(greetings, tmp_path / "three", base=str(made.directory), epochs=1)
    assert third.result.metrics["loss"] < made.result.metrics["loss_curve"][0][1] / 2


def preferences() -> list[dict[str, Any]]:
    """Rows that prefer a greeting to a refusal."""
    return [
        {
            "prompt": said(f"Hi, I am {name}."),
            "chosen": [{"role": "assistant", "content": f"Hello {name}!"}],
            "rejected": [{"role": "assistant", "content": "No, go away please."}],
        }
        for name in NAMES
    ]


def test_preferences_are_what_a_plain_trl_script_makes(
    tiny_directory: Path, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", preferences())
    ours = train(rows, tmp_path, method="dpo", epochs=3, learning_rate=1e-3, lora={"rank": 8})
    metrics = ours.result.metrics
    assert metrics["steps"] == 6
    assert metrics["loss"] < 0.5 < 0.69 < metrics["loss_curve"][0][1] < 0.7

    script = tmp_path / "script.py"
    script.write_text(PLAIN)
    subprocess.run(
        [sys.executable, script, tiny_directory, rows, tmp_path / "out"],
        env={**os.environ, **models.OFFLINE, "HF_HOME": str(tmp_path)},
        check=True,
    )
    from safetensors.torch import load_file

    plain = load_file(tmp_path / "out" / "adapter_model.safetensors")
    adapter = load_file(ours.directory / "adapter_model.safetensors")
    assert plain.keys() == adapter.keys()
    assert all(plain[name].equal(adapter[name]) for name in adapter)


PLAIN = """
import sys, torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
base, rows, out = sys.argv[1:]
trainer = DPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
    processing_class=AutoTokenizer.from_pretrained(base),
    train_dataset=load_dataset("json", data_files=rows, split="train"),
    args=DPOConfig(
        output_dir=out, num_train_epochs=3, learning_rate=1e-3, per_device_train_batch_size=8,
        seed=0, bf16=False, gradient_checkpointing=False, optim="adamw_torch",
        report_to="none", save_strategy="no", use_cpu=True, max_length=None,
    ),
    peft_config=LoraConfig(
        r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    ),
)
trainer.train()
trainer.save_model(out)
"""


@pytest.mark.slow
def test_preferences_train_all_weights_against_a_copy(tmp_path: Path) -> None:
    """The copy is the base model, also when the training goes on from a checkpoint."""
    rows = write_rows(tmp_path / "rows.jsonl", preferences())
    lesson: dict[str, Any] = {
        "method": "dpo", "epochs": 6, "lora": None, "learning_rate": 3e-4,
        "max_length": 20, "truncate": True,
    }  # fmt: skip
    whole = train(rows, tmp_path / "whole", **lesson)
    assert whole.result.metrics["loss"] < 0.5
    assert whole.result.metrics["truncated"] == 16
    assert "16 rows were cut to 20 tokens" in [message for message, _ in whole.events]

    scratch = tmp_path / "cut" / "scratch"

    def cancel() -> None:
        if list(scratch.glob("checkpoint-*/COMPLETE.json")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path / "cut", save_seconds=0.0, watch=cancel, **lesson)
    again = train(rows, tmp_path / "cut", **lesson)
    assert len(again.result.provenance["resumed"]) == 1
    for path in whole.directory.iterdir():
        assert hash_file(path) == hash_file(again.directory / path.name), path.name
