"""Real faults: a full disk, a read-only mount, a kernel that refuses locks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence

import pytest

Script = Callable[..., "subprocess.CompletedProcess[str]"]

PRELUDE = """
import errno, json, os, subprocess, sys
from pathlib import Path
from motools.cache import Action, Cache
from motools.errors import *
from motools.settings import Settings

def action(n):
    return Action("function", config={"n": n}, backend={"name": "test", "recipe": 1})

def write(size):
    def run(context):
        (context.directory / "data.bin").write_bytes(os.urandom(size))
        return size
    return run
"""


def _run(command: Sequence[str], code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    script = PRELUDE + textwrap.dedent(code)
    return subprocess.run(
        [*command, sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def script() -> Script:
    """Run a script in a process of its own."""
    return lambda code, *arguments: _run([], code, *arguments)


@pytest.fixture
def in_namespace() -> Script:
    """Run a script that may mount file systems."""
    if shutil.which("unshare") is None or _fails(["unshare", "-rm", "true"]):
        pytest.skip("unshare cannot make a mount namespace here (util-linux, user namespaces)")
    return lambda code, *arguments: _run(["unshare", "-rm"], code, *arguments)


@pytest.fixture
def with_failing() -> Script:
    """Run a script whose system calls fail as strace is told, on certain paths or on all."""
    if shutil.which("strace") is None or _fails(["strace", "-o", "/dev/null", "true"]):
        pytest.skip("strace is not installed or may not trace here (apt install strace)")

    def run(fault: str, paths: Sequence[object], code: str, *arguments: object):  # type: ignore[no-untyped-def]
        tracing = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
        for path in paths:
            tracing += ["-P", str(path)]
        return _run(tracing, code, *arguments)

    return run


def _fails(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0
