"""What a user says about an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from motools.configs import Config, option
from motools.digest import Value
from motools.errors import ConfigError
from motools.training.names import is_dated

PROVIDER_RECIPE: Final = 3
"""Changes when the local model provider would answer the same request otherwise."""

MAX_TOKENS: Final = 2048
"""Most tokens in a local model's answer where nothing is said, as with ``hf/``.

Part of the recipe.
"""


@dataclass(frozen=True)
class EvalConfig(Config):
    """An evaluation: which task, on which samples, with which generation settings.

    None leaves a setting to the task. In the key of an evaluation the task's name
    and arguments are not text: what they lead to is there instead (see
    :class:`motools.evals.identity.TaskIdentity`).

    Attributes:
        task: Inspect's own way to name a task: ``tasks.py@greets``, ``tasks.py``
            when the file has one task, or ``package/task``.
        task_args: arguments for the task's function.
        epochs: how often each sample is run; by default the task's own, or 1.
        limit: run only the first so many samples.
        sample_ids: run only these samples. Not together with ``limit``.
        temperature: by default the task's own, or 0 (greedy).
        max_tokens: most tokens in an answer.
        top_p: share of probability to sample from.
        seed: for sampling.
        stop: texts that end an answer.
        roles: models for the task's roles (a judge, mostly), by Inspect's names, as in
            ``{"grader": "openai/gpt-4o-2024-08-06"}``; each a dated snapshot, or
            vouched for by ``version``, or a base model of this machine: ``tiny``, a
            directory, or ``org/name@revision`` of the Hub.
        fail_on_error: whether an error in a sample ends the evaluation: True for
            the first one, a number for that share or count, False for never. An
            evaluation with a failed sample is never kept, whatever is said here.
        version: your statement of what the source of solvers and scorers cannot
            show (file reads, services, containers): change it when they change.
    """

    task: str
    task_args: dict[str, Any] = option({})
    epochs: int | None = option(None)
    limit: int | None = option(None)
    sample_ids: tuple[int | str, ...] | None = option(None)
    temperature: float | None = option(None)
    max_tokens: int | None = option(None)
    top_p: float | None = option(None)
    seed: int | None = option(None)
    stop: tuple[str, ...] | None = option(None)
    fail_on_error: bool | float | None = option(None)
    version: str | None = option(None)
    roles: dict[str, str] = option({}, absent={})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.task.strip():
            raise ConfigError("EvalConfig.task: is empty; name a task, as in 'tasks.py@greets'")
        if self.limit is not None and self.sample_ids is not None:
            raise ConfigError("EvalConfig.limit: cannot go together with sample_ids; give one")
        if self.sample_ids is not None and not self.sample_ids:
            raise ConfigError("EvalConfig.sample_ids: is empty, so there is nothing to run")
        for role, model in self.roles.items():
            if self.version is None and not is_pinned(model) and not is_local(model):
                raise ConfigError(
                    f"EvalConfig.roles.{role}: {model!r} is a name that can come to mean another "
                    "model; name a dated snapshot, or state which it is with version="
                )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"EvalConfig.{name}: {value!r} is less than {least}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"EvalConfig.top_p: {self.top_p!r} is not above 0 and at most 1")

    def generation(self, task: Mapping[str, Value]) -> dict[str, Value]:
        """The generation settings that hold: those given here, else the task's own.

        Args:
            task: the task's own settings, under Inspect's names.
        """
        given: dict[str, Value] = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop_seqs": None if self.stop is None else list(self.stop),
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        return {"temperature": 0.0, **task, **chosen}


def is_pinned(model: str) -> bool:
    """Whether a model's name, as Inspect takes it, means one model for ever."""
    return model.startswith("mockllm/") or is_dated(model)


def is_local(model: str) -> bool:
    """Whether a model's name means a base model that runs on this machine."""
    return model == "tiny" or "@" in model or Path(model).expanduser().is_dir()


_LEAST: Final = {"epochs": 1, "limit": 1, "max_tokens": 1, "temperature": 0.0}
