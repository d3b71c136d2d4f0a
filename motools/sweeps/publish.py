"""What came of a run of a sweep, as an artifact in Prefect's user interface."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from motools.errors import MissingExtraError
from motools.sweeps import plots, report, results
from motools.sweeps.drawing import picture
from motools.sweeps.outcome import SweepRun

_UNSAFE: Final = re.compile(r"[^a-z0-9]+")


def publish(run: SweepRun, flow_run_id: UUID) -> None:
    """Keep the table of a run, with a plot where one can show it, beside the flow run.

    A server that does not take it is told of in the log: the sweep is done all the same.
    """
    try:
        _create(run, flow_run_id)
    except (HTTPError, PrefectException) as problem:
        get_run_logger().warning("the sweep's table is not published: %r", problem)


def _create(run: SweepRun, flow_run_id: UUID) -> None:
    name = _UNSAFE.sub("-", run.plan.sweep.name.lower()).strip("-")
    with get_client(sync_client=True) as client:
        client.create_artifact(
            ArtifactCreate(
                key=f"motools-sweep-{name}" if name else "motools-sweep",
                type="markdown",
                description=report.summary(run),
                data=report.markdown(run, _plot(run)),
                flow_run_id=flow_run_id,
            )
        )


def _plot(run: SweepRun) -> bytes | None:
    """A picture of the scores; none where two axes cannot show them, or nothing can draw."""
    found = results.of_run(run)
    if not found.measurements:
        return None
    try:
        plot = plots.overview(found)
        return None if plot is None else picture(plot, "png")
    except MissingExtraError as problem:
        # The table has every number.
        get_run_logger().info("the sweep's table is published without a plot: %s", problem)
        return None
