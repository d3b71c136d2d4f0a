"""An API of OpenAI's protocol over real HTTP, which the settings name as ``lab``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training import lab, openai_api
from tests.training.openai_api import OpenAIAPI


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenAIAPI]:
    with openai_api.running() as api:
        api.course = ("succeeded",)
        lab.be(api, monkeypatch, tmp_path / "cache")
        yield api
