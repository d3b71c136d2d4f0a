"""Every row is checked before anything starts, and an error names the line and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motools.errors import DatasetError
from motools.training.rows import check_rows, read_rows

from .lessons import said, write_rows

GOOD: dict[str, Any] = {"messages": said("Hi", "Hello")}
CALL = {"type": "function", "function": {"name": "f", "arguments": {}}}


def message(**changes: Any) -> dict[str, Any]:
    """A row whose answer is changed."""
    return {"messages": [*said("Hi"), {"role": "assistant", "content": "Hello", **changes}]}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([], "a row is an object, not a list"),
        ({}, "no field 'messages'"),
        ({"prompt": "Hi", "completion": "Hello"}, "no field 'messages'; the row has 'prompt'"),
        ({"messages": []}, "messages: a list with at least one"),
        ({"messages": "Hi"}, "messages: a list with at least one"),
        ({"messages": ["Hi"]}, "messages[0]: text instead of an object"),
        ({"messages": said("Hi")}, "messages: no message of the assistant"),
        (message(role="robot"), "messages[1].role: 'robot' is not one of"),
        (message(role=None), "messages[1].role: None"),
        (message(content=None), "messages[1].content: null instead of text"),
        (message(content=7), "messages[1].content: a number instead of text"),
        (message(content=[]), "messages[1].content: a list instead of text"),
        (message(content=""), "messages[1].content: the assistant says nothing"),
        (message(weight=0), "messages[1].weight: cannot be honoured"),
        (message(train=False), "messages[1].train: cannot be honoured"),
        ({**GOOD, "tools": {}}, "tools: an object instead of a list"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: Any, problem: str) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [GOOD, row, GOOD])
    with pytest.raises(DatasetError) as caught:
        check_rows(path, "supervised")
    assert f"row 2{'' if problem.startswith(('a row', 'no')) else ', '}" in str(caught.value)
    assert problem in str(caught.value)


def test_what_is_not_json_and_what_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [\n')
    with pytest.raises(DatasetError, match="row 1: not JSON"):
        check_rows(path, "supervised")
    path.write_text("")
    with pytest.raises(DatasetError, match="no row to train on"):
        check_rows(path, "supervised")


def test_good_rows_come_as_they_are(tmp_path: Path) -> None:
    rows = [GOOD, message(content=None, tool_calls=[CALL]), {**GOOD, "tools": [{}], "source": "x"}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert list(read_rows(path, "supervised")) == rows
    assert check_rows(path, "supervised") == 3


PREFERENCE: dict[str, Any] = {
    "prompt": said("Hi"),
    "chosen": [{"role": "assistant", "content": "Hello"}],
    "rejected": [{"role": "assistant", "content": "Go away"}],
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"prompt": "Hi"}, "prompt: a list with at least one message is needed"),
        ({"prompt": []}, "prompt: a list with at least one message is needed"),
        ({"chosen": None}, "chosen: a list with at least one message is needed"),
        ({"chosen": [{"role": "assistant"}]}, "chosen[0].content: null instead of text"),
        ({"rejected": said("Go")}, "rejected[0].role: 'user', but an answer is the assistant's"),
        ({"rejected": PREFERENCE["chosen"]}, "rejected: the same as chosen"),
        ({"tools": "none"}, "tools: text instead of a list"),
    ],
)
def test_a_wrong_preference_is_named(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [PREFERENCE, {**PREFERENCE, **changes}])
    with pytest.raises(DatasetError) as caught:
        check_rows(path, "dpo")
    assert f"row 2, {problem}" in str(caught.value)


def test_a_row_of_the_other_method_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [PREFERENCE, GOOD])
    with pytest.raises(DatasetError, match="row 2: no field 'prompt'; the row has 'messages'"):
        check_rows(path, "dpo")
    with pytest.raises(DatasetError, match="row 1: no field 'messages'; the row has 'prompt'"):
        check_rows(path, "supervised")
