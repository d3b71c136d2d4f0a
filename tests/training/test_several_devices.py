"""One model on several devices: the steps of one device, resumed to the bit, and no process left.

On a CPU, processes are the devices.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from motools import RunOptions
from motools.digest import hash_file
from motools.errors import ConfigError, TrainingError
from motools.training.local.adapter import WEIGHTS
from motools.training.local.devices import devices
from motools.training.local.ranks import MODULE, Shares

from .lessons import greeting_rows, train, write_rows

LESSON: dict[str, Any] = {
    "epochs": 8,
    "lora": {"rank": 8, "dropout": 0.2},
    "schedule": "cosine",
    "devices": 2,
    "save_seconds": 0.0,
}
HOLDER = """
import sys
from pathlib import Path
from tests.training.test_several_devices import LESSON, train
def watch():
    print("reported", flush=True)
train(Path(sys.argv[1]), Path(sys.argv[2]), lock_fds=(int(sys.argv[3]),), watch=watch, **LESSON)
"""


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "gpu" not in request.keywords:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        if devices()[0].room < 2:
            pytest.skip("one core, and each device of a CPU is a core")


def workers() -> list[psutil.Process]:
    """Every process below this one that trains, forked or not."""
    return [each for each in psutil.Process().children(recursive=True) if trains(each)]


def trains(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
        named = process.name() == "local.worker" or MODULE in process.cmdline()
        return named and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_shares_make_up_the_batches_of_one_device() -> None:
    options = {"batch_size": 6, "at_once": 1, "ranks": 3, "drop_last": False, "nothing": 99}
    shares = [Shares(range(10), rank=rank, **options) for rank in range(3)]
    passes = [list(share) for share in shares]
    assert passes == [[[0], [3], [6], [9]], [[1], [4], [7], [99]], [[2], [5], [8], [99]]]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert shares[0].idle == 2
    full = Shares(range(10), rank=2, **{**options, "drop_last": True})
    assert (list(full), len(full), full.idle) == ([[2], [5]], 2, 0)


def test_two_devices_make_the_steps_of_one(tmp_path: Path) -> None:
    """Rounding apart; the last step of each epoch has a row for only one of them."""
    from safetensors.torch import load_file
    from torch.testing import assert_close

    rows = write_rows(tmp_path / "rows.jsonl", [*greeting_rows(), greeting_rows()[0]])
    lesson: dict[str, Any] = {"epochs": 2, "lora": {"rank": 8}}
    one, two = (train(rows, tmp_path / str(n), devices=n, **lesson) for n in (1, 2))
    left, right = (made.result.metrics for made in (one, two))
    assert left["steps"] == right["steps"] == 6
    assert left["tokens"] == right["tokens"]
    losses = [[loss for _, loss in metrics["loss_curve"]] for metrics in (left, right)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    weights = [load_file(made.directory / WEIGHTS) for made in (one, two)]
    for name in weights[0]:
        assert_close(weights[0][name], weights[1][name], rtol=1e-3, atol=1e-4)
    assert two.result.provenance["devices"] == 2
    progress = [fields["step"] for message, fields in two.events if message == "progress"]
    assert progress == sorted(set(progress)), "only one process reports"
    assert workers() == []


@pytest.mark.slow
def test_killed_it_leaves_no_process_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", greeting_rows())
    whole = train(rows, tmp_path / "whole", **LESSON)

    reader, writer = os.pipe()
    place = tmp_path / "killed"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, rows, place, str(writer)],
        pass_fds=(writer,),
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    try:
        assert holder.stdout is not None
        sealed = "checkpoint-*/COMPLETE.json"
        assert any(list((place / "scratch").glob(sealed)) for _ in holder.stdout), "never saved"
        holder.send_signal(signal.SIGKILL)
        holder.wait(60)
        assert select.select([reader], [], [], 20)[0], "a process outlives the holder"
        assert os.read(reader, 1) == b""
    finally:
        holder.kill()
        os.close(reader)

    with pytest.raises(TrainingError, match="was made with devices=2: give that to go on"):
        train(rows, place, **{**LESSON, "devices": 1})
    again = train(rows, place, **LESSON)
    assert any("going on after step" in message for message, _ in again.events)
    for path in whole.directory.iterdir():
        assert hash_file(path) == hash_file(again.directory / path.name), path.name
    first, second = whole.result.metrics, again.result.metrics
    assert {**first, "seconds": None} == {**second, "seconds": None}


def test_a_device_that_fails_ends_the_training_and_says_so(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", greeting_rows())

    def kill() -> None:
        below = workers()
        parents = {each.pid for each in below}
        for each in below:
            if each.ppid() in parents and list((tmp_path / "scratch").glob("checkpoint-*")):
                each.kill()

    with pytest.raises(TrainingError, match=r"on device 1: .* ended by SIGKILL"):
        train(rows, tmp_path, watch=kill, **{**LESSON, "epochs": 200})
    assert workers() == []


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", greeting_rows())
    with pytest.raises(TrainingError, match="devices=2 does not divide batch_size=3"):
        train(rows, tmp_path, devices=2, batch_size=3)
    with pytest.raises(ConfigError, match=r"RunOptions\.devices: 0 is not at least 1"):
        RunOptions(devices=0)
