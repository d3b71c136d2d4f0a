"""What steps pass to each other: datasets, models, evaluations.

Frozen values that hold digests and paths, never rows or weights: a task
runner may copy, pickle and walk them for nothing.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

from blake3 import blake3

from motools.digest import SHORT, Digest, canonical_json, hash_bytes
from motools.errors import CanonicalError, ConfigError, DatasetError
from motools.rows import canonical_lines, lines_of

_NAMESPACE: Final = "dataset/1"
_SETTLED_NS: Final = 20_000_000


class Memo(Protocol):
    """Where facts are kept that are cheap to forget."""

    def recall(self, namespace: str, subject: str, signature: str) -> Any:
        """The value recorded under this signature, or None."""

    def record(self, namespace: str, subject: str, signature: str, value: Any) -> None:
        """Remember one fact."""


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
class Dataset:
    """Rows to train on, in a file or in memory.

    Make one with :meth:`from_jsonl` or :meth:`from_rows`.

    Attributes:
        path: the JSON Lines file, absolute; None for rows in memory.
        digest: of the canonical lines; None while nobody has asked.
        rows: how many; None while nobody has asked.
        file_id: what the backend calls it, once uploaded.
        data: the canonical lines of rows in memory.
    """

    path: str | None = None
    digest: str | None = None
    rows: int | None = None
    file_id: str | None = None
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_jsonl(cls, path: str | os.PathLike[str]) -> Self:
        """The rows of a JSON Lines file. They are read, and checked, when first needed.

        Raises:
            DatasetError: there is no such file, or nothing in it.
        """
        found = Path(path).absolute()
        if not found.is_file():
            raise DatasetError(f"{found}: there is no such file")
        if not found.stat().st_size:
            raise DatasetError(f"{found}: the file is empty")
        return cls(path=str(found))

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """Rows in memory; they are copied now.

        Raises:
            DatasetError: a row is not JSON, with its number; or there is none.
        """
        lines = list(lines_of(rows))
        if not lines:
            raise DatasetError("a dataset needs at least one row")
        data = b"".join(lines)
        return cls(digest=hash_bytes(data).hex, rows=len(lines), data=data)

    def identify(self, memo: Memo | None = None) -> Self:
        """The same dataset with its digest and number of rows.

        Args:
            memo: remembers them while the file does not change.

        Raises:
            DatasetError: a line is wrong, with the file and the line.
        """
        if self.digest is not None or self.path is None:
            return self
        status = os.stat(self.path)
        mark = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
        known = memo.recall(_NAMESPACE, self.path, mark) if memo is not None else None
        if known is None:
            started = time.time_ns()
            hasher, count = blake3(), 0
            for line in self.lines():
                hasher.update(line)
                count += 1
            known = [hasher.hexdigest(), count]
            quiet = max(status.st_mtime_ns, status.st_ctime_ns) < started - _SETTLED_NS
            if memo is not None and quiet and os.stat(self.path) == status:
                memo.record(_NAMESPACE, self.path, mark, known)
        return dataclasses.replace(self, digest=known[0], rows=known[1])

    def lines(self) -> Iterator[bytes]:
        """The canonical lines, in constant memory."""
        if self.data is not None:
            yield from self.data.splitlines(keepends=True)
        elif self.path is not None:
            yield from canonical_lines(Path(self.path))

    def write(self, target: Path) -> Digest:
        """Write the canonical form, which is what is uploaded and trained on."""
        hasher, size = blake3(), 0
        with target.open("wb") as stream:
            for line in self.lines():
                stream.write(line)
                hasher.update(line)
                size += len(line)
        return Digest(hasher.hexdigest(), size)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for a result that contains it."""
        data = self.data.decode() if self.data is not None else None
        return {**dataclasses.asdict(self), "data": data}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The dataset that :meth:`to_json` wrote."""
        data = value["data"].encode() if value["data"] is not None else None
        return cls(**{**value, "data": data})

    def __motools_digest__(self) -> str:
        """What stands for it in the key of a cached function."""
        return str(self.identify().digest)


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
        """A base model: ``tiny``, or a directory in Hugging Face's layout."""
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
        log_digest: of the log; the scores of a refresh have the same key and another log.
    """

    key: str
    task: str
    model: str
    scores: Mapping[str, float | None]
    stderr: Mapping[str, float | None]
    samples: int
    log_file: str
    log_digest: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for a result that contains it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The evaluation that :meth:`to_json` wrote."""
        return cls(**value)

    def __motools_digest__(self) -> str:
        """What stands for it in the key of a cached function: all but where the log lies."""
        parts = {name: part for name, part in self.to_json().items() if name != "log_file"}
        return hash_bytes(canonical_json(parts)).hex
