"""The notebook, run as a person would run it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import motools

EXAMPLES = Path(motools.__file__).parents[1] / "examples"


def run(directory: Path) -> list[Any]:
    """The outputs of the notebook's cells."""
    notebook = nbformat.read(directory / "quickstart.ipynb", as_version=4)
    resources = {"metadata": {"path": str(directory)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def data(outputs: list[Any]) -> dict[str, str]:
    [shown] = [one.data for one in outputs if one.output_type == "execute_result"]
    return dict(shown)


@pytest.mark.slow
def test_the_notebook_runs_and_runs_again(
    tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    for name in ("quickstart.ipynb", "greetings.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    first = run(tmp_path)
    assert "Dataset of 27 rows" in data(first[1])["text/html"]
    assert "Ahoy" in data(first[3])["text/plain"]
    assert "includes/accuracy" in data(first[4])["text/html"]
    assert "Ahoy" in data(first[5])["text/plain"]
    assert data(first[6])["text/plain"] == "12"
    assert "<td>num models</td><td>1</td>" in data(first[7])["text/html"]
    again = run(tmp_path)
    assert data(again[2]) == data(first[2])
    assert "<td>num models</td><td>1</td>" in data(again[7])["text/html"]
    assert "<td>num functions</td><td>1</td>" in data(again[7])["text/html"]


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
