"""A sweep as a flow of its own, on the task runner of one's choice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from prefect import flow

from motools.sweeps.run import RunLimits, run_sweep
from motools.sweeps.runners import Runner, task_runner

if TYPE_CHECKING:
    from motools.sweeps.outcome import SweepRun
    from motools.sweeps.sweep import Sweep

_REFUSED: Final = re.compile("[/%&<>]")
"""What Prefect takes in no name."""


def flow_of(
    sweep: Sweep, runner: Runner = Runner.THREADS, *, address: str | None = None, **orders: Any
) -> SweepRun:
    """Run a sweep in a flow that is named after it.

    Args:
        sweep: what to run.
        runner: where its steps run.
        address: of the runner's cluster, if there is one already.
        orders: as :func:`motools.sweeps.run.run_sweep` takes them.

    Raises:
        MissingExtraError: the runner's package is not installed.
        ConfigError: the sweep is wrong, or the runner has no address.
        SweepLimitError: it may take more than the limits; nothing was run.
    """
    limits: RunLimits = orders.get("limits") or RunLimits()

    @flow(
        name=_REFUSED.sub("-", sweep.name), task_runner=task_runner(runner, limits.at_once, address)
    )
    def run() -> SweepRun:
        return run_sweep(sweep, **orders)

    return run()
