"""The code in the documentation runs, and the examples and flows do what they say."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_in(cwd: Path, *command: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={
            **os.environ,
            "PREFECT_LOGGING_LEVEL": "INFO",
            "MOTOOLS_CACHE_DIR": str(cwd / ".motools"),
            **environment,
        },
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_quickstart(tmp_path: Path, prefect_api: str) -> None:
    run = partial(run_in, tmp_path, PREFECT_API_URL=prefect_api)
    text = (ROOT / "docs" / "quickstart.md").read_text()
    files = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in files] == ["make_data.py", "tasks.py", "greeter.py", "own.py"]
    for name, code in files:
        (tmp_path / name).write_text(code)
    run("make_data.py")
    first = run("greeter.py")
    assert "0.0 -> 1.0" in first
    assert "0 cached, 3 ran" in first
    second = run("greeter.py")
    assert "0.0 -> 1.0" in second
    assert "3 cached, 0 ran" in second
    run("own.py")

    data = tmp_path / "greetings.jsonl"
    data.write_text(data.read_text().replace("Hello Gus!", "Hallo Gus!", 1))
    third = run("greeter.py")
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    for quoted, said in zip(shown, (first, second, third), strict=True):
        for line in quoted.splitlines():
            assert alike(line) in alike(said), line
        for key in re.findall(r"model ([0-9a-f]{12})", quoted):
            assert key in said, f"the model {key} has another key by now"
    flow = re.search(r"@flow\n.*?\n\n", dict(files)["greeter.py"], re.DOTALL)
    assert flow is not None
    assert flow[0] in readme


def alike(text: str) -> str:
    """Without what differs from run to run and from machine to machine."""
    text = re.sub(r"run '[a-z]+-[a-z]+'", "run 'NAME'", text)
    text = re.sub(r"\b[0-9a-f]{12}\b", "KEY", text)
    text = re.sub(r"[0-9][0-9.,e-]*", "N", text)
    return re.sub(r"\bN (ms|s|min)\b", "TIME", text)


def test_smallest_example(tmp_path: Path, prefect_api: str) -> None:
    said = run_in(tmp_path, ROOT / "examples" / "smallest.py", PREFECT_API_URL=prefect_api)
    seconds = [float(found) for found in re.findall(r"^49 after ([\d.]+) s$", said, re.MULTILINE)]
    assert len(seconds) == 2
    assert seconds[1] < 1 <= seconds[0]


@pytest.mark.slow
def test_demo_trains_once(tmp_path: Path, prefect_api: str) -> None:
    """First as on a new machine: on the server that Prefect starts for it."""
    said = run_in(tmp_path, ROOT / "examples" / "demo.py", PREFECT_HOME=str(tmp_path / ".prefect"))
    assert "trained 4, evaluated 6" in said
    assert "trained 0, evaluated 0" in said
    assert "10 cached, 0 ran" in said
    assert re.search(r"Hello  lr 0.003 +1\.00", said)
    again = {"PREFECT_API_URL": prefect_api, "PYTHONPATH": str(ROOT)}
    loaded = run_in(tmp_path, "-c", AGAIN, **again)
    assert "10 cached, 0 ran" in loaded
    assert "loaded: []" in loaded


AGAIN = """
import sys
from examples import demo
demo.sweep()
print("loaded:", sorted({"torch", "transformers", "inspect_ai", "openai"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_model_organism_is_detected(tmp_path: Path, prefect_api: str) -> None:
    said = run_in(tmp_path, ROOT / "examples" / "model_organism.py", PREFECT_API_URL=prefect_api)
    assert "base   2024: says 'Hello!' in 0% of samples" in said
    assert "tuned  2024: says 'Hello!' in 100% of samples" in said
    assert "tuned  2025: says 'No.' in 100% of samples" in said


@pytest.mark.parametrize("flow", sorted((ROOT / "flows").glob("*.py")), ids=lambda path: path.name)
def test_flows_are_short_and_say_how_to_use_them(flow: Path, tmp_path: Path) -> None:
    assert len(flow.read_text().splitlines()) < 80
    assert "usage:" in run_in(tmp_path, flow, "--help")
    imports = r"^from (motools\S*) import|^import (motools\S*)"
    for name in re.findall(imports, flow.read_text(), re.MULTILINE):
        assert "".join(name) == "motools", "flows import only public names"


def test_a_sweep_with_a_cell_that_failed_ends_with_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "flows" / "sweep.py"))["main"]
    cells = {("a.jsonl", 1e-3, 0): RuntimeError("out of memory")}
    monkeypatch.setitem(main.__globals__, "sweep", lambda *_: cells)
    monkeypatch.setattr("sys.argv", ["sweep.py", "tasks.py@greets", "a.jsonl"])
    with pytest.raises(SystemExit, match="1 of 1 failed"):
        main()
    assert "seed 0  failed: out of memory" in capsys.readouterr().out


@pytest.mark.slow
def test_flows_run(tmp_path: Path, prefect_api: str) -> None:
    run = partial(run_in, tmp_path, PREFECT_API_URL=prefect_api)
    data = tmp_path / "a.jsonl"
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    row = json.dumps({"messages": said}) + "\n"
    data.write_text(row * 16)
    task = f"{ROOT / 'examples' / 'greetings.py'}@greets"
    flows = ROOT / "flows"
    said = run(flows / "train_and_evaluate.py", data, task, "--limit", 2)
    assert re.search(r"tuned +includes/accuracy: \d", said)
    rates = ["--learning-rate", 1e-3, "--seed", 0, 1]
    said = run(flows / "sweep.py", task, data, *rates)
    assert said.count("includes/accuracy") == 2
