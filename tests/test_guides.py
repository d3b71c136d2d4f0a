"""The guides' code runs, top to bottom, and prints what they say it prints.

Of a page, blocks whose first line is ``# name.py`` or ``# motools.toml`` are files; the other
``python`` blocks are one program. ``sh`` blocks run after it. A ``text`` block is the output of
the block before it, or a part of it; ``…`` stands for anything. ``json`` and ``toml`` blocks are
values; ``sql`` is not run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.training import openai_api
from tests.training.openai_api import OpenAIAPI

DATABASE = "postgresql://motools@db.example.org/motools"
BUCKET = "s3://motools-example/team"
API = "https://llm.example.org/v1"
"""Instead of which the pages' programs are given real ones."""

Run: TypeAlias = Callable[[list[str]], str]
GUIDES = Path(__file__).parents[1] / "docs" / "guides"
MARK = "--- end of block {} ---"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIAPI]:
    monkeypatch.setenv("LAB_API_KEY", openai_api.SECRET)
    with openai_api.running() as api:
        yield api


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(GUIDES.glob("*.md")), ids=lambda page: page.stem)
def test_code_does_what_the_page_says(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest, prefect_api: str
) -> None:
    content = page.read_text()
    if DATABASE in content:
        content = content.replace(DATABASE, request.getfixturevalue("server").url)
    if BUCKET in content:
        content = content.replace(BUCKET, f"{request.getfixturevalue('bucket').url}/team")
    if API in content:
        content = content.replace(API, request.getfixturevalue("api").url)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", content, re.DOTALL | re.MULTILINE)
    assert {language for language, _ in blocks} <= {"python", "sh", "text", "json", "toml", "sql"}
    run = partial(run_in, tmp_path, PREFECT_API_URL=prefect_api)
    printed = {**run_python(blocks, tmp_path, run), **run_shell(blocks, tmp_path, run)}
    assert printed, "the page has no code"
    for number, (language, text) in enumerate(blocks):
        if language == "text":
            said = printed[number - 1]
            assert re.search(pattern(text), said), said[-3000:]
        elif language == "json":
            json.loads(text)
        elif language == "toml":
            tomllib.loads(text)


def run_python(blocks: list[tuple[str, str]], place: Path, run: Run) -> dict[int, str]:
    """What each block of the page's program printed."""
    program = ""
    for number, (language, code) in enumerate(blocks):
        if named := re.match(r"# (\w+\.(?:py|toml))\n", code):
            (place / named[1]).write_text(code)
        elif language == "python":
            program += f"{code}\nprint({MARK.format(number)!r}, flush=True)\n"
    (place / "program.py").write_text(program)
    output = run([sys.executable, "program.py"])
    return dict(split(output))


def split(output: str) -> Iterator[tuple[int, str]]:
    start = 0
    for mark in re.finditer(MARK.format(r"(\d+)") + "\n", output):
        yield int(mark[1]), output[start : mark.start()]
        start = mark.end()


def run_shell(blocks: list[tuple[str, str]], place: Path, run: Run) -> dict[int, str]:
    """What each block of shell commands printed."""
    (place / "bin").mkdir()
    for name, options in (("motools", "-m motools"), ("python", "")):
        command = place / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {options} "$@"\n')
        command.chmod(0o755)
    scripts = {n: code for n, (language, code) in enumerate(blocks) if language == "sh"}
    return {n: run(["bash", "-eu", "-c", code]) for n, code in scripts.items()}


def run_in(place: Path, command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
        env={
            **os.environ,
            "COLUMNS": "200",
            "MOTOOLS_CACHE_DIR": str(place / ".motools"),
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "",  # or else the lines of two processes run into one another
            **environment,
        },
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def pattern(expected: str) -> str:
    """Lines in this order, whatever stands between them; blanks are as good as one."""
    lines = [re.escape(" ".join(line.split())) for line in expected.splitlines() if line.strip()]
    found = [line.replace(re.escape("…"), ".*?").replace("\\ ", " +") for line in lines]
    return r"(?m)^ *" + r" *$(?s:.*?)^ *".join(found) + " *$"
