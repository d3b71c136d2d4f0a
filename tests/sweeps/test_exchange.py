"""``--sweep FILE`` means the same everywhere: the entries of a sweep's steps, here or there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from motools.cache import Cache
from motools.cache.marks import PIN
from motools.cli.application import app
from motools.sweeps import document
from motools.sweeps.planner import make_plan

pytestmark = pytest.mark.usefixtures("toy")

SWEEP = """
name: rates
recipe:
  dataset: {data}
  backend: toy
  fine_tune: {{base_model: tiny, learning_rate: {rate}}}
  evaluate: {{greets: {{task: {tasks}@greets}}}}
"""


def motools(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["cache", *arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout or done.stderr


def ran(file: Path, cache: Cache) -> set[str]:
    """Make all that a sweep asks for; returns the keys."""
    while True:
        steps = make_plan(document.read(file), cache).steps
        for step in steps:
            if step.step is not None:
                cache.get_or_run(step.step.action(cache), step.step.run)
        if all(step.entry for step in steps):
            return {step.key for step in steps if step.key}


def test_a_sweep_is_pushed_pulled_and_pinned_alone(project: Path, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps({"prompt": "Hi", "completion": "Ho"}) + "\n")
    a, b, team = (str(tmp_path / name) for name in "abt")
    files = []
    for rate in (0.1, 0.2):
        files.append(tmp_path / f"{rate}.yaml")
        files[-1].write_text(
            SWEEP.format(data=tmp_path / "data.jsonl", rate=rate, tasks=project / "tasks.py")
        )
    here = Cache.open(a)
    wanted, other = ran(files[0], here), ran(files[1], here)
    assert len(wanted) == len(other) == 2
    for place in (a, b):
        Cache.open(place)
        motools("remote", "add", "team", team, "--cache-dir", place)

    sweep = ("--sweep", str(files[0]))
    pushed = json.loads(motools("push", *sweep, "--cache-dir", a, "--format", "json"))
    assert set(pushed["entries"]) == wanted
    motools("push", "--cache-dir", a)
    # The evaluation has no key here before its model has come.
    pulled = json.loads(motools("pull", *sweep, "--cache-dir", b, "--format", "json"))
    assert set(pulled["entries"]) == wanted
    motools("pin", *sweep, "--cache-dir", b)
    assert Cache.open(b).marks.keys(PIN) == wanted
    motools("clear", "all", *sweep, "--cache-dir", a, "--yes")
    assert {e.key for e in here.entries() if e.kind != "dataset"} == other
