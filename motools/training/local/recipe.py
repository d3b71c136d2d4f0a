"""How the local backend trains: every value that a config leaves open, and what it refuses.

Needs nothing but the config and what the base model says of itself, so that
planning is quick and the same on every machine. How the values reach the
trainer: :mod:`.fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from motools.configs import coerce, unknown_name
from motools.digest import Value
from motools.errors import BackendError, ConfigError
from motools.training.config import FineTuneConfig
from motools.training.local.fields import FIXED, OPEN
from motools.training.local.sft_fields import OWN, PLACE
from motools.training.protocol import BaseModel

RECIPE: Final = 2
"""Changes when the same resolved config would mean other work."""

DEFAULTS: Final[Mapping[str, Value]] = {
    "epochs": 3.0,
    "batch_size": 8,
    "dtype": "float32",
    "warmup_ratio": 0.0,
    "weight_decay": 0.0,
    "schedule": "linear",
    "optimizer": "adamw_torch",
    "max_grad_norm": 1.0,
}
"""What a field of the config is when it is left None and the base model has no default."""

LEARNING_RATES: Final[Mapping[tuple[str, bool], float]] = {
    ("supervised", True): 2e-4,
    ("supervised", False): 2e-5,
    ("dpo", True): 1e-5,
    ("dpo", False): 1e-6,
}
"""The default learning rate, by method and whether an adapter is trained."""

LONGEST_DEFAULT: Final = 2048
"""Tokens in the longest row, unless the config says more or the base model less."""

SCHEDULES: Final = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
)
OPTIMIZERS: Final = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "rmsprop", "adagrad")


def resolve(config: FineTuneConfig, base: BaseModel) -> dict[str, Value]:
    """Every value that decides the result; ``base_model`` is left to its digest.

    Raises:
        BackendError: a field that cannot be honoured, or a base model that
            cannot be trained this way.
    """
    _check_supported(config)
    _check_base(config, base)
    resolved = config.resolved()
    del resolved["base_model"]
    rate = LEARNING_RATES[config.method, config.lora is not None]
    for name, default in {**DEFAULTS, "learning_rate": rate, **base.defaults}.items():
        if resolved[name] is None:
            resolved[name] = default
    if config.max_length is None:
        resolved["max_length"] = min(base.max_length or LONGEST_DEFAULT, LONGEST_DEFAULT)
    resolved["lora"] = _lora(config)
    resolved["trainer"] = _trainer(config)
    return resolved


def _check_supported(config: FineTuneConfig) -> None:
    if config.quantization is not None and config.lora is None:
        _refuse("quantization", config.quantization, "weights that are trained are not quantised")
    if config.packing:
        _refuse("packing", True, "rows in one sequence would see each other; leave it False")
    if config.method == "dpo":
        _check_dpo(config)
    if config.schedule not in (None, *SCHEDULES):
        _refuse("schedule", config.schedule, f"known are {', '.join(SCHEDULES)}")
    if config.schedule == "constant" and config.warmup_ratio:
        _refuse("warmup_ratio", config.warmup_ratio, "use schedule 'constant_with_warmup' for it")
    if config.optimizer not in (None, *OPTIMIZERS):
        _refuse("optimizer", config.optimizer, f"known are {', '.join(OPTIMIZERS)}")


def _check_dpo(config: FineTuneConfig) -> None:
    if config.loss_mask != "assistant":
        _refuse("loss_mask", config.loss_mask, "preferences are between answers; leave it")
    if config.lora is not None and config.lora.dropout:
        _refuse("lora.dropout", config.lora.dropout, "DPO compares without dropout; leave it 0")


def _check_base(config: FineTuneConfig, base: BaseModel) -> None:
    if base.chat_template is None:
        raise BackendError(
            f"base model {base.name!r} has no chat template, so a conversation cannot be written "
            "as it expects; put a chat_template.jinja into its directory"
        )
    if config.max_length and base.max_length and config.max_length > base.max_length:
        _refuse("max_length", config.max_length, f"{base.name!r} takes {base.max_length} tokens")


def _lora(config: FineTuneConfig) -> dict[str, Value] | None:
    lora = config.lora
    if lora is None:
        return None
    targets = lora.targets
    return lora.resolved() | {
        "alpha": 2.0 * lora.rank if lora.alpha is None else lora.alpha,
        "targets": targets if isinstance(targets, str) else sorted(set(targets)),
    }


def _trainer(config: FineTuneConfig) -> dict[str, Value]:
    """The open fields that differ from the recipe, so that naming a default changes no key."""
    open_fields, fixed = OPEN[config.method], FIXED[config.method]
    values: dict[str, Value] = {}
    for name, value in config.trainer.items():
        path = f"FineTuneConfig.trainer.{name}"
        if name in OWN:
            raise BackendError(f"{path}: set FineTuneConfig.{OWN[name]} instead")
        if name in fixed or name in PLACE:
            raise BackendError(
                f"{path}: set by the local backend itself; open are {', '.join(open_fields)}"
            )
        if name not in open_fields:
            raise BackendError(unknown_name(path, name, list(open_fields)))
        hint, default = open_fields[name]
        try:
            coerced = coerce(value, hint, path)
        except ConfigError as problem:
            raise BackendError(str(problem)) from None
        if coerced != default:
            values[name] = coerced
    return values


def _refuse(field: str, value: object, reason: str) -> NoReturn:
    raise BackendError(
        f"FineTuneConfig.{field}={value!r} cannot be honoured by the local backend: {reason}"
    )
