"""What a config means to OpenAI's API: every value that is sent, and what it cannot honour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from motools.configs import coerce, unknown_name
from motools.digest import Value
from motools.errors import BackendError, ConfigError
from motools.training.config import FineTuneConfig

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob

RECIPE: Final = 1
"""Changes when the same resolved config would mean other requests."""

AUTO: Final = "auto"
"""What the provider chooses from the dataset, by rules of its own."""

_HONOURED: Final = frozenset(
    {"base_model", "method", "epochs", "batch_size", "seed", "trainer"},
)
_OPEN: Final[Mapping[str, Mapping[str, Any]]] = {
    "supervised": {"learning_rate_multiplier": float},
    "dpo": {"learning_rate_multiplier": float, "beta": float},
}
"""By method, what ``trainer`` may have, and its type."""

_INSTEAD: Final = {
    "learning_rate": "give trainer={'learning_rate_multiplier': …}, which is what the API takes",
}


def resolve(config: FineTuneConfig) -> dict[str, Value]:
    """The hyperparameters that are sent.

    What the API chooses by itself is ``auto``.

    Raises:
        BackendError: a field that the API does not take; the message names it.
    """
    for name in config.changed():
        if name not in _HONOURED:
            hint = _INSTEAD.get(name, "it trains by its own rules; leave it out")
            _refuse(f"FineTuneConfig.{name}", getattr(config, name), hint)
    epochs = config.epochs
    if epochs is not None and epochs != int(epochs):
        _refuse("FineTuneConfig.epochs", epochs, "it takes whole ones")
    resolved: dict[str, Value] = {
        "method": config.method,
        "epochs": AUTO if epochs is None else int(epochs),
        "batch_size": AUTO if config.batch_size is None else config.batch_size,
        "seed": config.seed,
    }
    known = _OPEN[config.method]
    for name in config.trainer:
        if name not in known:
            raise BackendError(unknown_name(f"FineTuneConfig.trainer.{name}", name, list(known)))
    for name, hint in known.items():
        given = config.trainer.get(name, AUTO)
        resolved[name] = AUTO if given == AUTO else _coerced(given, hint, name)
    return resolved


def request(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request for a job that says how to train."""
    method = str(resolved["method"])
    names = {"n_epochs": "epochs", "batch_size": "batch_size", **{n: n for n in _OPEN[method]}}
    hyperparameters = {sent: resolved[name] for sent, name in names.items()}
    return {
        "seed": resolved["seed"],
        "method": {"type": method, method: {"hyperparameters": hyperparameters}},
    }


def described(job: FineTuningJob) -> dict[str, Any]:
    """What a job says of the hyperparameters that were sent; what the API chose, as it chose."""
    kind: Any = getattr(job.method, "type", None)
    method = kind if isinstance(kind, str) else "supervised"
    part = getattr(job.method, method, None)
    said = getattr(part, "hyperparameters", None) or job.hyperparameters
    names = {"epochs": "n_epochs", "batch_size": "batch_size"}
    names |= {name: name for name in _OPEN.get(method, ())}
    found = {name: getattr(said, sent, None) for name, sent in names.items()}
    found["seed"] = job.seed
    return {"method": method, **{name: v for name, v in found.items() if v is not None}}


def _coerced(given: Any, hint: Any, name: str) -> Value:
    try:
        value: Value = coerce(given, hint, f"FineTuneConfig.trainer.{name}")
    except ConfigError as problem:
        raise BackendError(str(problem)) from None
    return value


def _refuse(field: str, value: object, reason: str) -> NoReturn:
    raise BackendError(f"{field}={value!r} cannot be honoured by the API: {reason}")
