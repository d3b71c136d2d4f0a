"""The model provider: many requests at once, the same answers as one by one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
from inspect_ai._util.constants import DEFAULT_MAX_TOKENS
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageUser,
    GenerateConfig,
    Model,
    get_model,
)
from inspect_ai.tool import ToolCall

import motools.evals.provider
from motools.errors import EvaluationError
from motools.evals.connection import Connection
from motools.training.local import host, tiny

PROMPTS = [f"Say {number}" for number in range(10)]
SPEC = {"base": {"kind": "tiny", "recipe": tiny.RECIPE}, "adapter": None, "digest": "t"}


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with host.connection() as end:
        connection = Connection(os.dup(end.fileno()))
        connection.load(SPEC)()
        yield connection
        connection.close()
    host.release()


@pytest.fixture
def model(connection: Connection) -> Model:
    motools.evals.provider.offer(connection, "motools/tiny", "t")
    return get_model("motools/tiny", memoize=False)


def ask(model: Model, prompts: list[str], **settings: Any) -> list[str]:
    """The answers to prompts that are all asked at once."""
    config = GenerateConfig(max_tokens=5, **settings)

    async def all_at_once() -> list[str]:
        calls = [model.generate([ChatMessageUser(content=text)], config=config) for text in prompts]
        return [output.completion for output in await asyncio.gather(*calls)]

    return asyncio.run(all_at_once())


def test_answers_do_not_depend_on_what_else_is_asked(model: Model) -> None:
    together = ask(model, PROMPTS, temperature=0.0)
    assert together == [ask(model, [prompt], temperature=0.0)[0] for prompt in PROMPTS]
    assert len(set(together)) > 1


def test_samples_do_not_depend_on_what_else_is_asked(model: Model) -> None:
    def fresh() -> Model:
        model.api._asked.clear()  # type: ignore[attr-defined]
        return model

    settings = {"temperature": 1.0, "seed": 3}
    together = ask(fresh(), PROMPTS, **settings)
    backwards = ask(fresh(), PROMPTS[::-1], **settings)
    assert together == backwards[::-1]
    assert ask(fresh(), PROMPTS, temperature=1.0, seed=4) != together
    twice = ask(fresh(), [PROMPTS[0]] * 2, **settings)
    assert twice[0] != twice[1]
    assert together[0] in twice


def test_replicates_draw_answers_of_their_own(model: Model) -> None:
    api: Any = model.api

    def asked(replicate: int, seed: int) -> list[str]:
        api._asked.clear()
        api._replicate = replicate
        return ask(model, PROMPTS, temperature=1.0, seed=seed)

    try:
        answers = [asked(replicate, seed) for replicate in (0, 1, 2) for seed in (0, 1)]
        assert len({tuple(each) for each in answers}) == len(answers)
        assert asked(1, 0) == asked(1, 0)
    finally:
        api._replicate = 0


def test_a_model_that_was_not_offered_is_refused() -> None:
    with pytest.raises(Exception, match="only in evaluations that motools runs"):
        get_model("motools/unknown", memoize=False)


def test_a_call_of_a_tool_is_not_left_out_of_a_conversation(model: Model) -> None:
    call = ToolCall(id="1", function="look", arguments={})
    asked = [ChatMessageUser(content="Hi"), ChatMessageAssistant(content="", tool_calls=[call])]
    with pytest.raises(EvaluationError, match="the task gives them a call of one"):
        asyncio.run(model.generate([*asked, ChatMessageUser(content="So?")]))


def test_the_recipe_covers_the_defaults() -> None:
    """A change of these is a change of the recipe, and so of every key."""
    assert motools.evals.PROVIDER_RECIPE == 3
    assert motools.evals.provider.MAX_TOKENS == DEFAULT_MAX_TOKENS == 2048, "as with hf/"
