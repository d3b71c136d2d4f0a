"""What all tests share: patience, and which database coordinates a cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import postgresql

# Flows that are run as programs start a server each, two at a time on busy cores.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


@pytest.fixture(scope="session")
def server() -> Iterator[postgresql.Server]:
    with postgresql.running() as server:
        yield server


@pytest.fixture
def coordinator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which database coordinates the caches of a test; see ``postgresql.BOTH``."""
    kind = str(getattr(request, "param", "sqlite"))
    if kind == "postgresql":
        url = request.getfixturevalue("server").url
        monkeypatch.setenv("MOTOOLS_DATABASE_URL", url)
    return kind
