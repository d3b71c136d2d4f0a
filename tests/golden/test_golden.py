"""Keys never change by accident: not with the Python version, not with the hash seed.

After a change that is meant, ``python tests/golden/run.py > tests/golden/keys.json``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "keys.json").read_text())


def _load(name: str):
    spec = importlib.util.spec_from_file_location(f"golden_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("part", sorted(EXPECTED))
def test_keys_in_this_process(part: str) -> None:
    assert json.loads(json.dumps(getattr(_load("run"), part)())) == EXPECTED[part]


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_keys_on_every_python(version: str, seed: str) -> None:
    python = _load("interpreters").environment(version)
    if python is None:
        pytest.skip(f"no Python {version} on PATH or in pyenv")
    answer = subprocess.run(
        [python, HERE / "run.py"],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == EXPECTED


def test_the_pinned_parts_are_told_apart() -> None:
    for part in ("arguments", "sources", "actions"):
        assert len(set(EXPECTED[part].values())) == len(EXPECTED[part])
