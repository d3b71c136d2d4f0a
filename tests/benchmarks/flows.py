"""A flow that has nothing to do, beside a flow that does nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from examples import demo
from motools.tasks import use_cache
from tests.benchmarks.figures import Figure, median_of_each


@flow
def empty() -> None:
    """Nothing."""


def all_hits() -> list[Figure]:
    """The demo when everything is in the cache, on a server that runs."""
    with (
        tempfile.TemporaryDirectory() as place,
        prefect_test_harness(server_startup_timeout=120),
        use_cache(Path(place)),
    ):
        medians = median_of_each({"motools": demo.sweep, "an empty flow": empty}, 7)
    what = "the demo again: 10 hits"
    return [Figure(what, who, seconds) for who, seconds in medians.items()]
