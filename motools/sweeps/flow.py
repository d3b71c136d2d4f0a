"""A sweep as a flow of its own, on the task runner of one's choice."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from prefect import flow

from motools.sweeps.extras import needed
from motools.sweeps.run import RunLimits, run_sweep

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from motools.sweeps.outcome import SweepRun
    from motools.sweeps.sweep import Sweep


class Runner(enum.StrEnum):
    """Where steps run."""

    THREADS = "threads"
    PROCESSES = "processes"
    DASK = "dask"
    RAY = "ray"


_CLASSES: Final = {
    Runner.THREADS: ("prefect.task_runners", "ThreadPoolTaskRunner"),
    Runner.PROCESSES: ("prefect.task_runners", "ProcessPoolTaskRunner"),
    Runner.DASK: ("prefect_dask", "DaskTaskRunner"),
    Runner.RAY: ("prefect_ray", "RayTaskRunner"),
}


def flow_of(sweep: Sweep, runner: Runner = Runner.THREADS, **orders: Any) -> SweepRun:
    """Run a sweep in a flow that is named after it.

    Args:
        sweep: what to run.
        runner: where its steps run.
        orders: as :func:`motools.sweeps.run.run_sweep` takes them.

    Raises:
        MissingExtraError: the runner's package is not installed.
        ConfigError: the sweep is wrong.
        SweepLimitError: it may take more than the limits; nothing was run.
    """
    limits: RunLimits = orders.get("limits") or RunLimits()

    @flow(name=sweep.name, task_runner=_task_runner(runner, limits.at_once))
    def run() -> SweepRun:
        return run_sweep(sweep, **orders)

    return run()


def _task_runner(runner: Runner, at_once: int) -> TaskRunner[Any]:
    module, name = _CLASSES[runner]
    kind = getattr(needed(module, runner), name)
    made: TaskRunner[Any] = kind(max_workers=at_once) if module.startswith("prefect.") else kind()
    return made
