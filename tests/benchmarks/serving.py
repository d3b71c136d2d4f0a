"""What a server costs beside doing the same directly."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from motools import Dataset, FineTuneConfig
from motools.cache import Cache
from motools.steps.train import Train
from tests.benchmarks.figures import Figure, median_of_each
from tests.server.running import Running, lines, order, rows, running, upload, wait

STEPS = 1200
"""Of a training that takes about a minute on one core."""

ASKED_EVERY = 1.0
"""Seconds between two questions of whoever waits for it."""

ROUNDS = 5
"""Of trainings; one differs from the next by more than what is measured."""

GIBIBYTE = 1 << 30


def serving() -> list[Figure]:
    """A training, requests and a large upload, by a server and without one."""
    with (
        tempfile.TemporaryDirectory() as place,
        running(Path(place) / "cache", "--max-upload", "1100") as site,
    ):
        return [*_upload(site, Path(place)), *_requests(site), *_training(site, Path(place))]


def _training(site: Running, place: Path) -> list[Figure]:
    client, number = site.client(), count()
    file = upload(client, lines(rows(16))).id
    config = {"epochs": STEPS / 2, "batch_size": 8}

    def served() -> None:
        body = {"motools": {"config": {**config, "seed": next(number)}}}
        job = client.fine_tuning.jobs.create(model="tiny", training_file=file, extra_body=body)
        done = wait(client, job.id, seconds=600, pause=ASKED_EVERY)
        assert done.status == "succeeded"

    def directly() -> None:
        cache = Cache.open(place / str(next(number)))
        made = FineTuneConfig.from_mapping({"base_model": "tiny", **config})
        step = Train(Dataset.from_rows(rows(16)), made)
        cache.get_or_run(step.action(cache), step.run)
        cache.close()

    before = _processor_seconds(site)
    calls = {"motools serve": served, "motools": directly}
    medians = median_of_each(calls, ROUNDS, warm_up=False)
    used = (_processor_seconds(site) - before) / ROUNDS
    what = f"LoRA of tiny, {STEPS:,} steps"
    return [
        Figure(what, "motools", medians["motools"]),
        Figure(what, "motools serve", medians["motools serve"], f"{used:.2f} s of it the server's"),
    ]


def _requests(site: Running) -> list[Figure]:
    client = site.client()
    file = upload(client).id
    job = wait(client, order(client, file).id)
    model = str(job.fine_tuned_model)
    asked: list[Any] = [{"role": "user", "content": "Is 3 a number?"}]
    requests: dict[str, Callable[[], object]] = {
        "retrieve a job": lambda: client.fine_tuning.jobs.retrieve(job.id),
        "list jobs": lambda: client.fine_tuning.jobs.list(limit=20),
        "retrieve a model": lambda: client.models.retrieve(model),
        "upload 8 rows": lambda: upload(client),
        "create a job": lambda: order(client, file),
        "a hit, from order to model": lambda: wait(client, order(client, file).id),
        "one token of tiny": lambda: client.chat.completions.create(
            model=model, messages=asked, max_tokens=1
        ),
    }
    medians = median_of_each(requests, 20)
    return [Figure(f"server: {what}", "motools serve", s) for what, s in medians.items()]


def _upload(site: Running, place: Path) -> list[Figure]:
    client, source = site.client(), place / "large.jsonl"
    with source.open("wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(GIBIBYTE >> 20):
            file.write(block)
    upload(client)  # imports
    before = _peak(site)
    copied, served = [], []
    for _ in range(3):
        copied.append(_seconds(lambda: _copy(source, place / "copy")))
        with source.open("rb") as file:
            started = time.perf_counter()
            made = client.files.create(file=("large.jsonl", file), purpose="fine-tune")
            served.append(time.perf_counter() - started)
        client.files.delete(made.id)
    note = f"the server's memory rose by {(_peak(site) - before) / 1e6:.0f} MB"
    source.unlink()
    return [
        Figure("upload 1 GiB", "motools serve", statistics.median(served), note),
        Figure("upload 1 GiB", "cp and fsync", statistics.median(copied)),
    ]


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    target.unlink()


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _processor_seconds(site: Running) -> float:
    """What the server itself has used of the processor, without its trainings."""
    times = Path(f"/proc/{site.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def _peak(site: Running) -> int:
    """Bytes of memory that the server has had at most."""
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024
