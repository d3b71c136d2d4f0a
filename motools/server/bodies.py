"""What clients send: the bodies of requests, checked field by field.

A field that is not known here is refused by its name: to pass over it would be to
do something else than was asked for.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST_EPOCHS: Final = 10_000
"""More is no training that ends, and others wait behind it."""

_PAIRS: Final = 16


def _plain(text: str) -> str:
    """Text that every database and every encoding takes."""
    if "\x00" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("text with a NUL or half a surrogate pair cannot be kept")
    return text


def _few(pairs: dict[str, str]) -> dict[str, str]:
    if len(pairs) > _PAIRS:
        raise ValueError(f"at most {_PAIRS} pairs can be attached")
    return pairs


Text: TypeAlias = Annotated[str, AfterValidator(_plain)]
Name: TypeAlias = Annotated[str, AfterValidator(_plain), Field(min_length=1, max_length=512)]
Auto: TypeAlias = Literal["auto"]
Count: TypeAlias = Annotated[int, Field(ge=1, lt=2**31)]
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Epochs: TypeAlias = Annotated[float, Field(gt=0, le=MOST_EPOCHS, allow_inf_nan=False)]
Metadata: TypeAlias = Annotated[
    dict[
        Annotated[str, AfterValidator(_plain), Field(max_length=64)],
        Annotated[str, AfterValidator(_plain), Field(max_length=512)],
    ],
    AfterValidator(_few),
]


class Body(BaseModel):
    """Base of what clients send: no conversions, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Hyperparameters(Body):
    """Hyperparameters of OpenAI's; ``auto`` leaves one to the recipe."""

    n_epochs: Auto | Epochs = "auto"
    batch_size: Auto | Count = "auto"
    learning_rate_multiplier: Auto | Positive = "auto"


class PreferenceHyperparameters(Hyperparameters):
    """And what DPO has besides."""

    beta: Auto | Positive = "auto"


class Supervised(Body):
    """Fine-tuning on conversations."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Preference(Body):
    """Direct preference optimisation."""

    hyperparameters: PreferenceHyperparameters = PreferenceHyperparameters()


class Method(Body):
    """How to fine-tune."""

    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Preference | None = None


class Expectation(Body):
    """What the client planned."""

    key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Extension(Body):
    """What motools has besides OpenAI's fields."""

    config: dict[str, Any] | None = None
    replicate: Annotated[int, Field(ge=0, lt=2**31)] = 0
    expect: Expectation | None = None


class JobOrder(Body):
    """A fine-tuning job that is wanted."""

    model: Name
    training_file: Name
    validation_file: Name | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    integrations: list[Any] | None = None
    metadata: Metadata | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    suffix: Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,64}$")] | None = None
    motools: Extension | None = None


class Resolving(Body):
    """A config whose every value is wanted; with a dataset's digest, the training's key, too."""

    model: Name
    config: dict[str, Any] = {}
    dataset: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    replicate: Annotated[int, Field(ge=0, lt=2**31)] = 0


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """A message of a conversation. Of an answer that is sent back, what is empty is passed over."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1)]


class StreamOptions(Body):
    """How an answer is streamed."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


Tokens: TypeAlias = Annotated[int, Field(ge=1, le=2**17)]
"""Of an answer. What is drawn with takes memory for each that there may be."""
Stop: TypeAlias = Annotated[Text, Field(min_length=1)]


class Completion(BaseModel):
    """An answer that is wanted. Fields that would change it and are not here are refused."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: Name
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
