"""What steps pass to each other: datasets, models, evaluations.

Frozen values that hold digests and paths, never rows or weights: a task
runner may copy, pickle and walk them for nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from motools.datasets import Dataset
from motools.digest import SHORT, canonical_json, hash_bytes
from motools.errors import CanonicalError

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
    """

    base_model: str
    key: str | None = None
    digest: str | None = None
    remote: RemoteRef | None = None
    cache: str | None = None

    @classmethod
    def base(cls, name: str) -> Self:
        """A base model: ``tiny``, or a directory in Hugging Face's layout."""
        return cls(base_model=name)

    @property
    def id(self) -> str:
        """The key of a fine-tuned model, the name of a base model."""
        return self.key or self.base_model

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
        return self.id[:SHORT] if self.key else self.base_model


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        key: of the entry that holds it.
        task: the task's name.
        model: the model's id.
        scores: ``scorer/metric`` to its value; None where it is not a number.
        stderr: ``scorer/metric`` to the standard error of that value.
        samples: how many ran, epochs counted.
        log_file: Inspect's log.
    """

    key: str
    task: str
    model: str
    scores: Mapping[str, float | None]
    stderr: Mapping[str, float | None]
    samples: int
    log_file: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for a result that contains it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The evaluation that :meth:`to_json` wrote."""
        return cls(**value)

    def __motools_digest__(self) -> str:
        """What stands for it in the key of a cached function."""
        return self.key
