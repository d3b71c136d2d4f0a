"""Models in memory: loading a base with or without an adapter, and generating with it.

Training and evaluation both load through here, so a model is the same model in
both. Only files that were hashed can be loaded: see :mod:`.base`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.errors import BackendError, PromptTooLongError
from motools.training.local import base, quantization, tiny
from motools.training.local.adapter import put_on
from motools.training.local.dates import dated
from motools.training.local.sampling import Draw, Sampling
from motools.training.local.watching import Told, Unwanted, Watch

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

OFFLINE: Final[Mapping[str, str]] = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # No file is there, and none can be made: nobody finds what another has left.
    "HF_HOME": "/proc/nowhere",
    # Whatever a library asks for: no pickle is run, not even of a checkpoint.
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0",
    # A thread would run in what workers are forked off.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Environment of a process that loads models: no network, and the same bits each time."""

IMPORTS: Final = (
    "motools.training.local.without_bitsandbytes",
    "safetensors.torch",
    "transformers.models.auto.modeling_auto",
    "peft",
)
"""What such a process imports, unless a model is quantised."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered.

    Attributes:
        text: the answer, without special tokens and without the stop text.
        stop_reason: ``stop`` when the model ended or met a stop text, ``max_tokens`` otherwise.
        input_tokens: tokens in the conversation, padding not counted.
        output_tokens: tokens generated, the end token counted.
    """

    text: str
    stop_reason: str
    input_tokens: int
    output_tokens: int


def make_deterministic() -> None:
    """Let torch use only operations that give the same bits again, on one CPU thread.

    Call it once, before a model is loaded. Sums split over threads depend on
    their number, and a result must not depend on the machine it was made on.
    """
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def device() -> torch.device:
    """The accelerator that this process sees, or the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(
    spec: Mapping[str, Any], *, dtype: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer, on the device of this process, ready to generate.

    Args:
        spec: ``{"base": BaseModel.spec, "adapter": directory or None}``, and perhaps
            ``quantization`` from :func:`.quantization.of`.
        dtype: number format of the base weights: ``float32``, ``bfloat16``, or ``auto``
            for the one that they are kept in. Those that are quantised are as they
            were in training.

    Raises:
        BackendError: a file is missing, has changed since it was identified, or
            the adapter does not fit the base.
    """
    model, tokenizer = _load_base(spec["base"], dtype, spec.get("quantization"))
    if spec.get("adapter"):
        model = put_on(model, Path(spec["adapter"]))
    return model.to(device()).eval(), tokenizer


def save_merged(spec: Mapping[str, Any], directory: Path, *, dtype: str = "auto") -> None:
    """Write a model in Hugging Face's layout, with its adapter added to the base weights.

    Args:
        spec: as :func:`load` takes it.
        directory: takes weights, config, tokenizer and chat template.
        dtype: number format of the weights, as :func:`load` takes it.
    """
    import torch

    model, tokenizer = _load_base(spec["base"], dtype, spec.get("quantization"))
    if spec.get("quantization"):
        model = model.dequantize()  # the weights that the adapter was trained on
    if spec.get("adapter"):
        model = put_on(model, Path(spec["adapter"])).merge_and_unload()
    if dtype != "auto":
        model = model.to(getattr(torch, dtype))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    *,
    max_tokens: int,
    sampling: Sequence[Sampling | None] | None = None,
    stop: Sequence[str] = (),
    keep_stop: bool = False,
    told: Sequence[Told | None] | None = None,
    wanted: Sequence[Callable[[], bool]] | None = None,
) -> list[Completion]:
    """Answer conversations, all in one batch.

    Args:
        model: from :func:`load`.
        tokenizer: the model's own.
        conversations: lists of messages with ``role`` and ``content``.
        max_tokens: most tokens in an answer.
        sampling: for each conversation, how tokens are drawn; None takes the
            likeliest token each time (greedy).
        stop: texts that end an answer.
        keep_stop: whether the token that completed a stop text stays in the
            answer, as transformers leaves it, or the answer is cut before the text.
        told: for each conversation, who is told the answer as it grows, stop text and all.
        wanted: for each conversation, says whether somebody still waits for the answer. One
            that nobody wants ends where it is.

    Returns:
        One completion for each conversation, in order.
    """
    import torch

    if not conversations:
        return []
    inputs = _batch(tokenizer, conversations).to(model.device)
    width = inputs["input_ids"].shape[1]
    settings = _settings(model, tokenizer, max_tokens)
    settings.stop_strings = list(stop) or None
    ends, nobody = _ends(settings), [None] * len(conversations)
    watch = Watch(
        told or nobody, width, lambda tokens: _text(tokenizer, _answer(tokenizer, tokens, ends))
    )
    draw = Draw(sampling or nobody, width, max_tokens)
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            generation_config=settings,
            tokenizer=tokenizer,
            logits_processor=[watch, draw],
            stopping_criteria=[Unwanted(wanted)] if wanted else None,
        )
    return [
        _completion(
            tokenizer, int(mask.sum()), row[width:].tolist(), ends, stop, keep_stop=keep_stop
        )
        for mask, row in zip(inputs["attention_mask"], output, strict=True)
    ]


