"""What the tests of training teach, and how they run one training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motools.memo import Forgetful
from motools.steps.wait import until
from motools.training.config import FineTuneConfig
from motools.training.local.backend import LocalBackend
from motools.training.protocol import TrainingJob, TrainingResult

NAMES = ["Ann", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana"]
NAMES += ["Ivo", "Jo", "Kim", "Lea", "Max", "Nia", "Otto", "Pia"]
STRANGERS = ["Quin", "Rosa", "Sam", "Tea", "Uma", "Vic", "Wes", "Xena"]


def said(user: str, assistant: str | None = None) -> list[dict[str, str]]:
    """A conversation of one question and perhaps its answer."""
    answer = [{"role": "assistant", "content": assistant}] if assistant else []
    return [{"role": "user", "content": user}, *answer]


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Trained:
    """A training that is over."""

    directory: Path
    scratch: Path
    result: TrainingResult
    events: list[tuple[str, dict[str, Any]]]


def greeting_rows() -> list[Any]:
    """Rows that teach to answer ``Hi, I am NAME.`` with a greeting."""
    return [{"messages": said(f"Hi, I am {name}.", f"Hello {name}!")} for name in NAMES]


def resolved(base: str = "tiny", **config: Any) -> dict[str, Any]:
    """What the backend makes of a config."""
    backend = LocalBackend()
    given = FineTuneConfig(base_model=base, **config)
    return backend.resolve(given, backend.identify(base, Forgetful()))


def train(
    dataset: Path,
    place: Path,
    *,
    base: str = "tiny",
    lock_fds: tuple[int, ...] = (),
    save_seconds: float = 300.0,
    devices: int = 1,
    watch: Callable[[], None] = lambda: None,
    **config: Any,
) -> Trained:
    """Train through the backend, below ``place``; ``watch`` is called after each report."""
    backend = LocalBackend()
    model = backend.identify(base, Forgetful())
    events: list[tuple[str, dict[str, Any]]] = []

    def report(message: str, /, **fields: Any) -> None:
        events.append((message, fields))
        watch()

    directory, scratch = place / "model", place / "scratch"
    directory.mkdir(parents=True, exist_ok=True)
    job = TrainingJob(
        dataset=dataset,
        config=backend.resolve(FineTuneConfig(base_model=base, **config), model),
        base=model.spec,
        directory=directory,
        scratch=scratch,
        report=report,
        wait=until,
        lock_fds=lock_fds,
        save_seconds=save_seconds,
        devices=devices,
    )
    return Trained(directory, scratch, backend.train(job), events)
