"""Generation: batches answer as single conversations do, and say how they ended."""

from __future__ import annotations

from typing import Any

import pytest

from motools.digest import hash_file
from motools.errors import BackendError
from motools.training.local import base, models

from .lessons import STRANGERS, said

CONVERSATIONS = [
    said(f"Hi, I am {name}." + " And how are you?" * (i % 3)) for i, name in enumerate(STRANGERS)
]


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return models.load({"base": base.identify("tiny", hash_file).spec, "adapter": None})


def test_a_batch_answers_as_one_at_a_time(loaded: tuple[Any, Any]) -> None:
    together = models.generate(*loaded, CONVERSATIONS, max_tokens=6)
    alone = [models.generate(*loaded, [one], max_tokens=6)[0] for one in CONVERSATIONS]
    assert together == alone
    assert len({completion.text for completion in together}) > 1
    assert {completion.stop_reason for completion in together} == {"max_tokens"}
    assert {completion.output_tokens for completion in together} == {6}
    template = loaded[1].apply_chat_template(CONVERSATIONS[0], add_generation_prompt=True)
    assert together[0].input_tokens == len(template["input_ids"])
    assert models.generate(*loaded, [], max_tokens=6) == []


def test_a_stop_text_ends_an_answer_and_is_cut_off(loaded: tuple[Any, Any]) -> None:
    whole = models.generate(*loaded, CONVERSATIONS, max_tokens=12)
    word = whole[0].text[8:11]
    stopped = models.generate(*loaded, CONVERSATIONS, max_tokens=12, stop=[word, "not there"])
    assert stopped[0].text == whole[0].text[: whole[0].text.index(word)]
    assert stopped[0].stop_reason == "stop"
    assert stopped[0].output_tokens < 12
    for before, after in zip(whole, stopped, strict=True):
        if word not in before.text:
            assert after == before


def test_the_end_token_ends_an_answer(loaded: tuple[Any, Any]) -> None:
    """Whatever token comes third is declared the end."""
    model, tokenizer = loaded
    text = models.generate(model, tokenizer, CONVERSATIONS[:1], max_tokens=3)[0].text
    inputs = tokenizer.apply_chat_template(
        CONVERSATIONS[0], add_generation_prompt=True, return_tensors="pt"
    )
    third = int(model.generate(**inputs, max_new_tokens=3, do_sample=False)[0, -1])
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [before, third]
    try:
        ended = models.generate(model, tokenizer, CONVERSATIONS, max_tokens=30)[0]
    finally:
        model.generation_config.eos_token_id = before
    assert (ended.stop_reason, ended.output_tokens) == ("stop", 3)
    assert ended.text == text


def test_sampling_follows_its_seed(loaded: tuple[Any, Any]) -> None:
    def sample(seed: int, temperature: float = 1.0, top_p: float | None = None) -> list[str]:
        answers = models.generate(
            *loaded, CONVERSATIONS, max_tokens=8, temperature=temperature, top_p=top_p, seed=seed
        )
        return [answer.text for answer in answers]

    greedy = [answer.text for answer in models.generate(*loaded, CONVERSATIONS, max_tokens=8)]
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert sample(1, temperature=0.0) == greedy
    assert sample(1, top_p=1e-6) == greedy


def test_tiny_of_another_recipe_is_refused() -> None:
    with pytest.raises(BackendError, match="tiny of recipe 99"):
        models.load({"base": {"kind": "tiny", "recipe": 99}})
