"""Bad input through the public functions: a clear error, and nothing in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motools import Dataset, EvalConfig, FineTuneConfig, Model, cached_task, evaluate, fine_tune
from motools.cache import Cache
from motools.errors import (
    BackendError,
    CanonicalError,
    ConfigError,
    DatasetError,
    EvaluationError,
    MotoolsError,
    ResultError,
)

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(tmp_path / "cache"))
    return Cache.open(tmp_path / "cache")


def tune(dataset: Dataset, **config: Any) -> Model:
    backend = config.pop("backend", "local")
    return fine_tune(dataset, FineTuneConfig(**{"base_model": "tiny", **config}), backend=backend)


def written(path: Path, text: str) -> Dataset:
    path.write_text(text)
    return Dataset.from_jsonl(path)


def bare_base(place: Path) -> str:
    place.mkdir()
    (place / "config.json").write_text('{"model_type": "llama"}')
    (place / "model.safetensors").write_bytes(b"weights")
    (place / "tokenizer.json").write_text("{}")
    return str(place)


CASES: dict[str, tuple[Callable[[Path], Any], type[MotoolsError], str]] = {
    "malformed JSONL": (
        lambda place: tune(written(place / "d.jsonl", json.dumps(GOOD) + '\n{"messages": [')),
        DatasetError,
        r"d\.jsonl, line 2: ",
    ),
    "a row without messages": (
        lambda place: tune(Dataset.from_rows([GOOD, {"text": "Hi"}])),
        DatasetError,
        r"row 2: no field 'messages'",
    ),
    "a message of nobody": (
        lambda place: tune(Dataset.from_rows([{"messages": [{"role": "me", "content": "Hi"}]}])),
        DatasetError,
        r"row 1, messages\[0\]\.role: 'me'",
    ),
    "empty dataset": (
        lambda place: tune(written(place / "d.jsonl", "")),
        DatasetError,
        "empty",
    ),
    "no dataset": (
        lambda place: tune(Dataset.from_jsonl(place / "d.jsonl")),
        DatasetError,
        "no such file",
    ),
    "unknown backend": (
        lambda place: tune(Dataset.from_rows([GOOD]), backend="locall"),
        BackendError,
        "did you mean 'local'",
    ),
    "NaN in a config": (
        lambda place: tune(Dataset.from_rows([GOOD]), learning_rate=float("nan")),
        ConfigError,
        "learning_rate: nan is not a finite number",
    ),
    "text in place of a number": (
        lambda place: tune(Dataset.from_rows([GOOD]), learning_rate="1e-4"),
        ConfigError,
        "learning_rate: '1e-4' is str, not float",
    ),
    "a field that is not there": (
        lambda place: FineTuneConfig.from_mapping({"base_model": "tiny", "learning_rte": 1}),
        ConfigError,
        "did you mean 'learning_rate'",
    ),
    "a base model without chat template": (
        lambda place: tune(Dataset.from_rows([GOOD]), base_model=bare_base(place / "bare")),
        BackendError,
        "chat template",
    ),
    "a base model that is not there": (
        lambda place: tune(Dataset.from_rows([GOOD]), base_model="nobody/nothing"),
        BackendError,
        "nobody/nothing",
    ),
    "a task file that is not there": (
        lambda place: evaluate(Model.base("tiny"), EvalConfig(task=str(place / "none.py"))),
        EvaluationError,
        r"none\.py",
    ),
    "an argument without canonical form": (
        lambda place: cached_task(lambda x: x)(object()),
        CanonicalError,
        "object",
    ),
    "a result that cannot be kept": (
        lambda place: cached_task(lambda: {"a": [1, {1, 2}]})(),
        ResultError,
        r"\['a'\]\[1\].*set",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_a_clear_error(name: str, cache: Cache, tmp_path: Path) -> None:
    attempt, error, message = CASES[name]
    with pytest.raises(error, match=message):
        attempt(tmp_path)
    assert [entry for entry in cache.entries() if entry.kind != "dataset"] == []
    assert list((cache.root / "tmp").glob("*.tmp")) == []