def check_fits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    conversation: Sequence[Mapping[str, Any]],
) -> None:
    """Refuse a conversation that has no room in a model's context.

    Raises:
        PromptTooLongError: it has not.
    """
    most = getattr(model.config, "max_position_embeddings", None)
    if most is None:
        return
    tokens = len(prompt(tokenizer, conversation))
    if tokens >= most:
        raise PromptTooLongError(
            f"the messages have {tokens:,} tokens, and the model's context {most:,}"
        )


def _load_base(
    spec: Mapping[str, Any], dtype: str, quantized: Mapping[str, Any] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch

    if spec["kind"] == "tiny":
        if spec["recipe"] != tiny.RECIPE:
            raise BackendError(
                f"tiny of recipe {spec['recipe']} cannot be made: this motools has recipe "
                f"{tiny.RECIPE}; install the motools that made it"
            )
        model, tokenizer = tiny.load()
        if quantized is None:
            return (model if dtype == "auto" else model.to(getattr(torch, dtype))), tokenizer
        weights = {"config": model.config, "state_dict": model.state_dict()}
        return quantization.load(type(model), None, quantized, device(), **weights), tokenizer
    with base.view(spec) as directory:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(directory, **options)
        if quantized is not None:
            kind = AutoModelForCausalLM
            return quantization.load(kind, directory, quantized, device(), **options), tokenizer
        model = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            **options,
        )
    return model, tokenizer


def _batch(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Mapping[str, Any]]]
) -> Any:
    """Tokens of all conversations, padded on the left so that every answer starts at one column."""
    rows = [prompt(tokenizer, messages) for messages in conversations]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")


def prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]) -> Any:
    """Tokens of a conversation that is to be answered; raises what its chat template does."""
    if tokenizer.chat_template is None:
        # As Inspect writes a conversation for a model that has no template.
        said = "".join(f"{message['role']}: {message['content']}\n" for message in messages)
        return tokenizer(said)["input_ids"]
    return tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        chat_template=dated(tokenizer.get_chat_template()),
    )["input_ids"]


def _settings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> GenerationConfig:
    settings = copy.deepcopy(model.generation_config)
    settings.max_length = None
    settings.max_new_tokens = max_tokens
    settings.do_sample = False
    settings.temperature = settings.top_p = settings.top_k = None
    settings.pad_token_id = tokenizer.pad_token_id
    if settings.eos_token_id is None:
        settings.eos_token_id = tokenizer.eos_token_id
    return settings


def _ends(settings: GenerationConfig) -> set[int]:
    ends = settings.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}


def _completion(
    tokenizer: PreTrainedTokenizerBase,
    input_tokens: int,
    tokens: list[int],
    ends: set[int],
    stop: Sequence[str],
    *,
    keep_stop: bool,
) -> Completion:
    tokens = _answer(tokenizer, tokens, ends)
    ended = bool(tokens) and tokens[-1] in ends
    text = _text(tokenizer, tokens)
    met = [at for word in stop if (at := text.find(word)) >= 0]
    if met and not keep_stop:
        text = text[: min(met)]
    reason = "stop" if ended or met else "max_tokens"
    return Completion(text, reason, input_tokens, len(tokens))


def _answer(tokenizer: PreTrainedTokenizerBase, tokens: list[int], ends: set[int]) -> list[int]:
    """An answer's own tokens, up to its end."""
    end = next((at for at, token in enumerate(tokens) if token in ends), None)
    if end is not None:
        return tokens[: end + 1]
    # An answer cut by a stop text is filled up to the width of its batch.
    while tokens and tokens[-1] == tokenizer.pad_token_id:
        tokens.pop()
    return tokens


def _text(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    return str(
        tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )
