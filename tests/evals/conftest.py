"""A user's project with tasks, and a memo that counts."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from motools.evals import EvalConfig, EvaluationJob, EvaluationResult, TaskIdentity, identify, run
from motools.memo import SETTLED_NS

PROJECT = Path(__file__).parent / "project"


@dataclass
class CountingMemo:
    """Keeps facts as JSON text, as the real memo does, and counts what it was told."""

    facts: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    recorded: int = 0

    def recall(self, namespace: str, subject: str, signature: str) -> Any:
        known = self.facts.get((namespace, subject))
        return json.loads(known[1]) if known and known[0] == signature else None

    def record(self, namespace: str, subject: str, signature: str, value: Any) -> None:
        self.recorded += 1
        self.facts[namespace, subject] = (signature, json.dumps(value))


@dataclass
class Project:
    """A copy of the project that a test may change.

    Attributes:
        directory: where its ``tasks.py`` is.
        scratch: an empty directory.
        memo: what identities are remembered in.
    """

    directory: Path
    scratch: Path
    memo: CountingMemo = field(default_factory=CountingMemo)

    def identify(self, task: str = "greets", **config: Any) -> TaskIdentity:
        """The identity of one of the project's tasks, when no file was written just now."""
        time.sleep(2 * SETTLED_NS / 1e9)
        return identify(EvalConfig(task=f"tasks.py@{task}", **config), self.memo, self.directory)

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a file; ``old`` has to be there."""
        path = self.directory / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def run(
        self,
        task: str = "greets",
        model: dict[str, Any] | None = None,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        identity: TaskIdentity | None = None,
        **config: Any,
    ) -> EvaluationResult:
        """Identify and run one of the project's tasks; the log comes to ``scratch``."""
        return run(
            EvaluationJob(
                config=EvalConfig(task=f"tasks.py@{task}", **config),
                identity=identity or self.identify(task, **config),
                model=model or {"provider": "echo/model"},
                directory=self.scratch,
                scratch=self.scratch / "scratch",
                base_dir=self.directory,
                on_event=on_event,
            )
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of ``project``."""
    directory = tmp_path / "project"
    shutil.copytree(PROJECT, directory, ignore=shutil.ignore_patterns("__pycache__"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Project(directory, scratch)
