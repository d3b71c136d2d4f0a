"""Backends are found by name, without importing what they train with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from motools.errors import BackendError
from motools.training import registry
from motools.training.protocol import Trainer


def test_the_local_backend_is_built_in() -> None:
    local = registry.backend("local")
    assert isinstance(local, Trainer)
    assert local.identity()["name"] == "local"
    assert "local" in registry.names()


def test_a_built_in_backend_is_found_without_looking_through_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every fine-tuning asks, hits too, and reading all entry points takes milliseconds."""

    def looked(**_: str) -> None:
        raise AssertionError("looked through the installed packages")

    monkeypatch.setattr(registry, "entry_points", looked)
    registry._made.cache_clear()
    assert registry.backend("local") is registry.backend("local")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BackendError, match="'locl'; did you mean 'local'"):
        registry.backend("locl")
    with pytest.raises(BackendError, match=r"known are .*local"):
        registry.backend("zzz")


def test_a_package_offers_backends(tmp_path: Path) -> None:
    """An installed distribution adds a name, cannot take ``local``, and must offer a backend."""
    (tmp_path / "theirs.py").write_text(
        "from motools.training.local.backend import LocalBackend\n"
        "class Theirs(LocalBackend):\n"
        "    def identity(self): return {'name': 'theirs', 'recipe': 1}\n"
    )
    information = tmp_path / "theirs-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[motools.backends]\ntheirs = theirs:Theirs\nlocal = theirs:Theirs\n"
        "gone = not_there:X\nwrong = builtins:dict\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from motools.errors import BackendError\n"
        "from motools.training import registry\n"
        "print(registry.backend('theirs').identity()['name'])\n"
        "print(registry.backend('local').identity()['name'])\n"
        "for name in ('gone', 'wrong'):\n"
        "    try: registry.backend(name)\n"
        "    except BackendError as problem: print(problem)\n"
    )
    lines = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines[:2] == ["theirs", "local"]
    assert "not_there" in lines[2]
    assert "'wrong'" in lines[3] and "is not a motools backend" in lines[3]


def test_planning_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from motools.training.registry import backend\n"
        "from motools.training.config import FineTuneConfig\n"
        "from tests.training.lessons import Forgetful\n"
        "local = backend('local')\n"
        "base = local.identify('tiny', Forgetful())\n"
        "local.resolve(FineTuneConfig(base_model='tiny', epochs=3), base)\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'tokenizers', 'prefect'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
