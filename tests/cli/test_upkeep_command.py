"""``motools cache verify`` and ``repair``: data, prose and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from motools.cache import Cache
from motools.cache.attempt import SUBMITTED
from motools.cache.layout import blob_name, journal_name
from tests.filled import Filled
from tests.upkeep.conftest import alter

from .conftest import Run


def test_verify_names_what_is_wrong_and_what_to_do(
    filled: Filled, run: Run, data: Callable[..., Any]
) -> None:
    assert "never verified" in run("stats").stderr
    assert data("verify", "--read-data") == []
    path, digest, *_ = filled.models[0].file_rows[0]
    (filled.root / blob_name(digest)).unlink()
    result = run("verify", filled.models[0].key[:12], "--format", "json")
    assert result.exit_code == 4
    [finding] = [row for row in json.loads(result.stdout) if row["digest"] == digest]
    assert (finding["key"], finding["file"]) == (filled.models[0].key, path)
    assert finding["remedy"] == "motools cache repair"
    assert run("verify", "--model-id", filled.models[1].key, "--task-id", "greets").exit_code == 0
    assert run("verify", "--task-id", "nothing").exit_code == 3
    assert run("verify").exit_code == 4
    assert "wrong" in run("stats").stderr


def test_repair_says_what_it_would_take_and_asks(filled: Filled, run: Run) -> None:
    weights = {path: digest for path, digest, *_ in filled.models[1].file_rows}
    (filled.root / blob_name(weights["weights.safetensors"])).unlink()
    planned = run("repair", "--dry-run", "--format", "json")
    assert planned.exit_code == 0
    [row] = json.loads(planned.stdout)
    assert (row["action"], row["key"], row["cost"]) == ("release", filled.models[1].key, 1.25)
    assert "1.25 USD" in planned.stderr
    assert run("verify").exit_code == 4
    refused = run("repair")
    assert refused.exit_code == 1
    assert "--yes" in refused.stderr
    assert run("repair", "--yes").exit_code == 0
    assert run("verify", "--read-data").exit_code == 0
    assert run("repair").exit_code == 0  # nothing to ask about


def test_a_damaged_journal_is_an_exit_code_and_a_way_out(filled: Filled, run: Run) -> None:
    key = "ab" * 32
    cache = Cache.open(filled.root)
    cache.attempts.note(key, 1, SUBMITTED, "lab", job_id="job-1")
    cache.close()
    alter(filled.root / journal_name(key), lambda data: data[:-9])
    result = run("verify", "--format", "json")
    assert result.exit_code == 4
    [row] = json.loads(result.stdout)
    assert (row["key"], row["damage"]) == (key, "journal")
    assert f"motools jobs adopt {key[:12]} JOB_ID" in row["remedy"]
    assert run("repair", "--yes").exit_code == 4
    (filled.root / journal_name(key)).unlink()
    assert run("repair", "--yes").exit_code == 0
    assert run("verify").exit_code == 0


def test_a_dry_run_of_repair_moves_nothing(filled: Filled, run: Run) -> None:
    weights = {path: digest for path, digest, *_ in filled.models[1].file_rows}
    path = filled.root / blob_name(weights["weights.safetensors"])
    for change in (lambda data: data[::-1], lambda data: data[1:]):
        alter(path, change)
        planned = run("repair", "--read-data", "--dry-run", "--format", "json")
        assert [row["key"] for row in json.loads(planned.stdout)] == [filled.models[1].key]
        assert path.exists()
    run("repair", "--read-data", "--yes")
    assert not path.exists()
