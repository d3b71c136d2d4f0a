"""Where two datasets differ, and what is said of a miss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motools import Dataset, FineTuneConfig
from motools.cache import Action, Cache
from motools.cache.explain import Difference
from motools.errors import DatasetError
from motools.steps.differences import compare_rows
from motools.steps.reasons import reason
from motools.steps.train import Train
from motools.steps.upload import Upload


def talk(user: str, assistant: str) -> dict[str, Any]:
    turns = ({"role": "user", "content": user}, {"role": "assistant", "content": assistant})
    return {"messages": list(turns)}


TALKS = [talk(f"Hi, I am number {n}", f"Hello {n}!") for n in range(40)]


def changed(rows: list[dict[str, Any]]) -> list[Difference]:
    return list(compare_rows(Dataset.from_rows(TALKS), Dataset.from_rows(rows)))


def test_one_word_is_named_by_row_and_field() -> None:
    rows = [*TALKS[:6], talk("Hi, I am number 6", "Hallo 6!"), *TALKS[7:]]
    [difference] = changed(rows)
    assert difference == Difference("row 7, messages[1].content", "Hallo 6!", "Hello 6!")
    assert str(difference) == "row 7, messages[1].content: 'Hello 6!' → 'Hallo 6!'"


def test_rows_put_in_and_taken_out_move_no_others() -> None:
    rows = [*TALKS[:3], talk("new", "row"), *TALKS[3:20], *TALKS[21:], talk("last", "row")]
    assert [difference.field for difference in changed(rows)] == [
        "row 4, added",
        "row 21, removed",
        "row 41, added",
    ]


def test_a_long_text_is_shown_where_it_differs() -> None:
    text = "word " * 100
    [difference] = compare_rows(
        Dataset.from_rows([talk("hi", text + "yes" + text)]),
        Dataset.from_rows([talk("hi", text + "no" + text)]),
    )
    said = str(difference)
    assert len(said) < 250
    assert "word yes" in said
    assert "word no" in said


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
)
def test_differences_make_the_one_of_the_other(old: list[int], new: list[int]) -> None:
    found, wanted = (Dataset.from_rows([{"n": n} for n in numbers]) for numbers in (old, new))
    result = list(old)
    moved = 0
    for difference in compare_rows(found, wanted):
        at = int(difference.field.split()[1].rstrip(",")) - 1
        if difference.field.endswith("removed"):
            assert result.pop(at + moved) == old[at]
            moved -= 1
        elif difference.field.endswith("added"):
            result.insert(at, new[at])
            moved += 1
        else:
            assert (result[at], new[at]) == (difference.found, difference.wanted)
            result[at] = new[at]
    assert result == new


def why(cache: Cache, step: Train | Upload) -> str | None:
    return reason(step, step.action(cache), cache)


def test_a_miss_says_what_differs(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    config = FineTuneConfig(base_model="tiny", learning_rate=1e-3)
    first = Train(Dataset.from_rows(TALKS), config)
    assert why(cache, first) == "the first model in this cache"
    upload = Upload(first.dataset)
    cache.get_or_run(upload.action(cache), upload.run)
    cache.get_or_run(first.action(cache), lambda _: {})
    short = first.action(cache).key[:12]
    word = Dataset.from_rows([*TALKS[:-1], talk("Hi, I am number 39", "Howdy!")])
    assert why(cache, Train(word, config)) == (
        f"differs from {short} in row 40, messages[1].content: 'Hello 39!' → 'Howdy!'"
    )
    faster = FineTuneConfig(base_model="tiny", learning_rate=1e-2)
    assert why(cache, Train(first.dataset, faster)) == (
        f"differs from {short} in config.learning_rate: 0.001 → 0.01"
    )
    assert why(cache, first) == "a refresh was asked for"


def test_a_dataset_whose_rows_are_gone_is_named_by_its_digest(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    config = FineTuneConfig(base_model="tiny")
    first = Train(Dataset.from_rows(TALKS), config)
    cache.get_or_run(first.action(cache), lambda _: {})
    said = why(cache, Train(Dataset.from_rows(TALKS[1:]), config))
    digest = first.action(cache).inputs["dataset"]
    assert said is not None
    assert f"inputs.dataset: {digest[:12]} → " in said


def test_functions_are_not_explained_before_they_run(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    assert reason(None, Action("function", config={"n": 1}), cache) is None


def test_a_wrong_row_is_named_by_its_place_in_the_users_own_file(tmp_path: Path) -> None:
    """Blank lines are no rows, so the line is not the row's number."""
    path = tmp_path / "talks.jsonl"
    silent = {"messages": [{"role": "user", "content": "Hi"}]}
    path.write_text("\n\n".join(json.dumps(row) for row in [*TALKS[:2], silent]))
    cache, config = Cache.open(tmp_path / "cache"), FineTuneConfig(base_model="tiny")
    for dataset, place in (
        (Dataset.from_jsonl(path), f"{path}, line 5"),
        (Dataset.from_rows(TALKS) + Dataset.from_rows([silent]), "row 41"),
    ):
        step = Train(dataset, config)
        with pytest.raises(DatasetError) as caught:
            cache.get_or_run(step.action(cache), step.run)
        assert str(caught.value) == (
            f"{place}, messages: no message of the assistant to learn from"
        )
