"""Where the steps of a sweep run: Prefect's task runners, made for work that mostly waits."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from motools.errors import ConfigError
from motools.sweeps.extras import needed

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner


class Runner(enum.StrEnum):
    """Where steps run."""

    THREADS = "threads"
    PROCESSES = "processes"
    DASK = "dask"
    RAY = "ray"


def task_runner(runner: Runner, at_once: int, address: str | None = None) -> TaskRunner[Any]:
    """A task runner with room for all steps in flight.

    Args:
        runner: which.
        at_once: most steps in flight. They start workers and wait for them, so a
            cluster that is made here takes them all, however few cores there are.
        address: of a Dask scheduler or a Ray cluster that is there already; by
            default one is made on this machine, and ended with the flow.

    Raises:
        MissingExtraError: the runner's package is not installed.
        ConfigError: an address for a runner that takes none.
    """
    if runner is Runner.DASK:
        return _dask(at_once, address)
    if runner is Runner.RAY:
        return _ray(at_once, address)
    if address is not None:
        raise ConfigError(
            f"{runner} are of this machine, and have no address; {Runner.DASK} and {Runner.RAY} do"
        )
    kind = ThreadPoolTaskRunner if runner is Runner.THREADS else ProcessPoolTaskRunner
    return kind(max_workers=at_once)


def _dask(at_once: int, address: str | None) -> TaskRunner[Any]:
    made: Callable[..., TaskRunner[Any]] = needed("prefect_dask", Runner.DASK).DaskTaskRunner
    # It tells of each connection, at a level that Prefect prints.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if address is not None:
        return made(address=address)
    cluster = {"n_workers": 1, "threads_per_worker": at_once, "dashboard_address": None}
    return made(cluster_kwargs=cluster)


def _ray(at_once: int, address: str | None) -> TaskRunner[Any]:
    made: Callable[..., TaskRunner[Any]] = needed("prefect_ray", Runner.RAY).RayTaskRunner
    if address is not None:
        return made(address=address)
    return made(init_kwargs={"num_cpus": at_once, "include_dashboard": False})


@contextmanager
def one_server() -> Iterator[None]:
    """Have all processes of a flow run talk to one Prefect server.

    Without an address in the settings, each would start a temporary one of its own.
    """
    if PREFECT_API_URL.value():
        yield
        return
    with get_client(sync_client=True) as client:
        address = str(client.api_url)
    with temporary_settings({PREFECT_API_URL: address}):
        yield
