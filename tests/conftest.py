"""Which database coordinates the caches of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import postgresql


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
