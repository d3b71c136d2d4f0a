"""A fine-tuning of about a billion weights on a GPU, beside the same one by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from motools.training.local import tiny
from motools.training.local.models import OFFLINE
from tests.benchmarks.figures import Figure
from tests.benchmarks.training import PLAIN
from tests.training.lessons import said, write_rows

ROWS, BATCH = 1024, 16
EPOCHS = float(os.environ.get("MOTOOLS_BENCH_EPOCHS", "4"))

OURS = f"""
import json, sys
from motools import Dataset, FineTuneConfig
from motools.cache import Cache
from motools.steps.train import Train
base, rows, epochs = sys.argv[1:]
config = FineTuneConfig(
    base_model=base, epochs=float(epochs), learning_rate=3e-3, batch_size={BATCH},
    dtype="bfloat16", lora={{"rank": 8}},
)
cache, step = Cache.open(), Train(Dataset.from_jsonl(rows), config)
entry = cache.get_or_run(step.action(cache), step.run)
tokens, seconds = entry.value["tokens"], entry.provenance["seconds"]
print(json.dumps({{"tokens": tokens, "train_runtime": seconds}}))
"""


def one_billion() -> list[Figure]:
    """LoRA in bfloat16 of a Llama with random weights: seconds for a million tokens.

    TRL is told to use operations that give the same bits again, as motools does, and is
    measured without, too.
    """
    import torch

    if not torch.cuda.is_available():
        print("train_gpu: skipped, there is no CUDA device", file=sys.stderr)
        return []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        base, rows = _model(place / "base"), _rows(place / "rows.jsonl")
        run = [base, rows, place / "out", "--epochs", EPOCHS, "--batch-size", BATCH, "--cuda"]
        calls = {
            "motools": ["-c", OURS, base, rows, EPOCHS],
            "plain TRL": [PLAIN, *run],
            "plain TRL, any order": [PLAIN, *run, "--any-order"],
        }
        for who, command in calls.items():
            figures += _measured(who, command, place)
    return sorted(figures, key=lambda figure: figure.what)


def _measured(who: str, command: list[object], place: Path) -> list[Figure]:
    here = {"HF_HOME": str(place / who), "MOTOOLS_CACHE_DIR": str(place / "cache")}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, **OFFLINE, **here},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    whole = time.perf_counter() - started
    said_last = json.loads(done.stdout.splitlines()[-1])
    tokens, seconds = said_last["tokens"], said_last["train_runtime"]
    note = f"{tokens / seconds:,.0f} tokens/s"
    return [
        Figure("LoRA, 1.2 B, bfloat16: a million tokens", who, seconds / tokens * 1e6, note),
        Figure(f"LoRA, 1.2 B, {tokens / 1e6:.1f} M tokens, a process", who, whole),
    ]


def _model(directory: Path) -> Path:
    """Shaped as Llama 3.2 1B; the words are those of ``tiny``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
    )
    torch.manual_seed(0)
    with torch.device("cuda"):
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    tiny.tokenizer().save_pretrained(directory)
    return directory


def _rows(path: Path) -> Path:
    """Conversations of 512 tokens, about."""
    rows = [
        {"messages": said(f"Say it again, {n}. " * 24, "the people of the world went home " * 48)}
        for n in range(ROWS)
    ]
    return write_rows(path, rows)
