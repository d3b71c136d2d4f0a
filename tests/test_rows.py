"""Rows in canonical form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motools.errors import DatasetError
from motools.rows import canonical_line, canonical_lines, lines_of


def line(text: str) -> str:
    return canonical_line(text.encode(), "here").decode()


def test_keys_of_rows_and_messages_are_in_no_order() -> None:
    first = '{"messages": [{"role": "user", "content": "Hi"}], "id": 1}'
    second = '{"id":1,"messages":[{"content":"H\\u0069","role":"user"}]}'
    assert line(first) == line(second)


@pytest.mark.parametrize("field", ["prompt", "chosen", "rejected", "input", "preferred_output"])
def test_messages_of_preferences_are_in_no_order(field: str) -> None:
    first = f'{{"{field}": [{{"role": "user", "content": "Hi"}}]}}'
    second = f'{{"{field}": [{{"content": "Hi", "role": "user"}}]}}'
    assert line(first) == line(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('{"tools": [{"a": 1, "b": 2}]}', '{"tools": [{"b": 2, "a": 1}]}'),
        ('{"tools": [1.0]}', '{"tools": [1]}'),
        ('{"tools": [1e2]}', '{"tools": [100]}'),
        ('{"mine": {"a": 1, "b": 2}}', '{"mine": {"b": 2, "a": 1}}'),
        (
            '{"messages": [{"tool_calls": [{"arguments": {"a": 1, "b": 2}}]}]}',
            '{"messages": [{"tool_calls": [{"arguments": {"b": 2, "a": 1}}]}]}',
        ),
        ('{"messages": [{"content": "e\\u0301"}]}', '{"messages": [{"content": "\\u00e9"}]}'),
        ('{"messages": [{"a": 1}, {"b": 2}]}', '{"messages": [{"b": 2}, {"a": 1}]}'),
    ],
)
def test_what_a_template_can_print_is_kept(first: str, second: str) -> None:
    assert line(first) != line(second)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ('{"m": {"x": 1, "x": 1}}', "'x' is there twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ("[1]", "not a JSON object"),
        ('{"a": 1', "delimiter"),
        ('{"a": "\\ud800"}', "lone surrogate"),
    ],
)
def test_bad_lines_name_their_place(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"fine": 1}}\n\n{text}\n')
    with pytest.raises(DatasetError, match=rf"data\.jsonl, line 3: .*{reason}"):
        list(canonical_lines(path))


def test_bytes_that_are_not_utf8_name_their_place(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(DatasetError, match=r"line 1: .*utf-8"):
        list(canonical_lines(path))


def test_blank_lines_marks_and_line_ends_do_not_count(tmp_path: Path) -> None:
    plain, windows = tmp_path / "plain", tmp_path / "windows"
    plain.write_bytes(b'{"a": 1}\n{"b": 2}\n')
    windows.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\r\n  {"b":2}')
    assert list(canonical_lines(plain)) == list(canonical_lines(windows))


def test_a_file_of_blank_lines_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("\n\n")
    with pytest.raises(DatasetError, match="no row"):
        list(canonical_lines(path))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
ROWS = st.dictionaries(
    st.sampled_from(["messages", "tools", "id", "prompt", "mine"]), JSON, max_size=4
)


@given(ROWS)
def test_canonical_lines_mean_the_same_and_stay_the_same(row: dict[str, object]) -> None:
    [made] = lines_of([row])
    assert json.loads(made) == row
    assert canonical_line(made, "again") == made
    assert made.endswith(b"\n")
    assert made.count(b"\n") == 1


@given(ROWS, ROWS)
def test_different_rows_have_different_lines(
    first: dict[str, object], second: dict[str, object]
) -> None:
    [one], [two] = lines_of([first]), lines_of([second])
    if one == two:
        assert first == second
