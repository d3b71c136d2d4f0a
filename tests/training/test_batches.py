"""Batches: what is answered together, and what happens when it does not fit."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from motools.digest import hash_file
from motools.training.local import base, models
from motools.training.local.batches import Batches, Request
from motools.training.local.pool import AT_ONCE, Kept
from motools.training.local.sampling import Sampling

from .lessons import STRANGERS, said

REFUSING = (
    "{% if messages[0]['content'] == 'refuse me' %}{{ raise_exception('not that') }}{% endif %}"
)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return models.load({"base": base.identify("tiny", hash_file).spec})


@pytest.fixture
def kept(tiny: Any) -> Kept:
    return Kept(*tiny, size=0)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many conversations each batch had; the real generation answers them."""
    found: list[int] = []
    generate = models.generate

    def counted(model: Any, tokenizer: Any, conversations: Any, **settings: Any) -> Any:
        found.append(len(conversations))
        return generate(model, tokenizer, conversations, **settings)

    monkeypatch.setattr(models, "generate", counted)
    return found


def answers(kept: Kept, count: int, max_tokens: int = 4, refused: int | None = None) -> list[Any]:
    """What so many requests come to that are made at once, in order; a template refuses one."""
    batches, found, ended = Batches(), {}, threading.Semaphore(0)

    def request(at: int) -> Request:
        def done(outcome: Any) -> None:
            found[at] = outcome
            ended.release()

        name = STRANGERS[at % len(STRANGERS)]
        sampling = Sampling(1.0, at) if at % 2 else None
        asked = said("refuse me" if at == refused else f"Hi, I am {name}.")
        return Request(kept, asked, max_tokens, sampling, (), done)

    for at in range(count):
        batches.add(request(at))
    for _ in range(count):
        assert ended.acquire(timeout=60)
    return [found[at] for at in range(count)]


def test_requests_that_wait_are_answered_together(kept: Kept, sizes: list[int]) -> None:
    found = answers(kept, AT_ONCE + 3)
    assert sizes == [AT_ONCE, 3]
    assert found[:8] == answers(kept, 8)
    assert len({one.text for one in found}) > 8


def test_what_does_not_fit_is_answered_in_smaller_batches(
    kept: Kept, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, generate = answers(kept, 10), models.generate

    def narrow(model: Any, tokenizer: Any, conversations: Any, **settings: Any) -> Any:
        if len(conversations) > 3:
            raise torch.OutOfMemoryError("no room")
        return generate(model, tokenizer, conversations, **settings)

    monkeypatch.setattr(models, "generate", narrow)
    sizes.clear()
    assert answers(kept, 10) == expected
    assert sizes == [2] * 5 and kept.at_once == 2


def test_an_error_reaches_all_who_asked_and_the_next_are_answered(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any, **settings: Any) -> Any:
        raise torch.OutOfMemoryError("no room for one")

    with monkeypatch.context() as patch:
        patch.setattr(models, "generate", failing)
        assert {str(one) for one in answers(kept, 3)} == {"no room for one"}
    assert all(one.output_tokens == 4 for one in answers(kept, 3))


def test_a_conversation_that_the_template_refuses_is_an_error_of_who_asked_it(
    tiny: Any, sizes: list[int]
) -> None:
    tokenizer = copy.deepcopy(tiny[1])
    tokenizer.chat_template = REFUSING + tokenizer.chat_template
    kept = Kept(tiny[0], tokenizer, size=0)
    expected = answers(kept, 5)
    sizes.clear()
    found = answers(kept, 5, refused=2)
    assert "not that" in str(found.pop(2))
    assert found == expected[:2] + expected[3:]
    assert sizes == [5, 4]
