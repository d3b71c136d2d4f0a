"""What a fine-tuning is to do, in the user's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from motools.configs import Config, option
from motools.errors import ConfigError


def _check(config: Config, name: str, holds: bool, wanted: str) -> None:
    if not holds:
        value = getattr(config, name)
        raise ConfigError(f"{type(config).__name__}.{name}: {value!r} is not {wanted}")


@dataclass(frozen=True, kw_only=True)
class LoraConfig(Config):
    """Low-rank adaptation: which small matrices are trained beside the frozen weights.

    Attributes:
        rank: inner dimension of the matrices.
        alpha: the update is scaled by alpha / rank; None for twice the rank.
        dropout: share of the update's inputs dropped in training.
        targets: ``all-linear``, or names of the layers to adapt.
    """

    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        """Coerce the values, then check their ranges."""
        super().__post_init__()
        _check(self, "rank", self.rank >= 1, "at least 1")
        _check(self, "alpha", self.alpha is None or self.alpha > 0, "above 0")
        _check(self, "dropout", 0 <= self.dropout < 1, "from 0 to below 1")
        _check(self, "targets", len(self.targets) > 0, "at least one layer")


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(Config):
    """A fine-tuning. Every field is part of the key; None leaves it to the backend's recipe.

    Attributes:
        base_model: ``tiny``, a local directory, a model of the Hugging Face Hub as
            ``org/name`` or ``org/name@revision``, or another name that the backend knows.
        method: ``supervised`` (on conversations) or ``dpo`` (on preferences).
        epochs: passes over the dataset; may be a fraction.
        learning_rate: the highest one, after warm-up.
        batch_size: rows in one optimizer step, over all devices.
        seed: of weights made anew, order of rows, and dropout.
        dtype: number format of frozen base weights; weights that are trained are
            float32, computed with in this format.
        quantization: of the frozen base weights, below an adapter (QLoRA).
        max_length: tokens in the longest row; a longer row is an error.
        truncate: cut longer rows to ``max_length`` instead, and say how many.
        packing: put several rows into one sequence.
        loss_mask: learn from what the ``assistant`` says, or from ``all``.
        lora: None trains all weights.
        warmup_ratio: share of the steps in which the learning rate rises.
        weight_decay: of AdamW.
        schedule: how the learning rate falls: ``linear``, ``cosine``, ``constant``.
        optimizer: by the trainer's name, as in ``adamw_torch``.
        max_grad_norm: gradients longer than this are scaled down to it.
        keep_checkpoints: models on the way that are kept as part of the result:
            after every ``epoch``, or after every so many steps.
        shuffle: take the rows in a new order in every epoch.
        trainer: further fields of the backend's trainer, by its names.
    """

    base_model: str
    method: Literal["supervised", "dpo"] = "supervised"
    epochs: float | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] | None = None
    quantization: Literal["4bit", "8bit"] | None = None
    max_length: int | None = None
    truncate: bool = option(False, absent=False)
    packing: bool = False
    loss_mask: Literal["assistant", "all"] = "assistant"
    lora: LoraConfig | None = LoraConfig()
    warmup_ratio: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    optimizer: str | None = None
    max_grad_norm: float | None = None
    keep_checkpoints: Literal["epoch"] | int | None = option(None, absent=None)
    shuffle: bool = True
    trainer: dict[str, Any] = option({})

    def __post_init__(self) -> None:
        """Coerce the values, then check their ranges."""
        super().__post_init__()
        _check(self, "base_model", bool(self.base_model), "a name")
        _check(self, "seed", 0 <= self.seed < 2**32, "from 0 to below 2**32")
        for name in ("epochs", "learning_rate", "max_grad_norm"):
            value = getattr(self, name)
            _check(self, name, value is None or value > 0, "above 0")
        keep = self.keep_checkpoints
        _check(self, "keep_checkpoints", not isinstance(keep, int) or keep >= 1, "at least 1")
        for name in ("batch_size", "max_length"):
            value = getattr(self, name)
            _check(self, name, value is None or value >= 1, "at least 1")
        _check(self, "warmup_ratio", 0 <= (self.warmup_ratio or 0) < 1, "from 0 to below 1")
        _check(self, "weight_decay", (self.weight_decay or 0) >= 0, "at least 0")
