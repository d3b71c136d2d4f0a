"""Rows as tokens: what is learnt from, told to the token.

What the assistant says is marked by the chat template's ``{% generation %}``
block. Without one it is found by what the model is given when it answers: the
messages before, and the generation prompt. Where the tokens of that are the
first tokens of the whole conversation, the answer is what follows them; where
they are not, the row is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from motools.errors import DatasetError
from motools.training.local.dates import dated
from motools.training.rows import Row, in_row, read_rows

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

_IGNORED: Final = -100
_SPOKEN: Final = ("messages", "prompt", "chosen", "rejected")
# As TRL and transformers recognise the tag.
_GENERATION: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")

_Tokens: TypeAlias = list[int]
_Made: TypeAlias = dict[str, _Tokens]


@dataclass(frozen=True)
class Tokenised:
    """Rows, ready for a trainer.

    Attributes:
        rows: with ``input_ids`` and ``labels``, or with ``prompt_ids``,
            ``chosen_ids`` and ``rejected_ids``.
        truncated: how many were cut to the longest length allowed.
    """

    rows: datasets.Dataset
    truncated: int


def tokenise(
    path: Path, tokenizer: PreTrainedTokenizerBase, config: Mapping[str, Any]
) -> Tokenised:
    """The rows as tokens.

    Raises:
        DatasetError: a row is longer than ``max_length`` and may not be cut, it
            has nothing to learn from, or the chat template cannot write it; the
            message has its row.
    """
    from datasets import Dataset

    make, cut = _METHODS[config["method"]]
    limit, rows, truncated = config["max_length"], [], 0
    for number, row in enumerate(read_rows(path, config["method"]), 1):
        with in_row(number) as where:
            made, length = make(row, _Template(tokenizer, row, where), config)
            if length > limit:
                if not config.get("truncate"):
                    raise DatasetError(
                        f"{where}: {length} tokens, and max_length is {limit}; shorten the row, "
                        "raise max_length, or set truncate"
                    )
                made, truncated = cut(made, limit), truncated + 1
                if not _learns(made):
                    raise DatasetError(
                        f"{where}: cut to max_length={limit}, it has nothing to learn from"
                    )
        rows.append(made)
    return Tokenised(Dataset.from_list(rows), truncated)


def _learns(made: Mapping[str, Any]) -> bool:
    if "chosen_ids" in made and made["chosen_ids"] == made["rejected_ids"]:
        return False
    return all(any(t != _IGNORED for t in made[name]) for name in _LEARNT & made.keys())


class _Template:
    """Writes the conversations of one row as the model expects them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, row: Row, where: str) -> None:
        self.tokenizer = tokenizer
        self.where = where
        self._tools = row.get("tools")
        self._template = dated(tokenizer.get_chat_template(tools=self._tools))
        for name, given in (("tools", self._tools), ("tool_calls", _calls(row))):
            if given and not re.search(rf"\b{name}\b", self._template):
                raise DatasetError(
                    f"{where}: has {name}, and the base model's chat template writes none, so that "
                    "nothing of them would be learnt; take a model whose template does, or leave "
                    "them out"
                )

    def write(self, messages: list[Row], **options: Any) -> Any:
        """Tokens of a conversation, under ``input_ids``."""
        from jinja2 import TemplateError

        if not messages:
            raise DatasetError(
                f"{self.where}, messages[0]: the assistant speaks first, and the chat template has "
                "no {% generation %} block, so what it says cannot be told apart; add the block "
                "around the assistant's content and end token, or set loss_mask='all'"
            )
        try:
            return self.tokenizer.apply_chat_template(
                messages,
                tools=self._tools,
                tokenize=True,
                return_dict=True,
                chat_template=self._template,
                **options,
            )
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as problem:
            raise DatasetError(
                f"{self.where}: the chat template refuses the conversation: {problem}"
            ) from None

    def tokens(self, messages: list[Row], **options: Any) -> _Tokens:
        """Tokens of a conversation."""
        return list(self.write(messages, **options)["input_ids"])

    def marks(self) -> bool:
        """Whether the template itself says what the assistant says."""
        return _GENERATION.search(self._template) is not None

    def marked(self, messages: list[Row]) -> tuple[_Tokens, list[bool]]:
        """Tokens of a conversation, and which of them the template says are the assistant's.

        The mask that transformers makes of the same marks ends within a character of several
        tokens, and where a character is not in the tokens at all, as one that was normalised,
        goes on to the end of the conversation.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        encoded = self.write(messages)
        if encoded.encodings is None:
            raise DatasetError(
                f"{self.where}: the chat template marks what the assistant says, and the base "
                "model's tokenizer does not tell where in a text its tokens are: take a model "
                "that has a tokenizer.json, or set loss_mask='all'"
            )
        given = [{name: v for name, v in each.items() if v is not None} for each in messages]
        _, [ranges] = render_jinja_template(
            conversations=[given],
            tools=self._tools,
            chat_template=self._template,
            return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )
        tokens, places = list(encoded["input_ids"]), encoded.encodings[0].offsets
        said = [False] * len(tokens)
        for start, end in ranges:
            within = [at for at, (s, e) in enumerate(places) if s < end and e > start]
            for at in range(within[0], within[-1] + 1) if within else ():
                said[at] = True
        return tokens, said


def _calls(row: Row) -> bool:
    """Whether the assistant calls a tool anywhere in a row."""
    spoken = [message for name in _SPOKEN for message in row.get(name, [])]
    return any(message.get("tool_calls") for message in spoken)


def _conversation(row: Row, template: _Template, config: Mapping[str, Any]) -> tuple[_Made, int]:
    messages = row["messages"]
    if config["loss_mask"] == "all":
        tokens = template.tokens(messages)
        return {"input_ids": tokens, "labels": list(tokens)}, len(tokens)
    if template.marks():
        tokens, said = template.marked(messages)
    else:
        tokens = template.tokens(messages)
        said = _said(messages, tokens, template)
    labels = [t if mark else _IGNORED for t, mark in zip(tokens, said, strict=True)]
    if all(label == _IGNORED for label in labels[1:]):
        raise DatasetError(
            f"{template.where}, messages: the chat template marks nothing of it as said by the "
            "assistant; correct its generation block, or set loss_mask='all'"
        )
    return {"input_ids": tokens, "labels": labels}, len(tokens)


def _said(messages: list[Row], tokens: _Tokens, template: _Template) -> list[bool]:
    """What of a conversation is the assistant's, by a template that does not say."""
    said = [False] * len(tokens)
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        given = template.tokens(messages[:index], add_generation_prompt=True)
        answered = template.tokens(messages[: index + 1])
        if tokens[: len(given)] != given or tokens[: len(answered)] != answered:
            raise DatasetError(
                f"{template.where}, messages[{index}]: the chat template has no {{% generation %}} "
                "block, and writes what comes before this message otherwise when the model is to "
                "answer, so what the assistant says cannot be told apart; add the block around the "
                "assistant's content and end token, or set loss_mask='all'"
            )
        end = _end(tokens, len(given), len(answered), template.tokenizer)
        said[len(given) : end] = [True] * (end - len(given))
    return said


