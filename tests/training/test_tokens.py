"""What is learnt from, to the token; rows that are cut, and rows that cannot be told apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tokenizers import normalizers

from motools.errors import DatasetError
from motools.training.local import tiny
from motools.training.local.tokens import Tokenised, tokenise

from .lessons import said, write_rows

LONG = [{"role": "system", "content": "Be kind."}, *said("Hi", "Hello"), *said("Who?", "Me")]
UNMARKED = re.sub(r"\{% generation %\}|\{% endgeneration %\}\n", "", tiny.CHAT_TEMPLATE)
SPACED = re.sub(r"\{% (end)?generation %\}", "", tiny.CHAT_TEMPLATE)


def tokens(
    place: Path,
    rows: list[Any],
    template: str = tiny.CHAT_TEMPLATE,
    tokenizer: Any = None,
    **config: Any,
) -> Tokenised:
    tokenizer = tokenizer or tiny.tokenizer()
    tokenizer.chat_template = template
    path = write_rows(place / "rows.jsonl", rows)
    defaults = {"method": "supervised", "max_length": 1024, "loss_mask": "assistant"}
    return tokenise(path, tokenizer, defaults | config)


def learnt(row: dict[str, list[int]]) -> str:
    return tiny.tokenizer().decode([t for t in row["labels"] if t != -100])


def test_a_template_that_marks_nothing_is_as_good(tmp_path: Path) -> None:
    rows = [{"messages": LONG}, {"messages": LONG[1:3]}]
    marked, plain = (tokens(tmp_path, rows, each).rows for each in (tiny.CHAT_TEMPLATE, UNMARKED))
    assert marked.to_list() == plain.to_list()
    [spaced, _] = tokens(tmp_path, rows, SPACED).rows
    assert learnt(plain[0]) == learnt(spaced) == "Hello<|im_end|>Me<|im_end|>"


ENDLESS = tiny.CHAT_TEMPLATE.replace(
    "<|im_end|>{% endgeneration %}\n", "{% endgeneration %}<|im_end|>\n"
)


@pytest.mark.parametrize(
    ("normalizer", "answers", "wanted"),
    [
        (None, ["cafe\u0301", "Hello 🙂"], "cafe\u0301Hello 🙂"),
        (normalizers.NFC(), ["cafe\u0301", "Me"], "caféMe"),
        (normalizers.Replace("~", ""), ["~Hello~", "~Me"], "HelloMe"),
    ],
)
def test_what_is_marked_is_learnt_whatever_characters_it_begins_and_ends_with(
    normalizer: Any, answers: list[str], wanted: str, tmp_path: Path
) -> None:
    tokenizer = tiny.tokenizer()
    if normalizer is not None:
        tokenizer.backend_tokenizer.normalizer = normalizer
    rows = [{"messages": [*said("Hi", answers[0]), *said("Who?", answers[1])]}]
    [row] = tokens(tmp_path, rows, ENDLESS, tokenizer=tokenizer).rows
    assert learnt(row) == wanted


def test_what_is_marked_is_what_transformers_says_is_marked(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    [row] = tokens(tmp_path, [{"messages": LONG}]).rows
    theirs = tokenizer.apply_chat_template(
        LONG, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    marked = zip(theirs["input_ids"], theirs["assistant_masks"], strict=True)
    assert row["labels"] == [token if mark else -100 for token, mark in marked]


DATED = "{{ strftime_now('%d %b %Y, %B %-d, %e %H:%M %%') }} " + tiny.CHAT_TEMPLATE


def test_a_template_that_asks_for_the_day_is_told_the_same_one(tmp_path: Path) -> None:
    [row] = tokens(tmp_path, [{"messages": LONG}], DATED).rows
    assert tiny.tokenizer().decode(row["input_ids"]).startswith("26 Jul 2024, July 26, 26 00:00 % ")


FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] if loop.last or m['role'] == 'user' else 'x' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = UNMARKED.replace(
    "{% if add_generation_prompt %}<|im_start|>assistant\n",
    "{% if add_generation_prompt %}<|im_start|>assistant\nI think",
)
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (FORGETFUL, r"row 2, messages\[2\]: the chat template has no \{% generation %\} block"),
        (THINKING, r"row 1, messages\[1\]: the chat template has no \{% generation %\} block"),
        (STRICT + UNMARKED, "row 2: the chat template refuses the conversation: no system"),
    ],
)
def test_a_template_that_cannot_be_followed_is_refused(
    tmp_path: Path, template: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        tokens(tmp_path, [{"messages": said("Hi", "Hello")}, {"messages": LONG}], template)


CALL: dict[str, Any] = {"function": {"name": "look", "arguments": '{"at": "it"}'}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
CALLS = (
    "{% for call in messages[1].tool_calls %}"
    "{% for name, value in call.function.arguments|items %}{% endfor %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("row", "template", "message"),
    [
        ({"messages": [LONG[1], CALLING]}, "", "row 1: has tool_calls, and .* writes none"),
        ({"messages": LONG, "tools": [{}]}, "", "row 1: has tools, and the base model's chat tem"),
        ({"messages": [LONG[1], CALLING]}, CALLS, "row 1: the chat template refuses .* a mapping"),
        ({"messages": LONG[2:]}, None, r"row 1, messages\[0\]: the assistant speaks first"),
    ],
)
def test_a_row_that_the_template_would_not_write_whole_is_refused(
    tmp_path: Path, row: dict[str, Any], template: str | None, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        tokens(tmp_path, [row], UNMARKED if template is None else template + tiny.CHAT_TEMPLATE)


def test_long_rows_are_cut_when_asked_for_and_counted(tmp_path: Path) -> None:
    rows = [{"messages": said("Hi", "Hello " * count)} for count in (3, 30, 40)]
    with pytest.raises(DatasetError, match=r"row 2: \d+ tokens, and max_length is 20"):
        tokens(tmp_path, rows, max_length=20)
    cut = tokens(tmp_path, rows, max_length=20, truncate=True)
    assert cut.truncated == 2
    assert [len(row["input_ids"]) for row in cut.rows][1:] == [20, 20]
    assert all(len(row["input_ids"]) == len(row["labels"]) for row in cut.rows)
    assert learnt(cut.rows[1]).startswith("Hello Hello")


def test_a_row_of_which_nothing_is_left_is_an_error(tmp_path: Path) -> None:
    rows = [{"messages": said("Hi", "Hello")}, {"messages": said("Hi " * 50, "Hello")}]
    with pytest.raises(
        DatasetError, match=r"row 2: cut to max_length=20, it has nothing to learn from"
    ):
        tokens(tmp_path, rows, max_length=20, truncate=True)


def test_preferences_share_their_prompt(tmp_path: Path) -> None:
    answers = {name: said("", name * 9)[1:] for name in ("chosen", "rejected")}
    row = {"prompt": LONG[:2], **answers}
    [made] = tokens(tmp_path, [row], method="dpo").rows
    tokenizer = tiny.tokenizer()
    assert tokenizer.decode(made["prompt_ids"]).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(made["chosen_ids"]) == "chosen" * 9 + "<|im_end|>"
    assert tokenizer.decode(made["rejected_ids"]) == "rejected" * 9 + "<|im_end|>"
    cut = tokens(tmp_path, [row], method="dpo", max_length=30, truncate=True)
    assert cut.truncated == 1
    longest = max(len(cut.rows[0]["chosen_ids"]), len(cut.rows[0]["rejected_ids"]))
    assert len(cut.rows[0]["prompt_ids"]) + longest == 30
    with pytest.raises(DatasetError, match="nothing to learn from"):
        tokens(tmp_path, [row], method="dpo", max_length=10, truncate=True)
    alike = {name: said("", "Hello " * 9 + name)[1:] for name in ("chosen", "rejected")}
    with pytest.raises(DatasetError, match="nothing to learn from"):
        tokens(tmp_path, [{**row, **alike}], method="dpo", max_length=20, truncate=True)
    with pytest.raises(DatasetError, match="row 1, chosen: the chat template writes the prompt"):
        tokens(tmp_path, [row], THINKING, method="dpo")
