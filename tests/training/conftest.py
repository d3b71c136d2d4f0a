"""Datasets and models that the tests of training share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .lessons import greeting_rows, write_rows

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def greetings(tmp_path: Path) -> Path:
    """Sixteen greetings as a file."""
    return write_rows(tmp_path / "greetings.jsonl", greeting_rows())


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model ``tiny``, saved as a user's own model would be. Do not write here."""
    from motools.training.local import tiny

    directory = tmp_path_factory.mktemp("base") / "tiny"
    model, tokenizer = tiny.load()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
