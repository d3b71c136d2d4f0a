"""What steps pass to each other: datasets, models, evaluations.

Frozen values that hold digests and paths, never rows or weights: a task
runner may copy, pickle and walk them for nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from motools.datasets import Dataset
from motools.digest import SHORT, canonical_json, hash_bytes
from motools.errors import CanonicalError, ConfigError
from motools.markup import table

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Dataset", "Evaluation", "Model", "RemoteRef"]


@dataclass(frozen=True)
class RemoteRef:
    """An output that lives at a provider.

    Attributes:
        provider: who holds it.
        scope: the account it belongs to there; an id means nothing without it.
        id: the provider's name for it.
        expires_at: when it will be gone, in seconds since 1970; None: not known.
    """

    provider: str
    scope: str
    id: str
    expires_at: float | None = None

    @property
    def digest(self) -> str:
        """What stands for it in a key; its expiry does not."""
        return hash_bytes(canonical_json([self.provider, self.scope, self.id])).hex

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; ``RemoteRef(**…)`` makes it again."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Model:
    """A model that can be evaluated: a base model, a fine-tuned one, or one at a provider.

    Attributes:
        base_model: the base model's name.
        key: of the entry that holds it; None for a base model.
        digest: what stands for it in a key; None for a base model not identified yet.
        remote: where it lives, if not in the cache.
        cache: the cache that holds it.
        step: of a checkpoint that its training kept; None for the end.
    """

    base_model: str
    key: str | None = None
    digest: str | None = None
    remote: RemoteRef | None = None
    cache: str | None = None
    step: int | None = None

    @classmethod
    def base(cls, name: str) -> Self:
        """A base model: ``tiny``, a directory, ``org/name@revision`` of the Hub, or one at an API.

        One at an API has Inspect's name of it, as in ``openai/gpt-4o-2024-08-06`` or
        ``openai-api/service/model``, and can be evaluated only.
        """
        return cls(base_model=name)

    def at_step(self, step: int) -> Self:
        """The checkpoint that the training kept after this step, as a model of its own.

        Which there are is the ``checkpoints`` of the entry's value.

        Raises:
            ConfigError: this is not the end of a fine-tuning in a cache.
        """
        if self.key is None or self.digest is None or self.step is not None:
            raise ConfigError(f"{self} has no checkpoints: only a fine-tuned model does")
        parts = canonical_json({"model": self.digest, "step": step})
        return dataclasses.replace(self, digest=hash_bytes(parts).hex, step=step)

    @property
    def id(self) -> str:
        """The key of a fine-tuned model, with the step of a checkpoint; a base model's name."""
        if self.key is None:
            return self.base_model
        return self.key if self.step is None else f"{self.key}@{self.step}"

    @property
    def path(self) -> Path:
        """A directory with the model's files, to read or to keep.

        The directory of a base model that is one; else a copy, made once in a process,
        below the system's directory for temporary files. An adapter's config names its base.

        Raises:
            BackendError: the model lives at a provider.
        """
        from motools.steps.models import path_of

        return path_of(self)

    def load(self, dtype: str = "auto") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model and its tokenizer, adapter and base put together; yours alone.

        Every file is hashed first. The model is on the accelerator, if there is one.

        Args:
            dtype: number format of the base weights: ``float32``, ``bfloat16``, or ``auto``
                for the one that they are kept in.

        Raises:
            BackendError: the model lives at a provider, or its base has other files now.
        """
        from motools.steps.models import load

        return load(self, dtype)

    def generate(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> str:
        """What the model answers.

        The model stays loaded, as long as there is memory, until
        :func:`motools.release_memory`.

        Args:
            prompt: what the user says, or a conversation: messages with ``role``
                and ``content``.
            max_tokens: most tokens in the answer.
            temperature: 0 takes the likeliest token each time (greedy).
            top_p: share of probability to sample from.
            seed: for sampling; None for another one each time.
            stop: texts that end the answer, and are not part of it.
        """
        from motools.steps.models import generate

        settings = {"temperature": temperature, "top_p": top_p, "seed": seed, "stop": stop}
        return generate(self, prompt, max_tokens=max_tokens, **settings)

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """Keep the model in memory until the end of the block, whatever else is loaded."""
        from motools.steps.models import loaded

        with loaded(self):
            yield

    def merge(self, directory: str | os.PathLike[str], dtype: str = "auto") -> Model:
        """Write the model without an adapter, and return it as a base model.

        Args:
            directory: a new or empty one; takes Hugging Face's layout.
            dtype: number format of the weights: ``float32``, ``bfloat16``, or ``auto`` for
                the base model's own.

        Raises:
            BackendError: there is something in the directory already.
        """
        from motools.steps.models import merge

        return Model.base(str(merge(self, Path(directory), dtype)))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for a result that contains it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The model that :meth:`to_json` wrote."""
        remote = RemoteRef(**value["remote"]) if value["remote"] else None
        return cls(**{**value, "remote": remote})

    def __motools_digest__(self) -> str:
        """What stands for it in the key of a cached function.

        Raises:
            CanonicalError: it is a base model that has only a name yet, and what
                a name means can change.
        """
        if self.digest is None:
            raise CanonicalError(
                f"Model.base({self.base_model!r})",
                "is only a name, which may come to mean other weights; pass the name as text "
                "and version= for the function, or a fine-tuned model",
            )
        return self.digest

    def __str__(self) -> str:
        at = "" if self.step is None else f"@{self.step}"
        return f"{self.key[:SHORT]}{at}" if self.key else self.base_model

    def _repr_html_(self) -> str:
        shown = {
            "base model": self.base_model,
            "key": self.key,
            "remote": f"{self.remote.provider}: {self.remote.id}" if self.remote else None,
            "cache": self.cache,
        }
        return table(f"Model {self}", [], [(name, text) for name, text in shown.items() if text])


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        key: of the entry that holds it.
        task: the task's name.
        model: the model's id.
        scores: ``scorer/metric`` to its value; None where it is not a number.
        stderr: ``scorer/metric`` to the standard error of that value.
        num_samples: how many ran, epochs counted.
        log_file: Inspect's log.
        log_digest: of the log; the scores of a refresh have the same key and another log.
        cache: the cache that holds it.
    """

    key: str
    task: str
    model: str
    scores: Mapping[str, float | None]
    stderr: Mapping[str, float | None]
    num_samples: int
    log_file: str
    log_digest: str | None = None
    cache: str | None = None

    def log(self) -> EvalLog:
        """Inspect's log, read in whole.

        Raises:
            ReleasedError: its bytes were pruned; the scores are kept.
            CorruptBlobError: they were altered.
        """
        from motools.evals.reading import read_log
        from motools.steps.evaluate import log_of

        return read_log(log_of(self))

    def samples(self) -> Iterator[dict[str, Any]]:
        """What was asked and answered, one sample after the other.

        Each has ``id``, ``epoch``, ``input``, ``target``, ``output`` (what the
        model said) and ``scores`` (scorer to value), so that
        ``pandas.DataFrame(evaluation.samples())`` is a table.

        Raises:
            ReleasedError: the log's bytes were pruned; the scores are kept.
            CorruptBlobError: they were altered.
        """
        from motools.evals.reading import read_samples
        from motools.steps.evaluate import log_of

        return read_samples(log_of(self))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for a result that contains it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The evaluation that :meth:`to_json` wrote."""
        return cls(**value)

    def __motools_digest__(self) -> str:
        """What stands for it in the key of a cached function: all but where it lies."""
        placed = ("log_file", "cache")
        parts = {name: part for name, part in self.to_json().items() if name not in placed}
        return hash_bytes(canonical_json(parts)).hex

    def _repr_html_(self) -> str:
        rows = [
            (name, _with_error(value, self.stderr.get(name))) for name, value in self.scores.items()
        ]
        title = f"{self.task} on {self.model[:SHORT]}: {self.num_samples:,} samples"
        return table(title, ["score", "value"], rows, f"key {self.key[:SHORT]}")


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "not a number"
    return f"{value:.3g}" if error is None else f"{value:.3g} ± {error:.2g}"
