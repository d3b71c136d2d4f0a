"""Datasets, models and evaluations as values."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from motools import Dataset, Evaluation, Model, RemoteRef
from motools.digest import hash_bytes
from motools.errors import CanonicalError, DatasetError

ROWS = [{"messages": [{"role": "user", "content": f"Hi {n}"}]} for n in range(5)]


class Memory:
    """A memo that counts."""

    def __init__(self) -> None:
        self.facts: dict[tuple[str, str], tuple[str, Any]] = {}
        self.recalled = 0

    def recall(self, namespace: str, subject: str, signature: str) -> Any:
        known, value = self.facts.get((namespace, subject), ("", None))
        self.recalled += known == signature
        return value if known == signature else None

    def record(self, namespace: str, subject: str, signature: str, value: Any) -> None:
        self.facts[namespace, subject] = (signature, value)


def in_file(path: Path, rows: list[dict[str, Any]] = ROWS) -> Dataset:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Dataset.from_jsonl(path)


def test_rows_and_files_have_one_digest(tmp_path: Path) -> None:
    memory = Dataset.from_rows(ROWS)
    file = in_file(tmp_path / "data.jsonl").identify()
    assert memory.digest == file.digest
    assert memory.rows == file.rows == 5
    assert file.write(tmp_path / "out.jsonl").hex == file.digest
    assert hash_bytes((tmp_path / "out.jsonl").read_bytes()).hex == file.digest


def test_the_digest_of_an_unchanged_file_is_remembered(tmp_path: Path) -> None:
    memo, path = Memory(), tmp_path / "data.jsonl"
    dataset = in_file(path)
    os.utime(path, (time.time() - 60, time.time() - 60))
    time.sleep(0.05)  # a file changed just now may change again unnoticed
    first = dataset.identify(memo)
    assert memo.recalled == 0
    assert Dataset.from_jsonl(path).identify(memo) == first
    assert memo.recalled == 1
    in_file(path, ROWS[:4])
    assert Dataset.from_jsonl(path).identify(memo).digest != first.digest


def test_values_are_small_and_travel(tmp_path: Path) -> None:
    dataset = in_file(tmp_path / "data.jsonl", ROWS * 1000).identify()
    remote = RemoteRef("openai", "org", "ft:1")
    model = Model("tiny", key="ab" * 32, digest="cd" * 32, remote=remote)
    evaluation = Evaluation("ab" * 32, "greets", "tiny", {"acc": 1.0}, {"acc": 0.0}, 3, "log.eval")
    for value in (dataset, Dataset.from_rows(ROWS), model, evaluation):
        assert pickle.loads(pickle.dumps(value)) == value
        assert type(value).from_json(json.loads(json.dumps(value.to_json()))) == value
    assert len(pickle.dumps(dataset)) < 1000


def test_a_refreshed_evaluation_is_another_one() -> None:
    one, again, moved = (
        Evaluation("ab" * 32, "greets", "tiny", {"acc": 1.0}, {}, 3, log, digest)
        for log, digest in (("a.eval", "1"), ("a.eval", "2"), ("b.eval", "1"))
    )
    other = dataclasses.replace(one, scores={"acc": 0.0})
    assert one.__motools_digest__() == moved.__motools_digest__()
    assert len({each.__motools_digest__() for each in (one, again, other)}) == 3


def test_what_is_not_there_or_empty_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        Dataset.from_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DatasetError, match="empty"):
        Dataset.from_jsonl(tmp_path / "empty.jsonl")
    with pytest.raises(DatasetError, match="at least one row"):
        Dataset.from_rows([])
    with pytest.raises(DatasetError, match="row 2"):
        Dataset.from_rows([{"a": 1}, {"a": float("nan")}])


def test_a_base_model_that_is_only_a_name_pins_nothing() -> None:
    with pytest.raises(CanonicalError, match="only a name"):
        Model.base("tiny").__motools_digest__()


def test_the_expiry_of_a_remote_reference_is_not_its_identity() -> None:
    assert RemoteRef("p", "s", "i").digest == RemoteRef("p", "s", "i", expires_at=1.0).digest
    assert RemoteRef("p", "s", "i").digest != RemoteRef("p", "other", "i").digest
