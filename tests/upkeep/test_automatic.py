"""Automatic upkeep: the budget is kept after a task ran, at most once an hour, at no one's cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.settings import Settings
from motools.tasks.perform import perform
from motools.upkeep import automatic, prune
from tests.filled import Filled, fill

FLOW = Path(__file__).parents[2] / "flows" / "maintain_cache.py"
LONG_AGO = 1_700_000_000.0


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    filled = fill(tmp_path / "cache")
    cache = Cache.open(filled.root)
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET created_at = :at", at=LONG_AGO)
        transaction.run("DELETE FROM statistics")
    cache.close()
    return filled


def opened(filled: Filled, **budget: object) -> Cache:
    return Cache.open(filled.root, settings=Settings(budget=dict(budget)))


def released(cache: Cache) -> set[str]:
    return {entry.kind for entry in cache.entries() if entry.released}


def test_a_run_keeps_the_budget_and_a_hit_does_not(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    from motools.artifacts import Dataset
    from motools.steps.upload import Upload

    cache = opened(filled, model={"max_size": "0B"})
    monkeypatch.setattr(automatic, "_asked", {})
    known = Upload(Dataset.from_rows([{"prompt": "red", "completion": str(n)} for n in range(9)]))
    assert perform(known, cache)[1]
    assert released(cache) == set()
    new = Upload(Dataset.from_rows([{"prompt": "green", "completion": "x"}]))
    assert not perform(new, cache)[1]
    assert released(cache) == {"model"}  # the paid one stays


def test_other_processes_have_kept_it_within_the_hour(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(automatic, "_asked", {})
    automatic.after_commit(opened(filled, max_age="1000000d"))  # nothing to do
    monkeypatch.setattr(automatic, "_asked", {})  # as another process
    cache = opened(filled, model={"max_size": "0B"})
    automatic.after_commit(cache)
    assert released(cache) == set()
    monkeypatch.setattr(automatic, "EVERY", 0.0)
    with caplog.at_level("INFO"):
        automatic.after_commit(cache)
    assert released(cache) == {"model"}
    assert f"release model tiny {filled.models[0].key}: " in caplog.text


def test_a_budget_that_cannot_be_kept_is_told_and_harms_nobody(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(automatic, "_asked", {})
    automatic.after_commit(opened(filled, max_size="lots"))
    assert "budget.max_size: 'lots' is not a size" in caplog.text


def test_whatever_stops_a_prune_is_told_and_harms_nobody(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(automatic, "_asked", {})
    monkeypatch.setattr(prune, "plan", fail)
    automatic.after_commit(opened(filled, max_size="1GB"))
    assert "was not kept" in caplog.text and "Input/output error" in caplog.text


def test_the_flow_prunes(filled: Filled, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    command = [sys.executable, str(FLOW), "--cache-dir", str(filled.root), "--max-age", "90d"]
    for arguments, did in ((["--dry-run"], "would be released"), ([], "released")):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"6 entries {did}, ")
        for model in filled.models:
            assert (model.key in done.stderr) == (not model.cost), "each thing is in the log"
    assert released(opened(filled)) == {"dataset", "model", "eval"}
