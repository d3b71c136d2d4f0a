"""``motools sweep results``, ``compare``, ``plot`` and ``diff``."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from typer.testing import CliRunner, Result

from motools.cli import app
from motools.cli.exits import ExitCode
from tests.sweeps.results.conftest import Swept

Run: TypeAlias = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "300")

    def run(swept: Swept, command: str, *arguments: object) -> Result:
        monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(swept.cache.root))
        result = CliRunner().invoke(app, ["sweep", command, *map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    return run


def test_results_are_a_table_and_data(tuned: Swept, run: Run, tmp_path: Path) -> None:
    table = run(tuned, "results", tuned.file)
    lines = table.stdout.splitlines()
    assert lines[0].split()[:5] == ["learning", "rate", "dataset", "seed", "model"]
    assert lines[1].split()[:6] == [
        "0.0001",
        "data.jsonl",
        "0",
        "quiz",
        "includes/accuracy",
        "0.25",
    ]
    assert "not in the cache: 2 waiting" in table.stderr
    rows = json.loads(run(tuned, "results", tuned.file, "--format", "json").stdout)
    assert len(rows) == len(lines) - 1
    assert (rows[0]["value"], rows[0]["state"], len(rows[0]["eval_key"])) == (0.25, "hit", 64)
    path = tmp_path / "out.csv"
    assert run(tuned, "results", tuned.file, "--wide", "-o", path).stdout == ""
    with path.open() as stream:
        wide = list(csv.DictReader(stream))
    assert (len(wide), wide[0]["includes/accuracy"]) == (26, "0.25")


def test_nothing_that_only_looks_makes_a_cache(
    tuned: Swept, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere"
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(nowhere))
    for command in (["results", tuned.file], ["diff", tuned.file, tuned.file]):
        found = CliRunner().invoke(app, ["sweep", *map(str, command)])
        assert (found.exit_code, found.stdout) == (ExitCode.ERROR, ""), found
        assert f"there is no cache at {nowhere}" in found.stderr
    planned = CliRunner().invoke(app, ["sweep", "plan", str(tuned.file), "--format", "json"])
    assert planned.exit_code == ExitCode.WORK_LEFT, planned
    assert "there is no cache yet: planned as for an empty one" in planned.stderr
    states = {step["state"] for step in json.loads(planned.stdout)}
    assert states <= {"run", "waiting", "blocked"}
    assert not nowhere.exists()


def test_results_as_parquet(tuned: Swept, run: Run, tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "out.parquet"
    assert run(tuned, "results", tuned.file, "-o", path).exit_code == 0
    assert len(pd.read_parquet(path)) == 50
    refused = run(tuned, "results", tuned.file, "--format", "parquet")
    assert (refused.exit_code, "is for a file" in refused.stderr) == (ExitCode.USAGE, True)


def test_a_file_has_what_its_name_says_or_is_refused(
    tuned: Swept, run: Run, tmp_path: Path
) -> None:
    import pandas as pd

    shouted = tmp_path / "OUT.PARQUET"
    assert run(tuned, "results", tuned.file, "-o", shouted).exit_code == 0
    assert len(pd.read_parquet(shouted)) == 50
    axes = ["--x", "learning_rate", "--by", "dataset"]
    chosen = ["--score", "includes/accuracy", "--evaluation", "quiz"]
    for command, name, *arguments in (
        ("results", "out.csv"),
        ("results", "out.parquet"),
        ("plot", "out.png", *axes, *chosen),
    ):
        refused = run(tuned, command, tuned.file, "-o", tmp_path / "no" / name, *arguments)
        assert refused.exit_code == ExitCode.ERROR
        assert f"{name}: cannot be written" in refused.stderr


def test_means(tuned: Swept, run: Run) -> None:
    found = run(tuned, "results", tuned.file, "--mean", "--only", "quiz", "--format", "json")
    first, *_, last = json.loads(found.stdout)
    assert (first["n"], first["mean"], first["interval"]) == (3, 0.3125, "95% t")
    assert (last["n"], last["low"]) == (1, None)
    assert "2 means of fewer than two values" in found.stderr
    wrong = run(tuned, "results", tuned.file, "--mean", "--interval", "z")
    assert (wrong.exit_code, "t, percentile, bca" in wrong.stderr) == (ExitCode.USAGE, True)


def test_a_table_needs_no_pandas(tuned: Swept) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pandas', 'numpy', 'scipy', 'matplotlib']));"
        "from motools.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "sweep", "results", str(tuned.file)]
    arguments = ["--only", "quiz", "--cache-dir", str(tuned.cache.root)]
    found = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    assert len(found.stdout.splitlines()) == 1 + 25
    refused = subprocess.run(
        [*command, *arguments, "--mean"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == ExitCode.ERROR
    assert (
        "error: scipy is not installed: python -m pip install 'motools[frames]'" in refused.stderr
    )


def test_two_cells_are_compared(asked: Swept, run: Run) -> None:
    cells = ("first=0,last=9", "last=4")
    found = run(asked, "compare", asked.file, *cells, "--format", "json")
    right, length = json.loads(found.stdout)
    assert (right["evaluation"], right["score"], right["pairs"]) == ("quiz", "includes", 10)
    assert right["difference"] == pytest.approx(-0.6)
    assert (right["test"], right["p_value"]) == ("mcnemar", pytest.approx(2 / 2**6))
    assert length["test"] == "permutation"
    keys = [cell.evaluations[0].key for cell in asked.plan.cells]
    by_key = run(asked, "compare", *keys, "--format", "json", "--test", "wilcoxon")
    assert json.loads(by_key.stdout)[0]["test"] == "wilcoxon"


def test_what_cannot_be_compared(asked: Swept, tuned: Swept, run: Run) -> None:
    several = run(tuned, "compare", tuned.file, "learning_rate=1e-4", "seed=0")
    assert (
        "learning_rate=1e-4: 6 cells have these values, say more: learning_rate" in several.stderr
    )
    none = run(tuned, "compare", tuned.file, "learning_rate=1", "seed=0")
    assert "no cell of greetings has these values" in none.stderr
    missing = "learning_rate=1e-3,dataset=other.jsonl,seed=2"
    waiting = run(tuned, "compare", tuned.file, missing, "model=tiny")
    assert "do not both have an evaluation in the cache" in waiting.stderr
    assert run(asked, "compare", "a").exit_code == ExitCode.USAGE
    assert run(asked, "compare", "f" * 64, "e" * 64).exit_code == ExitCode.NOTHING_MATCHED


def test_a_figure(tuned: Swept, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "figure.svg"
    arguments = ["--x", "learning_rate", "--by", "dataset", "--score", "includes/accuracy"]
    done = run(tuned, "plot", tuned.file, "-o", path, *arguments, "--evaluation", "quiz")
    assert path.read_bytes().startswith(b"<?xml")
    assert "means (n from 2 to 3), with 95% t intervals." in done.stderr
    refused = run(tuned, "plot", tuned.file, "-o", path, *arguments)
    assert refused.exit_code == ExitCode.ERROR
    assert "evaluation: say which: quiz, short" in refused.stderr


def test_two_sweeps(tuned: Swept, run: Run) -> None:
    values = json.loads(tuned.file.read_text())
    values["recipe"]["fine_tune"]["epochs"] = 6
    other = tuned.root / "other.yaml"
    other.write_text(json.dumps(values))
    found = run(tuned, "diff", tuned.file, other)
    assert found.stderr.splitlines()[-1] == "2 both, 36 changed"
    first = found.stdout.splitlines()[1]
    assert "seed=0 fine_tune" in " ".join(first.split())
    assert "config.epochs: 3 → 6" in first
    rows = json.loads(run(tuned, "diff", tuned.file, other, "--format", "json").stdout)
    assert len(rows) == 38
    assert rows[0]["differences"] == [
        {"field": "config.epochs", "a": 3, "b": 6, "text": "config.epochs: 3 → 6"}
    ]
