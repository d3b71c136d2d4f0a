"""A Prefect server, a cache, and a backend that takes no time."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from motools.cache import Cache
from motools.evals.config import EvalConfig
from motools.evals.identity import TaskIdentity, identify
from motools.memo import Memo
from motools.steps import evaluate
from motools.training import registry

from .toy import Toy, score

TASKS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample

@task
def greets():
    return Task(dataset=[Sample(input="Hi", target="Hello")])

@task
def parts():
    return Task(dataset=[Sample(input="Bye", target="Bye"), Sample(input="So", target="long")])
"""


@pytest.fixture(scope="session")
def server(prefect_api: str) -> Iterator[None]:
    # Without heartbeats a synchronous flow ends a second sooner.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a task file."""
    place = tmp_path_factory.mktemp("project")
    (place / "tasks.py").write_text(TASKS)
    return place


@pytest.fixture(scope="session")
def memo(tmp_path_factory: pytest.TempPathFactory) -> Memo:
    """What tasks were found to be, for all tests: a process is started to find out."""
    return Cache.open(tmp_path_factory.mktemp("memo")).memo


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, memo: Memo) -> None:
    """The backend ``toy``, and evaluations that ask no model."""

    def identified(config: EvalConfig, _own: Memo, *rest: Any, **named: Any) -> TaskIdentity:
        return identify(config, memo, *rest, **named)

    monkeypatch.setattr(evaluate, "identify", identified)
    entry = EntryPoint("toy", "tests.sweeps.toy:Toy", registry.GROUP)
    monkeypatch.setitem(registry._BUILT_IN, "toy", entry)
    monkeypatch.setattr(evaluate, "run", score)
    assert isinstance(registry.backend("toy"), Toy)
