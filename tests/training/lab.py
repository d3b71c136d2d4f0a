"""A cache whose settings name an API as ``lab``, and trainings for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motools import Dataset, FineTuneConfig
from motools.cache import Cache
from motools.settings import Settings
from motools.steps.options import RunOptions
from motools.steps.train import Train

from . import openai_api
from .lessons import greeting_rows
from .openai_api import SNAPSHOT, OpenAIAPI

PRICE = 1_000_000.0
"""Of a million tokens: a token is one."""

SECONDS = 0.2
"""How late lists of jobs may be."""


def be(api: OpenAIAPI, monkeypatch: pytest.MonkeyPatch, root: Path, **more: Any) -> None:
    """Have the settings name an API, for this process and its children."""
    options = {
        "base_url": f'"{api.url}"',
        "api_key_env": '"TESTS_API_KEY"',
        "finds": "true",
        "visibility_seconds": str(SECONDS),
        **more,
    }
    inside = ", ".join(f"{name} = {value}" for name, value in options.items())
    monkeypatch.setenv("MOTOOLS_BACKENDS", f"{{lab = {{{inside}}}}}")
    monkeypatch.setenv("MOTOOLS_PRICES", f"{{lab = {{million_tokens = {PRICE}}}}}")
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(root))
    monkeypatch.setenv("TESTS_API_KEY", openai_api.SECRET)


def opened(**settings: Any) -> Cache:
    """The cache, with some settings changed."""
    return Cache.open(settings=Settings.load(**settings))


def training(seed: int = 0, **more: Any) -> Train:
    """A training at the API."""
    config = FineTuneConfig(base_model=SNAPSHOT, epochs=1, seed=seed)
    return Train(Dataset.from_rows(greeting_rows()), config, "lab", RunOptions(), **more)
