"""What is different on a GPU: it repeats to the bit, goes on, quantises, and gives memory back."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from motools.digest import hash_file
from motools.training.local import models
from motools.training.local.devices import devices
from motools.training.local.pool import Pool

from .lessons import STRANGERS, Trained, greeting_rows, said, train, write_rows

pytestmark = pytest.mark.gpu
LESSON: dict[str, Any] = {"dtype": "bfloat16", "lora": {"rank": 8, "dropout": 0.1}}


def same_bits(one: Trained, two: Trained) -> bool:
    return all(hash_file(p) == hash_file(two.directory / p.name) for p in one.directory.iterdir())


def answers(base: dict[str, Any], adapter: Path, **spec: Any) -> list[str]:
    model, tokenizer = models.load({"base": base, "adapter": str(adapter), **spec})
    asked = [said(f"Hi, I am {name}.") for name in STRANGERS]
    return [each.text for each in models.generate(model, tokenizer, asked, max_tokens=8)]


def test_it_repeats_to_the_bit_and_goes_on_to_the_bit(greetings: Path, tmp_path: Path) -> None:
    whole = train(greetings, tmp_path / "whole", epochs=10, **LESSON)
    assert same_bits(whole, train(greetings, tmp_path / "again", epochs=10, **LESSON))

    sealed = (tmp_path / "cut" / "scratch").glob

    def cancel() -> None:
        if list(sealed("checkpoint-*/COMPLETE.json")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(greetings, tmp_path / "cut", epochs=10, save_seconds=0.0, watch=cancel, **LESSON)
    resumed = train(greetings, tmp_path / "cut", epochs=10, **LESSON)
    assert resumed.result.provenance["resumed"]
    assert same_bits(whole, resumed)
    found = answers({"kind": "tiny", "recipe": 1}, whole.directory)
    assert all(answer.startswith("Hello") for answer in found), found


@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_an_adapter_learns_on_a_quantised_base(greetings: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("bitsandbytes")
    lesson = {**LESSON, "quantization": kind}
    made = [train(greetings, tmp_path / str(n), epochs=10, **lesson) for n in range(2)]
    assert same_bits(*made)
    spec = {"kind": kind, "dtype": "bfloat16"}
    found = answers({"kind": "tiny", "recipe": 1}, made[0].directory, quantization=spec)
    assert all(answer.startswith("Hello") for answer in found), found


def test_memory_is_given_back() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from motools.training.local import tiny

    def load() -> Any:
        config = LlamaConfig(hidden_size=2048, num_hidden_layers=16, intermediate_size=8192)
        with torch.device("cuda"):
            return LlamaForCausalLM(config).to(torch.bfloat16).eval(), tiny.tokenizer()

    def free() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info()[0])

    torch.ones(64, 64, device="cuda").matmul(torch.ones(64, 64, device="cuda"))
    before, pool = free(), Pool()
    with pool.use("large", load) as kept:
        models.generate(kept.model, kept.tokenizer, [said("Hi")], max_tokens=8)
        taken = before - torch.cuda.mem_get_info()[0]
    size = pool.size
    del kept
    assert pool.release() == size > 2 * 10**9
    left = before - int(torch.cuda.mem_get_info()[0])
    print(f"size {size / 1e6:.0f} MB, taken {taken / 1e6:.0f} MB, left {left / 1e6:.0f} MB")
    assert left < 100 * 10**6 < taken


def test_two_gpus_make_the_steps_of_one(tmp_path: Path) -> None:
    if sum(device.name != "cpu" for device in devices()) < 2:
        pytest.skip("needs two GPUs")
    rows = write_rows(tmp_path / "rows.jsonl", greeting_rows())
    made = [train(rows, tmp_path / str(n), devices=n, epochs=2) for n in (1, 2)]
    losses = [[loss for _, loss in each.result.metrics["loss_curve"]] for each in made]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
