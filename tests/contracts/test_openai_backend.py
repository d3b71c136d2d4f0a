"""The backend ``openai`` keeps the contract of providers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from motools.testing import ProviderContract
from motools.training.openai.backend import OpenAIBackend
from motools.training.provider import Provider
from tests.training import openai_api
from tests.training.openai_api import SNAPSHOT


class TestOpenAI(ProviderContract):
    base_model = SNAPSHOT
    patience = 60.0
    url = ""

    @pytest.fixture(autouse=True)
    def api(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("TESTS_API_KEY", openai_api.SECRET)
        with openai_api.running() as api:
            self.url = api.url
            yield

    def provider(self) -> Provider:
        return OpenAIBackend(
            base_url=self.url, api_key_env="TESTS_API_KEY", finds=True, visibility_seconds=0.5
        )
