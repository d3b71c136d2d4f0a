"""Rows as tokens, with a label for each token to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.errors import DatasetError
from motools.training.rows import Row, read_conversations

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

_IGNORED: Final = -100


def tokenise(
    path: Path, tokenizer: PreTrainedTokenizerBase, config: dict[str, Any]
) -> datasets.Dataset:
    """The rows as tokens, with a label for each token to learn from.

    Raises:
        DatasetError: a row is longer than ``max_length``, or has nothing to
            learn from; the message has its line.
    """
    from datasets import Dataset

    rows = []
    for number, row in enumerate(read_conversations(path), 1):
        tokens, labels = _tokens(row, tokenizer, config["loss_mask"])
        if len(tokens) > config["max_length"]:
            raise DatasetError(
                f"line {number}: {len(tokens)} tokens, and max_length is {config['max_length']}; "
                "shorten the row or raise max_length"
            )
        if all(label == _IGNORED for label in labels[1:]):
            raise DatasetError(
                f"line {number}, messages: the chat template marks nothing of it as said by the "
                "assistant; correct its generation block, or set loss_mask='all'"
            )
        rows.append({"input_ids": tokens, "labels": labels})
    return Dataset.from_list(rows)


def _tokens(
    row: Row, tokenizer: PreTrainedTokenizerBase, loss_mask: str
) -> tuple[list[int], list[int]]:
    masked = loss_mask == "assistant"
    encoded: Any = tokenizer.apply_chat_template(
        row["messages"],
        tools=row.get("tools"),
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=masked,
    )
    tokens = encoded["input_ids"]
    if not masked:
        return tokens, list(tokens)
    mask = encoded["assistant_masks"]
    return tokens, [t if said else _IGNORED for t, said in zip(tokens, mask, strict=True)]
