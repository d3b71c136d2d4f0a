"""A real server, as a process, and OpenAI's own SDK in front of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob

ENDED = ("succeeded", "failed", "cancelled")
PATIENCE = 120.0
SERVE = (sys.executable, "-m", "motools", "serve", "--port", "0")


@dataclass
class Running:
    """A server that answers."""

    process: subprocess.Popen[str]
    url: str
    root: Path
    log: Path

    def client(self, token: str = "none", **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=token, **{"max_retries": 0, **options})

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def running(root: Path, *arguments: str, **environment: str) -> Iterator[Running]:
    """A server over the cache in a directory, ended with the block."""
    log = root.with_suffix(".log")
    with log.open("a") as errors:
        process = subprocess.Popen(
            [*SERVE, "--cache-dir", str(root), *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **environment},
        )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http"), log.read_text()
        yield Running(process, url, root, log)
    finally:
        if process.poll() is None:
            process.terminate()
        assert process.wait(60) in (0, -signal.SIGKILL), log.read_text()
        process.stdout.close()


def ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    """A server that does not start."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def rows(count: int = 8, answer: str = "yes") -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"Is {number} a number?"},
                {"role": "assistant", "content": answer},
            ]
        }
        for number in range(count)
    ]


def lines(values: Sequence[Any]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def upload(client: openai.OpenAI, data: bytes | None = None, name: str = "r.jsonl") -> FileObject:
    return client.files.create(
        file=(name, lines(rows()) if data is None else data), purpose="fine-tune"
    )


def order(client: openai.OpenAI, file: str, **changes: Any) -> FineTuningJob:
    """A job of one epoch: two steps."""
    hyperparameters = {"n_epochs": 1, "batch_size": 4}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    values = {"model": "tiny", "training_file": file, "method": method, "seed": 0}
    return client.fine_tuning.jobs.create(**{**values, **changes})


def wait(
    client: openai.OpenAI,
    job: str,
    statuses: Sequence[str] = ENDED,
    seconds: float = PATIENCE,
    pause: float = 0.05,
) -> FineTuningJob:
    deadline = time.monotonic() + seconds
    while True:
        found = client.fine_tuning.jobs.retrieve(job)
        if found.status in statuses:
            return found
        assert found.status not in ENDED, found
        assert time.monotonic() < deadline, found
        time.sleep(pause)
