"""A sweep comes to the same on every task runner of Prefect's."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.sorting import TaskRunSort

from motools.artifacts import Evaluation
from motools.cache import Cache
from motools.errors import ConfigError, MissingExtraError
from motools.sweeps.flow import flow_of
from motools.sweeps.run import RunLimits
from motools.sweeps.runners import Runner, task_runner

from . import plugin
from .test_run import results_of, sweep
from .toy import FAILS

pytestmark = pytest.mark.usefixtures("server", "toy")

RUNNERS = [
    Runner.THREADS,
    Runner.PROCESSES,
    Runner.DASK,
    pytest.param(
        Runner.RAY,
        marks=pytest.mark.skipif(
            importlib.util.find_spec("ray") is None, reason="Ray is not installed"
        ),
    ),
]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend ``toy`` in processes that the runners start, too."""
    monkeypatch.syspath_prepend(tmp_path / "plugin")  # what is spawned takes over this path
    for name, value in plugin.install(tmp_path / "plugin").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


def task_runs(flow_name: str) -> int:
    """How many Prefect knows of this flow."""
    flows = FlowFilter(name=FlowFilterName(any_=[flow_name]))
    with get_client(sync_client=True) as client:
        return len(client.read_task_runs(flow_filter=flows, sort=TaskRunSort.ID_DESC, limit=200))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_runs_a_sweep(project: Path, tmp_path: Path, runner: Runner) -> None:
    cache = Cache.open(tmp_path / "cache")
    orders: dict[str, Any] = {"cache": cache, "limits": RunLimits(at_once=2)}
    made = sweep(project, grid={}, also=[{"fine_tune.learning_rate": FAILS}])
    first = flow_of(made, runner, **orders)
    assert str(first) == "3 run, 1 failed, 2 skipped"
    [failed] = first.failures
    assert failed.reason == "TrainingError: the learning rate is too high"

    again = replace(sweep(project, grid={}), name=f"again on {runner}")
    second = flow_of(again, runner, **orders)
    assert str(second) == "3 hits"
    assert task_runs(again.name) == 0
    found = results_of(second)
    assert found == results_of(first)[:3]
    assert [dict(e.scores) for e in found if isinstance(e, Evaluation)] == [
        {"match/accuracy": 6.0},
        {"match/accuracy": 5.0},
    ]
    assert {entry.provenance["flow"] for entry in cache.entries("eval")} == {made.name}


def test_a_runner_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="have no address; dask and ray do"):
        task_runner(Runner.THREADS, 2, "tcp://10.0.0.1:8786")
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'motools\[dask\]'"):
        task_runner(Runner.DASK, 2)


def test_relative_paths_start_where_the_flow_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of a cluster works in a directory of its own."""
    monkeypatch.chdir(project)
    [cell] = sweep(Path(), grid={}).cells()
    assert cell.options.base_dir == str(project)
