"""Beyond one machine: workers that share PostgreSQL and a store, and those of work pools."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache
from tests.cache.hosts import second_host
from tests.postgresql import Server
from tests.sweeps import plugin
from tests.sweeps.toy import noted_in

TASKS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample

@task
def greets():
    return Task(dataset=[Sample(input="Hi", target="Hello")])
"""
SWEEP = """
recipe:
  dataset: rows.jsonl
  backend: toy
  fine_tune: {base_model: tiny, epochs: 1}
  evaluate: {greets: {task: tasks.py@greets}}
seeds: [0, 1, 2, 3]
"""
ROOT = Path(__file__).parents[1]
ROW = '{"messages": [{"role": "assistant", "content": "Hello"}]}\n'


def write_sweep(place: Path) -> None:
    for name, text in (("rows.jsonl", ROW), ("tasks.py", TASKS), ("sweep.yaml", SWEEP)):
        (place / name).write_text(text)


class Host:
    """A machine of its own, but for the kernel: directories, Prefect, and file locks."""

    def __init__(self, place: Path, store: Path, url: str) -> None:
        self.place = place
        self.log = place / "log"
        place.mkdir()
        write_sweep(place)
        self.env = {
            **os.environ,
            **plugin.install(place / "plugin"),
            "MOTOOLS_CACHE_DIR": str(second_host(store, place / "cache")),
            "MOTOOLS_DATABASE_URL": url,
            "MOTOOLS_LEASE_SECONDS": "3",
            "PREFECT_HOME": str(place / "prefect"),
            "TOY_LOG": str(self.log),
            "TOY_SECONDS": "2",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "motools", "sweep", *words, "sweep.yaml", "--format", "json"],
            cwd=self.place,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def noted(self, event: str) -> list[str]:
        return [n for e, n in noted_in(self.log) if e == event] if self.log.exists() else []


def first_at_work(hosts: list[Host], running: list[subprocess.Popen[str]]) -> int:
    while True:
        for number, host in enumerate(hosts):
            assert running[number].poll() is None, running[number].communicate()
            if host.noted("begin"):
                return number
        time.sleep(0.05)


def results(output: str) -> dict[tuple[str, str], tuple[str, Any]]:
    rows = json.loads(output)
    return {(row["cell"], row["step"]): (row["key"], row["scores"]) for row in rows}


@pytest.mark.slow
def test_each_key_is_trained_once_wherever_it_was_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTOOLS_DATABASE_URL", server.url)
    store = tmp_path / "store"
    hosts = [Host(tmp_path / name, store, server.url) for name in ("one", "two", "three")]
    running = [host.start("run", "--at-once", "2") for host in hosts]
    killed = first_at_work(hosts, running)
    os.killpg(running[killed].pid, signal.SIGKILL)
    running[killed].wait()
    lost = set(hosts[killed].noted("begin")) - set(hosts[killed].noted("end"))

    found = []
    for number, process in enumerate(running):
        if number != killed:
            output, said = process.communicate()
            assert process.returncode == 0, said
            found.append(results(output))
    assert found[0] == found[1]
    assert len(found[0]) == 8
    assert all(key for key, _ in found[0].values())

    begun = Counter(name for host in hosts for name in host.noted("begin"))
    ended = Counter(name for host in hosts for name in host.noted("end"))
    assert lost
    assert len(ended) == 4
    assert set(ended.values()) == {1}
    assert begun == ended + Counter(lost)
    cache = Cache.open(store)
    for kind, count in (("model", 4), ("eval", 4)):
        made = cache.index.select(kind=kind, generations=True)
        assert [entry.generation for entry in made] == [1] * count
    cache.close()
    late = hosts[killed].start("plan")
    output, said = late.communicate()
    assert late.returncode == 0, said
    assert {row["state"] for row in json.loads(output)} == {"hit"}


@pytest.mark.slow
def test_deployments_run_on_a_worker(prefect_api: str, tmp_path: Path) -> None:
    """The commands of the guide, with the file of deployments as it is."""
    write_sweep(tmp_path)
    env = {
        **os.environ,
        **plugin.install(tmp_path / "plugin"),
        "MOTOOLS_CACHE_DIR": str(tmp_path / "cache"),
        "PREFECT_API_URL": prefect_api,
        "CUDA_VISIBLE_DEVICES": "0",
    }

    def prefect(*words: str, directory: Path = ROOT) -> str:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    prefect("work-pool", "create", "motools", "--type", "process")
    prefect("deploy", "--prefect-file", "flows/prefect.yaml", "--all")
    prefect("deployment", "run", "study/motools", "--param", f"file={tmp_path / 'sweep.yaml'}")
    worker = ("worker", "start", "--pool", "motools", "--limit", "1", "--run-once")
    said = prefect(*worker, directory=tmp_path)
    assert "Finished in state Completed" in said, said
    assert len(Cache.open(tmp_path / "cache").entries("eval")) == 4
