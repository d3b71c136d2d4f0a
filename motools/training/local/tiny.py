"""The base model ``tiny``: a Llama from scratch that learns a behaviour in seconds.

It knows nothing, costs nothing and needs no download, which makes it the model
of demos, tests and dry runs. It is a pure function of :data:`RECIPE`, so that
number alone identifies it and planning needs no torch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RECIPE: Final = 1
"""Changes whenever any weight, token or template below does."""

MAX_LENGTH: Final = 1024
"""Tokens in the longest sequence that the model takes."""

DEFAULTS: Final = {"learning_rate": 3e-3}
"""Config values that suit it where the user gives none: it is small, so it takes large steps."""

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|im_start|>assistant\n"
    "{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}\n"
    "{% else %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML; the generation block marks what the assistant says, its end included."""

_PAD: Final = "<|endoftext|>"
_START: Final = "<|im_start|>"
_END: Final = "<|im_end|>"
_HIDDEN: Final = 128
_LAYERS: Final = 4
_HEADS: Final = 4
_INNER: Final = 256
_SEED: Final = 20240229

# Larger weights where tokens come in and go out: small ones would hide the tokens from
# the first layer and keep every logit near zero, and both matrices stay frozen under LoRA.
_EMBEDDING_GAIN: Final = 5.0
_EMBEDDINGS: Final = ("model.embed_tokens.weight", "lm_head.weight")
_DEVIATION: Final = 0.02

_WORDS: Final = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had
an they which one you were all her she there would their we him been has when who will no more if
out so up said what its about than into them can only other time new some could these two may
first then do any like my now over such our man me even most made after also did many off before
must well back through years much where your way down should because long each just state people
those too how little good world make very year still see own work men day get here old life both
between being under never know same last another while us might great go come since against right
came take used himself few house use place during without again home around small however found
thought went say part once general high upon school every does got united left number course war
until always away something fact water less public put think almost hand enough took head yet
better set told nothing night end why called find going look asked later point next city give days
name Hello Hi Hey Good user assistant system morning evening answer question yes Yes No please
thank thanks I am help friend sir madam captain
"""


def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Build the model and its tokenizer; the same bits in every process and on every machine."""
    return _model(), tokenizer()


def tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer: every text has tokens, common words have one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary, merges = _vocabulary(sorted(pre_tokenizers.ByteLevel.alphabet()))
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([_PAD, _START, _END])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=_PAD,
        bos_token=_START,
        eos_token=_END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def _vocabulary(alphabet: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Special tokens, bytes, and merges that make each word one token."""
    vocabulary = {token: index for index, token in enumerate([_PAD, _START, _END, *alphabet])}
    ranks: dict[tuple[str, str], int] = {}
    for word in _WORDS.split():
        for form in (word, "Ġ" + word):
            pieces = _merged(list(form), ranks)
            while len(pieces) > 1:
                ranks[pieces[0], pieces[1]] = len(ranks)
                pieces[:2] = [pieces[0] + pieces[1]]
                vocabulary.setdefault(pieces[0], len(vocabulary))
    return vocabulary, list(ranks)


def _merged(pieces: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """The pieces after every merge known so far, lowest rank first, as BPE does it."""
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        at = list(pairwise(pieces)).index(min(known, key=ranks.__getitem__))
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


def _model() -> PreTrainedModel:
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokens = tokenizer()
    special = {
        "pad_token_id": tokens.pad_token_id,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=_HIDDEN,
        intermediate_size=_INNER,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        num_key_value_heads=_HEADS,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=False,
        **special,
    )
    model = LlamaForCausalLM(config).to(torch.float32)
    model.generation_config = GenerationConfig(**special)
    _fill(model)
    return model.eval()


def _fill(model: PreTrainedModel) -> None:
    """Set every weight, in order of name, from one stream of random numbers.

    Uniform numbers rather than normal ones: they are made of exact arithmetic
    alone, so they have the same bits whatever vector instructions the machine has.
    """
    import torch

    stream = torch.Generator().manual_seed(_SEED)
    width = 2 * 3**0.5 * _DEVIATION
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.dim() == 1:
                weight.fill_(1.0)
                continue
            gain = _EMBEDDING_GAIN if name in _EMBEDDINGS else 1.0
            weight.copy_((torch.rand(weight.shape, generator=stream) - 0.5) * (width * gain))
