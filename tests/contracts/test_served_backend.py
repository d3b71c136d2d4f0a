"""The backend of APIs keeps the contract of providers, at a real server that really trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from motools.testing import ProviderContract
from motools.training.openai.backend import OpenAIBackend
from motools.training.provider import Provider
from tests.server.running import running

pytestmark = pytest.mark.slow


class TestServer(ProviderContract):
    base_model = "tiny"
    config: ClassVar = {"epochs": 1, "batch_size": 8}
    url: ClassVar[str]

    def provider(self) -> Provider:
        return OpenAIBackend(base_url=self.url, visibility_seconds=0.5)


@pytest.fixture(autouse=True, scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with running(tmp_path_factory.mktemp("provider") / "cache") as server:
        TestServer.url = server.url
        yield
