"""What may be said of an answer before it is whole."""

from __future__ import annotations

import pytest

from motools.server.answers import before_stop


@pytest.mark.parametrize(
    ("text", "stop", "said"),
    [
        ("abc", (), "abc"),
        ("abc", ("x",), "abc"),
        ("abc", ("cd",), "ab"),
        ("abc", ("bcd", "cx"), "a"),
        ("abcd", ("bc",), "a"),
        ("aab", ("aabx", "abab"), ""),
        ("ab END", ("END",), "ab "),
        ("ab EN", ("END", "N!"), "ab "),
    ],
)
def test_a_stop_text_is_not_said_before_it_is_known(
    text: str, stop: tuple[str, ...], said: str
) -> None:
    assert before_stop(text, stop) == said
