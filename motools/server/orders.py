"""Orders: what a client asks for, as a config of the local backend's.

OpenAI's hyperparameters are few, and relative: ``learning_rate_multiplier``
multiplies the recipe's own learning rate. A client that knows motools says the
whole config instead, and what it says besides may not contradict it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from motools.artifacts import Dataset
from motools.cache import Cache
from motools.errors import ConfigError
from motools.server.bodies import (
    MOST_EPOCHS,
    Hyperparameters,
    JobOrder,
    Method,
    PreferenceHyperparameters,
)
from motools.server.errors import RequestError
from motools.server.models import Base
from motools.steps.options import RunOptions
from motools.steps.train import Resolved, Train
from motools.training.config import FineTuneConfig
from motools.training.local.fields import OPEN
from motools.training.protocol import BaseModel

_NOT_HERE: Final[Mapping[str, str]] = {
    "validation_file": "this server computes no validation loss; evaluate the model instead",
    "integrations": "this server reports to nobody else; read the job's events instead",
}


@dataclass(frozen=True)
class Order:
    """What is to be trained, with which values.

    Attributes:
        config: what to do.
        hyperparameters: what is reported of it, in OpenAI's words.
    """

    config: FineTuneConfig
    hyperparameters: Mapping[str, Any]


def order(cache: Cache, body: JobOrder, base: Base, identified: BaseModel) -> Order:
    """What a body asks for.

    Args:
        cache: that keeps the result.
        body: of the request.
        base: the base model that it names.
        identified: that base model as it is now.

    Raises:
        RequestError: two fields contradict each other, or there is one that is not honoured.
        ConfigError: a value is out of range.
        BackendError: a value cannot be honoured.
    """
    for name, reason in _NOT_HERE.items():
        if getattr(body, name):
            raise RequestError(f"{name}: {reason}", param=name, code="unsupported_parameter")
    method, given = _said(body)
    plan = _Plan(cache, identified)
    extension = body.motools.config if body.motools is not None else None
    if extension is None:
        config = FineTuneConfig(base_model=base.source, method=method, seed=body.seed or 0)
        config = config.replace(**_values(given, config, plan))
    else:
        config = config_of(extension, base)
        _check_agrees(body, given, config, plan)
    resolved = plan.resolve(config)
    return Order(config, _reported(config, resolved, plan))


def config_of(fields: Mapping[str, Any], base: Base) -> FineTuneConfig:
    """The config that a client spelled out.

    Args:
        fields: of :class:`motools.FineTuneConfig`.
        base: the base model that the request names.

    Raises:
        RequestError: it names another base model.
        ConfigError: a field is unknown, or a value is out of range.
    """
    if fields.get("base_model", base.name) != base.name:
        raise RequestError(
            f"motools.config.base_model is {fields['base_model']!r}, and model {base.name!r}",
            param="motools.config.base_model",
        )
    config = FineTuneConfig.from_mapping({**fields, "base_model": base.source})
    if config.epochs is not None and config.epochs > MOST_EPOCHS:
        raise ConfigError(
            f"FineTuneConfig.epochs: {config.epochs:g} is more than this server trains for, which "
            f"is {MOST_EPOCHS:,}"
        )
    return config


def resolve(cache: Cache, config: FineTuneConfig, identified: BaseModel) -> Resolved:
    """Every value that decides the result.

    Raises:
        BackendError: a field that cannot be honoured.
    """
    return Train(_NO_ROWS, config).resolve(cache, identified)


def key(
    cache: Cache, dataset: Dataset, config: FineTuneConfig, resolved: Resolved, replicate: int
) -> str:
    """The key of a training on a dataset of which the digest is enough."""
    step = Train(dataset, config, replicate=replicate, resolved=resolved)
    return step.action(cache).key


def fields_of(config: FineTuneConfig) -> dict[str, Any]:
    """A config as JSON, without its base model."""
    return {n: v for n, v in dataclasses.asdict(config).items() if n != "base_model"}


def step(
    dataset: Dataset,
    fields: Mapping[str, Any],
    base: Base,
    replicate: int,
    save_seconds: float,
) -> Train:
    """The training that was ordered.

    Args:
        dataset: what to learn from.
        fields: from :func:`fields_of`.
        base: the base model.
        replicate: which of several independent repeats.
        save_seconds: between two checkpoints.
    """
    config = FineTuneConfig.from_mapping({**fields, "base_model": base.source})
    options = RunOptions(save_seconds=save_seconds)
    return Train(dataset, config, options=options, replicate=replicate)


_Name: TypeAlias = Literal["supervised", "dpo"]

_NO_ROWS: Final = Dataset()
"""To resolve a config, no dataset is needed."""


@dataclass(frozen=True)
class _Plan:
    """What configs come to on one base model."""

    cache: Cache
    base: BaseModel

    def resolve(self, config: FineTuneConfig) -> Resolved:
        return resolve(self.cache, config, self.base)

    def own_rate(self, config: FineTuneConfig) -> float:
        """The learning rate that the recipe takes where none is given."""
        values: Mapping[str, Any] = self.resolve(config.replace(learning_rate=None)).config
        return float(values["learning_rate"])


def _said(body: JobOrder) -> tuple[_Name, Hyperparameters]:
    """The method, and its hyperparameters."""
    if body.method is None:
        return "supervised", body.hyperparameters or Hyperparameters()
    if body.hyperparameters is not None:
        raise RequestError(
            "hyperparameters are part of method now: give them there", param="hyperparameters"
        )
    return body.method.type, _of_method(body.method)


def _of_method(method: Method) -> Hyperparameters:
    other = "dpo" if method.type == "supervised" else "supervised"
    if getattr(method, other) is not None:
        raise RequestError(
            f"method.{other} is given, but method.type is {method.type!r}", param=f"method.{other}"
        )
    if method.type == "dpo":
        return method.dpo.hyperparameters if method.dpo else PreferenceHyperparameters()
    return method.supervised.hyperparameters if method.supervised else Hyperparameters()


def _values(given: Hyperparameters, config: FineTuneConfig, plan: _Plan) -> dict[str, Any]:
    """Hyperparameters that were given, as fields of the config."""
    values: dict[str, Any] = {}
    if given.n_epochs != "auto":
        values["epochs"] = float(given.n_epochs)
    if given.batch_size != "auto":
        values["batch_size"] = given.batch_size
    if given.learning_rate_multiplier != "auto":
        rate = plan.own_rate(config)
        values["learning_rate"] = rate * float(given.learning_rate_multiplier)
    beta = getattr(given, "beta", "auto")
    if beta != "auto":
        values["trainer"] = {**config.trainer, "beta": float(beta)}
    return values


def _check_agrees(
    body: JobOrder, given: Hyperparameters, config: FineTuneConfig, plan: _Plan
) -> None:
    """Refuse what contradicts a config that was spelled out."""
    said = _values(given, config, plan)
    if body.method is not None:
        said["method"] = body.method.type
    if body.seed is not None:
        said["seed"] = body.seed
    if not said:
        return
    comes_to: Mapping[str, Any] = plan.resolve(config.replace(trainer={})).config
    for name, value in said.items():
        beta = {"beta": OPEN["dpo"]["beta"][1]}
        here = {**beta, **config.trainer} if name == "trainer" else comes_to[name]
        if here != value:
            raise RequestError(
                f"motools.config.{name} comes to {here!r}, but another field of the request says "
                f"{value!r}",
                param=f"motools.config.{name}",
            )


def _reported(config: FineTuneConfig, resolved: Resolved, plan: _Plan) -> dict[str, Any]:
    values: Mapping[str, Any] = resolved.config
    epochs = float(values["epochs"])
    reported = {
        "n_epochs": int(epochs) if epochs.is_integer() else epochs,
        "batch_size": values["batch_size"],
        "learning_rate_multiplier": values["learning_rate"] / plan.own_rate(config),
    }
    if config.method == "dpo":
        reported["beta"] = values["trainer"].get("beta", OPEN["dpo"]["beta"][1])
    return reported
