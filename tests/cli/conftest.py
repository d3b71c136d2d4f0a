"""A filled cache, and the application run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from typer.testing import CliRunner, Result

from motools.cli import app
from tests.filled import Filled, fill


class Run(Protocol):
    def __call__(self, *arguments: str) -> Result: ...


@pytest.fixture
def filled(tmp_path: Path, coordinator: str) -> Filled:
    return fill(tmp_path / "cache")


@pytest.fixture
def run(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``motools cache`` with the filled cache."""
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(filled.root))

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, ["cache", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    return run


@pytest.fixture
def data(run: Run) -> Callable[..., Any]:
    """What a command that must succeed prints as JSON."""

    def data(*arguments: str) -> Any:
        result = run(*arguments, "--format", "json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return data
