"""``tiny`` is the same model in every process, since its recipe number stands for it in keys."""

from __future__ import annotations

import os
import subprocess
import sys

from motools.training.local import tiny

from .lessons import said

PRINT_DIGEST = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(int(sys.argv[1]))
from motools.digest import canonical_json, hash_bytes
from motools.training.local import tiny
model, tokenizer = tiny.load()
weights = b"".join(
    name.encode() + weight.detach().numpy().tobytes()
    for name, weight in sorted(model.named_parameters())
)
print(hash_bytes(weights).short)
print(hash_bytes(canonical_json([tokenizer.get_vocab(), tokenizer.encode("Hi, you! " * 9)])).short)
print(hash_bytes(tiny.CHAT_TEMPLATE.encode()).short)
"""

GOLDEN = (1, ["beb62fc15d3a", "541bfa58684c", "2bbee3b188c9"])
"""Recipe number, then the digests of weights, tokenizer and template: they change together."""


def test_it_is_bit_identical_in_every_process() -> None:
    for number in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": number, "OMP_NUM_THREADS": number}
        printed = subprocess.run(
            [sys.executable, "-c", PRINT_DIGEST, number],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert (tiny.RECIPE, printed) == GOLDEN


def test_every_text_has_tokens_and_common_words_have_one() -> None:
    tokenizer = tiny.tokenizer()
    text = "Grüß dich, Zoë! \U0001f600\tthe end\n\n  of 1e-4"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("<|im_end|>") == [tokenizer.eos_token_id]
    for word in ("Hello", " Hello", " thanks", "assistant", " year"):
        assert len(tokenizer.encode(word)) == 1


def test_the_template_marks_what_the_assistant_says() -> None:
    tokenizer = tiny.tokenizer()
    encoded = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be kind."}, *said("Hi", "Hello"), *said("Who", "Me")],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    marked = [t for t, m in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(marked) == "Hello<|im_end|>Me<|im_end|>"
