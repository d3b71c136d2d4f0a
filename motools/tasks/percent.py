"""How far a task run is, as a progress artifact in Prefect's user interface."""

from __future__ import annotations

import time
from typing import Any, Final
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException

_EVERY: Final = 5.0


class Percent:
    """The progress artifact of the task run that goes on here.

    Args:
        key: the artifact's name: lower case letters, digits and dashes.
        logger: is told, once, when Prefect cannot be.
        every: least seconds between two updates; the last one is always made.
    """

    def __init__(self, key: str, logger: Any, every: float = _EVERY) -> None:
        self._key = key
        self._logger = logger
        self._every = every
        self._next = 0.0
        self._id: UUID | None = None
        self._broken = False

    def update(self, share: float, message: str) -> None:
        """Say how far the work is; outside a task run, nobody is told.

        Args:
            share: of the work that is done, from 0 to 1.
            message: the same in words.
        """
        now = time.monotonic()
        if self._broken or (now < self._next and share < 1):
            return
        self._next = now + self._every
        try:
            self._send(100.0 * min(1.0, max(0.0, share)), message)
        except (httpx.HTTPError, PrefectException) as problem:
            # The work is worth more than the picture of it.
            self._broken = True
            self._logger.warning("Prefect does not show how far this is: %s", problem)

    def _send(self, percent: float, message: str) -> None:
        run = TaskRunContext.get()
        if run is None:
            return
        with get_client(sync_client=True) as client:
            if self._id is not None:
                client.update_artifact(self._id, ArtifactUpdate(data=percent, description=message))
                return
            self._id = client.create_artifact(
                ArtifactCreate(
                    key=self._key,
                    type="progress",
                    description=message,
                    data=percent,
                    task_run_id=run.task_run.id,
                    flow_run_id=run.task_run.flow_run_id,
                )
            ).id
