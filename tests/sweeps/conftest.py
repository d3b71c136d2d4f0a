"""A Prefect server, a cache, and a backend that takes no time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

# Before Prefect is imported: it reads its home then.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

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
def server() -> Iterator[None]:
    # Without heartbeats a synchronous flow ends a second sooner.
    no_heartbeats = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with prefect_test_harness(server_startup_timeout=120), no_heartbeats:
        yield


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a task file."""
    place = tmp_path_factory.mktemp("project")
    (place / "tasks.py").write_text(TASKS)
    return place


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend ``toy``, and evaluations that ask no model."""
    entry = EntryPoint("toy", "tests.sweeps.toy:Toy", registry.GROUP)
    monkeypatch.setitem(registry._BUILT_IN, "toy", entry)
    monkeypatch.setattr(evaluate, "run", score)
    assert isinstance(registry.backend("toy"), Toy)
