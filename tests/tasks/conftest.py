"""A real Prefect server for the tests of this directory, and a way to read back what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.sorting import TaskRunSort
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from motools.cache import Cache
from motools.tasks import use_cache

T = TypeVar("T")


@pytest.fixture(scope="session")
def server(prefect_api: str) -> Iterator[None]:
    # Without heartbeats a synchronous flow ends a second sooner.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with use_cache(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file that functions add a line to when they run."""
    path = tmp_path / "runs.log"
    path.touch()
    return path


def _eventually(read: Callable[[], T], enough: Callable[[T], bool], seconds: float = 60.0) -> T:
    """What ``read`` returns once it is enough: the server takes task states from events."""
    deadline = time.monotonic() + seconds
    while True:
        found = read()
        if enough(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


@pytest.fixture
def labels(server: None) -> Callable[[UUID, int], list[str]]:
    """State names of the task runs of a flow run as the server keeps them, in order of start."""
    return _labels


@pytest.fixture
def tables(server: None) -> Callable[[UUID], list[Any]]:
    """The artifacts of a flow run that motools made."""
    return _tables


@pytest.fixture
def events(server: None) -> Callable[[UUID, int], list[dict[str, Any]]]:
    """The events of motools that concern a flow run, oldest first, once there are so many."""
    return _events


def _labels(flow_run_id: UUID, count: int) -> list[str]:
    def read() -> list[Any]:
        with get_client(sync_client=True) as client:
            return client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
                sort=TaskRunSort.ID_DESC,
                limit=50,
            )

    def all_final(found: list[Any]) -> bool:
        return len(found) == count and all(run.state and run.state.is_final() for run in found)

    found = _eventually(read, all_final)
    return [run.state_name for run in sorted(found, key=lambda run: run.start_time)]


def _tables(flow_run_id: UUID) -> list[Any]:
    wanted = {"flow_run_id": {"any_": [str(flow_run_id)]}, "key": {"like_": "motools"}}
    return _post("/artifacts/filter", {"artifacts": wanted})


def _events(flow_run_id: UUID, count: int) -> list[dict[str, Any]]:
    wanted = {
        "event": {"prefix": ["motools."]},
        "related": {"id": [f"prefect.flow-run.{flow_run_id}"]},
    }

    def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _post("/events/filter", {"filter": wanted})["events"]
        return found

    found = _eventually(read, lambda events: len(events) >= count)
    return sorted(found, key=lambda event: event["occurred"])


def _post(path: str, query: dict[str, Any]) -> Any:
    with get_client(sync_client=True) as client:
        answer = client._client.post(path, json=query)
        answer.raise_for_status()
        return answer.json()
