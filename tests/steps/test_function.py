"""Calls of own functions as steps, without Prefect."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from motools import Dataset
from motools.cache import Action, Cache, Claim
from motools.errors import ConfigError, DatasetError, MotoolsError, ResultError, SourceError
from motools.settings import Settings
from motools.source import describe
from motools.steps.function import Function, run_context
from motools.steps.upload import Upload


@dataclass(frozen=True)
class Range:
    low: float
    high: float


def widen(given: Range, by: float = 1.0, verbose: bool = False) -> Range:
    if verbose:
        print(given)
    return Range(given.low - by, given.high + by)


async def widen_later(given: Range) -> Range:
    await asyncio.sleep(0)
    return widen(given)


def report(text: str) -> dict[str, Any]:
    context = run_context()
    page = context.directory / "pages" / "one.txt"
    page.parent.mkdir()
    page.write_text(text)
    context.cost = 0.5
    return {"page": page, "pages": page.parent}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.open(tmp_path / "cache")


def action_of(cache: Cache, step: Any) -> Action:
    action: Action = step.action(cache)
    return action


def test_the_key_is_name_source_and_arguments(cache: Cache) -> None:
    action = action_of(cache, Function(widen)(Range(0, 1)))
    assert action.kind == "function" and action.backend == {"name": "python", "recipe": 1}
    assert action.config["function"] == f"{__name__}.widen"
    assert action.config["source"] == describe(widen).digest
    assert sorted(action.config["arguments"]) == ["by", "given", "verbose"]  # type: ignore[arg-type]


def ones(count: int) -> Any:
    import numpy as np

    return np.ones(count)


def test_versions_named_as_equivalent_are_one_key(cache: Cache) -> None:
    version = importlib.metadata.version("numpy")
    as_first = {"numpy": (("1.0", "1.1", version),)}
    settings = [Settings(equivalent=groups) for groups in ({}, as_first, {"numpy": (("1.0",),)})]
    keys = []
    for cache.settings in settings:
        step = Function(ones)(1), Function(widen)(ones)
        keys.append([action_of(cache, one).key for one in step])
    assert keys[0] == keys[2]
    assert keys[0][0] != keys[1][0] and keys[0][1] != keys[1][1]


def test_spelling_of_a_call_does_not_matter_and_values_do(cache: Cache) -> None:
    function = Function(widen, unhashed=("verbose",))
    key = action_of(cache, function(Range(0.0, 1.0))).key
    assert action_of(cache, function(given=Range(0.0, 1.0), by=1.0, verbose=True)).key == key
    others = [
        function(Range(0.0, 2.0)),
        function(Range(0, 1.0)),
        function(Range(0.0, 1.0), 2.0),
        Function(widen)(Range(0.0, 1.0)),
        Function(widen, version="1")(Range(0.0, 1.0)),
        Function(widen, version="2")(Range(0.0, 1.0)),
        Function(widen_later)(Range(0.0, 1.0)),
    ]
    assert len({action_of(cache, step).key for step in others} | {key}) == 8


def test_results_and_files_come_back(cache: Cache) -> None:
    step = Function(widen)(Range(0, 1))
    entry = cache.get_or_run(step.action(cache), step.run)
    assert step.decode(entry) == Range(-1.0, 2.0) and not entry.hit
    page = Function(report, version="1")("hello")
    made = cache.get_or_run(page.action(cache), page.run)
    assert made.cost == 0.5 and made.labels["function"] == f"{__name__}.report"
    for entry in (made, cache.look_up([page.action(cache)])[0]):
        assert entry is not None and [*entry.files] == ["pages/one.txt"]
        value = page.decode(entry)
        assert value["page"].read_text() == "hello" and value["page"].name == "one.txt"
        assert [path.name for path in value["pages"].iterdir()] == ["one.txt"]
        value["page"].write_text("changed by its owner")


def answers(rows: Dataset, _note: Path | None = None) -> list[str]:
    if _note is not None:
        _note.write_text(json.dumps({"answer": "new"}))
    return [row["answer"] for row in rows]


async def answers_later(rows: Dataset, note: Path) -> list[str]:
    return answers(rows, note)


def call(cache: Cache, step: Any) -> Any:
    return step.decode(cache.get_or_run(step.action(cache), step.run))


def in_file(path: Path, *texts: str) -> Dataset:
    path.write_text("".join(json.dumps({"answer": text}) + "\n" for text in texts))
    return Dataset.from_jsonl(path)


@pytest.mark.parametrize("form", ["identified", "whole", "cut", "uploaded", "nested"])
def test_a_dataset_is_told_from_what_its_file_was(form: str, cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    given: Any = in_file(path, "old")
    if form == "uploaded":
        given = call(cache, Upload(given))
        assert given.path.startswith(str(cache.root)) and given.file_id and given.rows == 1
    elif form == "cut":
        given = given[:1].identify()
    elif form != "whole":
        given = given.identify()
    asked = Function(each_answer)([given]) if form == "nested" else Function(answers)(given)
    in_file(path, "new")
    assert call(cache, asked) == (["old"] if form == "uploaded" else ["new"])
    old = Dataset.from_rows([{"answer": "old"}])
    again = Function(each_answer)([old]) if form == "nested" else Function(answers)(old)
    assert call(cache, again) == ["old"]


def each_answer(several: list[Dataset]) -> list[str]:
    return [row["answer"] for rows in several for row in rows]


def test_what_was_made_of_a_file_that_changed_meanwhile_is_not_kept(
    cache: Cache, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    for form in (Dataset.identify, lambda rows: rows, lambda rows: rows[:1]):
        given = form(in_file(path, "old"))
        with pytest.raises(DatasetError, match=r"rows.jsonl changed while .*answers ran"):
            call(cache, Function(answers, unhashed=("_note",))(given, path))

    async def run() -> None:
        step = Function(answers_later, unhashed=("note",))(in_file(path, "old"), path)
        claim = cache.claim(step.action(cache))
        assert isinstance(claim, Claim)
        with claim:
            await step.run(claim.context)

    with pytest.raises(DatasetError, match="changed while"):
        asyncio.run(run())
    assert not cache.entries("function")


def test_what_was_made_of_a_file_that_is_gone_is_still_found(cache: Cache, tmp_path: Path) -> None:
    given = in_file(tmp_path / "rows.jsonl", "old").identify()
    assert call(cache, Function(answers)(given)) == ["old"]
    (tmp_path / "rows.jsonl").unlink()
    assert call(cache, Function(answers)(given)) == ["old"]


def test_async_calls(cache: Cache) -> None:
    step = Function(widen_later)(Range(0, 1))
    claim = cache.claim(step.action(cache))
    assert not hasattr(claim, "value")

    async def work() -> Any:
        with claim:  # type: ignore[union-attr]
            return claim.commit(await step.run(claim.context))  # type: ignore[misc, union-attr]

    assert step.decode(asyncio.run(work())) == Range(-1.0, 2.0)


def test_a_function_travels_by_name_where_it_can() -> None:
    assert pickle.loads(pickle.dumps(Function(widen, version="1"))).function is widen


def test_what_is_refused(cache: Cache) -> None:
    with pytest.raises(ConfigError, match="did you mean 'verbose'"):
        Function(widen, unhashed=("verbos",))
    with pytest.raises(ConfigError, match="version=1 is not text"):
        Function(widen, version=1)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="generator"):
        Function(lambda: (yield))
    with pytest.raises(MotoolsError, match="outside a cached function"):
        run_context()
    refused = Function(lambda: {1}, version="1")()
    with pytest.raises(ResultError, match="result: set"):
        cache.get_or_run(refused.action(cache), refused.run)
    assert cache.entries() == []
