"""What all tests share: patience, a Prefect server, databases that coordinate caches, S3."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests import ceph, postgresql, s3

# Flows that are run as programs start a server each, two at a time on busy cores.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
# A deadline would be for an idle machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
# Tests change modules faster than Python's own cache can tell (a second, or another size).
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.dont_write_bytecode = True
# Prefect reads these when it is imported.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
# As many tests run as there are cores: threads that compute would only be in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell has what it starts in the background ignore interrupts, and so would programs of tests.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Results are held against each other to the bit, which needs one kind of device for all.
# Tests of a GPU run by themselves: one training at a time has it.
if not os.environ.get("MOTOOLS_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("MOTOOLS_TEST_GPU"):
        skip = pytest.mark.skip(reason="needs a GPU and MOTOOLS_TEST_GPU=1, as `make test` sets")
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the clients of ``tests/faults/test_paid_once.py`` came to, counted at the server."""
    ended = [each for each in terminalreporter.stats.get("", []) if each.when == "teardown"]
    said = [pair for report in ended for pair in report.user_properties]
    counts: Counter[str] = Counter()
    for name, number in said:
        if name.startswith("paid "):
            counts[name.removeprefix("paid ")] += number
    if counts["cases"]:
        terminalreporter.write_line(
            f"paid once: {counts['cases']} keys whose payer was killed, stopped or cut off came to "
            f"{counts['jobs']} jobs; {counts['stops']} first tries ended in an error instead"
        )


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """Address of a Prefect server, for the flows of this process and of programs it runs.

    A program without one starts its own, which takes longer than most flows here.
    """
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def server() -> Iterator[postgresql.Server]:
    with postgresql.running() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.Server]:
    try:
        ceph.root()
    except ceph.NoCephError as problem:
        pytest.skip(str(problem))
    with s3.running() as server:
        yield server


@pytest.fixture
def bucket(s3_server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> s3.Bucket:
    """An empty bucket of a real S3, whose user this process and its children are."""
    bucket = s3_server.bucket()
    for name, value in bucket.environment().items():
        monkeypatch.setenv(name, value)
    return bucket


@pytest.fixture
def coordinator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What database coordinates the caches of a test, and where their bytes are.

    See ``postgresql.BOTH`` and ``s3.EVERYWHERE``.
    """
    kind = str(getattr(request, "param", "sqlite"))
    if kind != "sqlite":
        url = request.getfixturevalue("server").url
        monkeypatch.setenv("MOTOOLS_DATABASE_URL", url)
    if kind == "postgresql-s3":
        monkeypatch.setenv("MOTOOLS_STORE", f"{request.getfixturevalue('bucket').url}/cache")
    return kind
