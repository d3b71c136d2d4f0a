"""Killed at any moment, a training goes on and ends with the bits it would have had."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from motools import Dataset, FineTuneConfig, LoraConfig, RunOptions
from motools.cache import Cache, Entry
from motools.digest import hash_file
from motools.steps.train import Train
from motools.training.local.adapter import WEIGHTS

from .lessons import greeting_rows, train, write_rows

KILLS = 2

HOLDER = """
import sys
from tests.training.test_resume import run
run(sys.argv[1], sys.argv[2], 0.0, lambda said, fields: print(said, flush=True))
"""


def run(rows: str, cache: str, save_seconds: float, report: Any = None) -> Entry:
    """A training with all that has a state: dropout, order of rows, optimizer, schedule."""
    config = FineTuneConfig(
        base_model="tiny",
        epochs=30,
        lora=LoraConfig(rank=8, dropout=0.2),
        schedule="cosine",
        warmup_ratio=0.1,
    )
    step = Train(Dataset.from_jsonl(rows), config, options=RunOptions(save_seconds=save_seconds))
    opened = Cache.open(cache)
    return opened.get_or_run(step.action(opened), step.run, report=report)


@pytest.mark.slow
def test_it_ends_as_if_it_had_never_been_killed(greetings: Path, tmp_path: Path) -> None:
    whole = run(str(greetings), str(tmp_path / "whole"), 300.0)
    assert whole.provenance["resumed"] == []

    killed, chance = tmp_path / "killed", random.Random()
    for _ in range(KILLS):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, greetings, killed], stdout=subprocess.PIPE, text=True
        )
        try:
            assert holder.stdout is not None
            assert any(" of 60" in line for line in holder.stdout), "it never trained"
            time.sleep(chance.uniform(0.0, 1.0))
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait(60)

    said: list[str] = []
    again = run(str(greetings), str(killed), 0.0, lambda message, _: said.append(message))
    assert any("going on after step" in message for message in said), said
    assert 1 <= len(again.provenance["resumed"]) <= KILLS
    assert again.provenance["resumed"][0]["libraries"]["torch"]
    assert again.value == whole.value
    for name, path in whole.files.items():
        assert hash_file(path) == hash_file(again.files[name]), name
    assert again.files.keys() == whole.files.keys()
    assert not list((killed / "jobs").iterdir()), "checkpoints stay after the end"


def test_a_damaged_checkpoint_is_passed_over_and_changes_nothing(tmp_path: Path) -> None:
    """The run is cancelled, then the disk changes a byte of the newest checkpoint."""
    rows = write_rows(tmp_path / "rows.jsonl", greeting_rows())
    whole = train(rows, tmp_path / "whole", epochs=20, keep_checkpoints=2)
    assert whole.result.metrics["checkpoints"] == list(range(2, 40, 2))
    plain = train(rows, tmp_path / "plain", epochs=20)
    assert hash_file(plain.directory / WEIGHTS) == hash_file(whole.directory / WEIGHTS)
    place = tmp_path / "cut"
    sealed = (place / "scratch").glob

    def cancel() -> None:
        if len(list(sealed("checkpoint-*/COMPLETE.json"))) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(rows, place, epochs=20, keep_checkpoints=2, save_seconds=0.0, watch=cancel)
    assert list((place / "model").iterdir()) == []

    steps = sorted(int(path.parent.name[11:]) for path in sealed("checkpoint-*/COMPLETE.json"))
    optimizer = place / "scratch" / f"checkpoint-{steps[-1]}" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1] + b"?")
    again = train(rows, place, epochs=20, keep_checkpoints=2)
    said = [message for message, _ in again.events]
    assert f"checkpoint {steps[-1]} is not used: optimizer.pt is damaged" in said
    assert f"going on after step {steps[-2]}" in said
    files = [path for path in whole.directory.rglob("*") if path.is_file()]
    assert len(files) == 2 * 20
    for path in files:
        same = again.directory / path.relative_to(whole.directory)
        assert hash_file(path) == hash_file(same), same
    first, second = whole.result.metrics, again.result.metrics
    assert {**first, "seconds": None} == {**second, "seconds": None}
