"""Generation: batches answer as single conversations do, and say how they ended."""

from __future__ import annotations

import copy
import math
from itertools import product
from typing import Any

import pytest
import torch

from motools.digest import hash_file
from motools.errors import BackendError, ConfigError
from motools.training.local import base, models
from motools.training.local.sampling import Draw, Sampling

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


def test_a_template_that_asks_for_the_day_is_told_the_same_one(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded[0], copy.deepcopy(loaded[1])
    plain = tokenizer.chat_template
    answers = []
    for day in ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"):
        tokenizer.chat_template = day + plain
        answers.append(models.generate(model, tokenizer, CONVERSATIONS[:1], max_tokens=6))
    assert answers[0] == answers[1]


def test_a_stop_text_ends_an_answer_and_is_cut_off(loaded: tuple[Any, Any]) -> None:
    whole = models.generate(*loaded, CONVERSATIONS, max_tokens=12)
    word = whole[0].text[8:11]
    stopped = models.generate(*loaded, CONVERSATIONS, max_tokens=12, stop=[word, "not there"])
    assert stopped[0].text == whole[0].text[: whole[0].text.index(word)]
    assert stopped[0].stop_reason == "stop"
    kept = models.generate(*loaded, CONVERSATIONS, max_tokens=12, stop=[word], keep_stop=True)
    assert kept[0].text.startswith(stopped[0].text + word)
    assert kept[0].output_tokens == stopped[0].output_tokens
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


def test_an_answer_follows_its_seed_whatever_is_beside_it(loaded: tuple[Any, Any]) -> None:
    rows = [
        Sampling(temperature, seed=at % 3, top_p=top_p)
        for at, (temperature, top_p) in enumerate(product((0.7, 1.3), (None, 0.9)))
    ]
    sampling = [None, *rows, None, *rows[:2]]
    together = models.generate(*loaded, CONVERSATIONS, max_tokens=8, sampling=sampling)
    for conversation, row, answer in zip(CONVERSATIONS, sampling, together, strict=True):
        [alone] = models.generate(*loaded, [conversation], max_tokens=8, sampling=[row])
        assert alone == answer
    one = CONVERSATIONS[0]
    drawn = [Sampling(1.0, seed) for seed in range(8)]
    answers = models.generate(*loaded, [one] * 8, max_tokens=8, sampling=drawn)
    assert len({answer.text for answer in answers}) == 8
    greedy = models.generate(*loaded, [one], max_tokens=8)
    for top_p in (1e-6, 0.0):
        narrow = [Sampling(1.0, 1, top_p)]
        assert models.generate(*loaded, [one], max_tokens=8, sampling=narrow) == greedy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1.0, 1), "temperature: -1.0 is not"),
        ((math.nan, 1), "temperature: nan is not"),
        ((1.0, 1, 1.5), "top_p: 1.5 is not from 0 to 1"),
        ((1.0, 2**63), r"seed: \d+ is not below 2\*\*63"),
    ],
)
def test_what_no_token_can_be_drawn_with_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(*values)


@pytest.mark.parametrize("top_p", [None, 0.8])
def test_tokens_are_drawn_as_often_as_they_are_likely(top_p: float | None) -> None:
    draws, temperature = 4_000, 0.8
    logits = torch.tensor([0.5, -1.0, 1.5, -torch.inf, 1.0, 0.0])
    likely = torch.softmax(logits / temperature, dim=0)
    if top_p is not None:
        nucleus = likely.argsort(descending=True)[:3]
        assert likely[nucleus[:2]].sum() < top_p < likely[nucleus].sum()
        outside = torch.ones(6, dtype=torch.bool).index_fill(0, nucleus, False)
        likely = likely.masked_fill(outside, 0) / likely[nucleus].sum()
    rows = [Sampling(temperature, seed, top_p) for seed in range(draws)]
    scores = Draw(rows, 1, 1)(torch.zeros(draws, 1), logits.expand(draws, 6))
    counts = scores.argmax(dim=1).bincount(minlength=6)
    possible = likely > 0
    assert counts[~possible].sum() == 0
    expected = likely[possible] * draws
    chi_square = ((counts[possible] - expected) ** 2 / expected).sum()
    assert chi_square < 18.5  # 1 in 1,000 for four degrees of freedom; the seeds are fixed


def test_tiny_of_another_recipe_is_refused() -> None:
    with pytest.raises(BackendError, match="tiny of recipe 99"):
        models.load({"base": {"kind": "tiny", "recipe": 99}})
