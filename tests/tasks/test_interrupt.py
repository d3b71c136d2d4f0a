"""Ctrl-C ends a flow at once, with what its threads have begun and what they wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

FLOW = """
from prefect import flow
from motools import Dataset, FineTuneConfig, fine_tune

ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}

@flow
def long():
    configs = [FineTuneConfig(base_model="tiny", epochs=10_000, seed=seed) for seed in range(3)]
    made = [fine_tune.submit(Dataset.from_rows([ROW] * 8), config) for config in configs]
    return [model.result() for model in made]

long()
"""


@pytest.mark.slow
def test_an_interrupt_ends_what_was_begun(tmp_path: Path, prefect_api: str) -> None:
    (tmp_path / "long.py").write_text(FLOW)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "long.py"],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            env={**os.environ, "MOTOOLS_CACHE_DIR": "cache", "PREFECT_API_URL": prefect_api},
        )
    try:
        interrupted(process, tmp_path / "log")
    finally:
        process.kill()  # or it would hold the device that other tests wait for


def interrupted(process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1_000):
        said = log.read_text()
        if said.count("fine-tuning tiny: ") >= 3 and " of 10000" in said:
            break
        time.sleep(0.1)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert process.returncode != 0
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    said = log.read_text()
    assert "StoppedError: it was interrupted: run it again to go on" in said
