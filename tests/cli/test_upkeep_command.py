"""``motools cache verify`` and ``repair``: data, prose and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from motools.cache.layout import blob_name
from tests.filled import Filled

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