def _end(tokens: _Tokens, start: int, end: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """Where an answer ends: with its end token, not with the blank that templates put after it."""
    special = set(tokenizer.all_special_ids)
    last = next((at for at in range(end - 1, start - 1, -1) if tokens[at] in special), None)
    if last is not None and not tokenizer.decode(tokens[last + 1 : end]).strip():
        return last + 1
    return end


def _preference(row: Row, template: _Template, _config: Mapping[str, Any]) -> tuple[_Made, int]:
    prompt = template.tokens(row["prompt"], add_generation_prompt=True)
    made = {"prompt_ids": prompt}
    for name in ("chosen", "rejected"):
        whole = template.tokens(row["prompt"] + row[name])
        if whole[: len(prompt)] != prompt:
            raise DatasetError(
                f"{template.where}, {name}: the chat template writes the prompt otherwise when the "
                "model is to answer than before this answer, so they cannot be told apart; correct "
                "the template's generation prompt"
            )
        made[f"{name}_ids"] = whole[len(prompt) :]
    answers = max(len(made["chosen_ids"]), len(made["rejected_ids"]))
    return made, len(prompt) + answers


def _cut_conversation(made: _Made, limit: int) -> _Made:
    # A first token is given, never learnt.
    labels = [_IGNORED, *made["labels"][1:limit]]
    return {"input_ids": made["input_ids"][:limit], "labels": labels}


def _cut_preference(made: _Made, limit: int) -> _Made:
    left = max(0, limit - len(made["prompt_ids"]))
    return {name: ids if name == "prompt_ids" else ids[:left] for name, ids in made.items()}


_Make: TypeAlias = Callable[[Row, _Template, Mapping[str, Any]], tuple[_Made, int]]
_METHODS: Final[Mapping[str, tuple[_Make, Callable[[_Made, int], _Made]]]] = {
    "supervised": (_conversation, _cut_conversation),
    "dpo": (_preference, _cut_preference),
}
_LEARNT: Final = {"labels", "chosen_ids", "rejected_ids"}
