"""The model provider: many requests at once, the same answers as one by one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, get_model

import motools.evals.provider
from motools.training.local import models, tiny

PROMPTS = [f"Say {number}" for number in range(10)]


@pytest.fixture(scope="module")
def model() -> Model:
    spec = {"base": {"kind": "tiny", "recipe": tiny.RECIPE}, "adapter": None}
    return get_model("motools/tiny", memoize=False, spec=spec)


def ask(model: Model, prompts: list[str], **settings: Any) -> list[str]:
    """The answers to prompts that are all asked at once."""
    config = GenerateConfig(max_tokens=5, **settings)

    async def all_at_once() -> list[str]:
        calls = [model.generate([ChatMessageUser(content=text)], config=config) for text in prompts]
        return [output.completion for output in await asyncio.gather(*calls)]

    return asyncio.run(all_at_once())


def counting(sizes: list[int]) -> Any:
    """The real :func:`models.generate`, which notes how many conversations it was given."""
    generate = models.generate

    def counted(model: Any, tokenizer: Any, conversations: Any, **settings: Any) -> Any:
        sizes.append(len(conversations))
        return generate(model, tokenizer, conversations, **settings)

    return counted


def test_requests_that_wait_are_answered_together(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(models, "generate", counting(sizes))
    together = ask(model, PROMPTS, temperature=0.0)
    assert sum(sizes) == len(PROMPTS)
    assert len(sizes) <= 2
    alone = [ask(model, [prompt], temperature=0.0)[0] for prompt in PROMPTS]
    assert together == alone
    assert len(set(together)) > 1


def test_samples_do_not_depend_on_what_else_is_asked(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fresh() -> Model:
        model.api._asked.clear()  # type: ignore[attr-defined]
        return model

    settings = {"temperature": 1.0, "seed": 3}
    sizes: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(models, "generate", counting(sizes))
        together = ask(fresh(), PROMPTS, **settings)
    assert len(sizes) <= 2 < sum(sizes)
    backwards = ask(fresh(), PROMPTS[::-1], **settings)
    assert together == backwards[::-1]
    assert ask(fresh(), PROMPTS, temperature=1.0, seed=4) != together
    twice = ask(fresh(), [PROMPTS[0]] * 2, **settings)
    assert twice[0] != twice[1]
    assert together[0] in twice


def test_an_error_reaches_every_request_and_the_next_one_is_answered(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any, **settings: Any) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(models, "generate", failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            ask(model, PROMPTS[:3], temperature=0.0)
    assert len(ask(model, PROMPTS[:3], temperature=0.0)) == 3


def test_the_recipe_covers_the_defaults() -> None:
    """A change of these is a change of the recipe, and so of every key."""
    assert motools.evals.PROVIDER_RECIPE == 2
    assert motools.evals.provider.MAX_TOKENS == 2048
