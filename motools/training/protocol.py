"""What a backend is: something that trains a model and can say exactly how.

A backend plans without doing: :meth:`Backend.identify` and
:meth:`Backend.resolve` need neither weights in memory nor the machine that will
train, so a laptop names the same work as a GPU does. A :class:`Trainer` then does
the work itself, and returns when it is done. A :class:`~.provider.Provider` takes a
job, and is asked after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from motools.digest import Value
from motools.memo import Memo
from motools.training.config import FineTuneConfig

Wait: TypeAlias = Callable[[Callable[[], bool]], None]
"""Asks a question again and again, and returns once the answer is yes."""


class Report(Protocol):
    """Receives progress: what happened, and its fields as JSON values."""

    def __call__(self, message: str, /, **fields: Any) -> None:
        """Report one event."""


@dataclass(frozen=True)
class BaseModel:
    """A base model, identified to the last byte that is loaded.

    Attributes:
        name: what the user called it.
        digest: 64 hexadecimal characters that stand for it in a key.
        spec: JSON that the backend's workers load it from; may name paths of
            this machine, so it is never hashed.
        max_length: tokens in the longest sequence it takes; None when it does not say.
        chat_template: how it writes a conversation; None when it has no template.
        defaults: values of config fields that suit it where the user gives none.
        provenance: JSON that is recorded with what is made of it, but not hashed.
    """

    name: str
    digest: str
    spec: Mapping[str, Any]
    max_length: int | None = None
    chat_template: str | None = None
    defaults: Mapping[str, Value] = field(default_factory=dict)
    provenance: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingJob:
    """One training, with everything it needs.

    Attributes:
        dataset: JSON lines in canonical form, one row each.
        config: what :meth:`Backend.resolve` returned.
        base: the ``spec`` of the base model.
        directory: empty; what is written here is the model.
        scratch: for logs and checkpoints; survives a crash, never part of the model.
        report: receives progress.
        wait: waits for what others hold, such as a device.
        lock_fds: descriptors of locks that a worker holds along.
        save_seconds: between two checkpoints; decides nothing about the model.
        name: what others who wait for the device see.
        devices: how many compute each step together; decides nothing about the model
            but the rounding of its numbers.
    """

    dataset: Path
    config: Mapping[str, Any]
    base: Mapping[str, Any]
    directory: Path
    scratch: Path
    report: Report
    wait: Wait
    lock_fds: tuple[int, ...] = ()
    save_seconds: float = 300.0
    name: str = "a training"
    devices: int = 1


@dataclass(frozen=True)
class TrainingResult:
    """What a training says about itself; the model is in the job's directory.

    Attributes:
        metrics: JSON: ``steps``, ``epochs``, ``loss`` (at the end), ``loss_curve``
            (pairs of step and loss), ``tokens``, ``seconds``, ``trainer`` (every
            field of the trainer that decides the result).
        provenance: JSON that is recorded but not hashed: library versions, device.
    """

    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Backend(Protocol):
    """Plans trainings. One that carries them out is a :class:`Trainer` or a ``Provider``."""

    def identity(self) -> dict[str, Value]:
        """The backend as it stands in a key: ``{"name": …, "recipe": …}``.

        The recipe number changes when the same resolved config would mean other work.
        """

    def identify(self, name: str, memo: Memo) -> BaseModel:
        """The base model that a name means now.

        Args:
            name: as in :attr:`FineTuneConfig.base_model`.
            memo: remembers files that have not changed, and what cannot change.

        Raises:
            BackendError: there is no such model, it cannot be reached, or it cannot be pinned.
        """

    def resolve(self, config: FineTuneConfig, base: BaseModel) -> dict[str, Value]:
        """Every value that decides the result, with no default left open.

        Defaults come from the recipe and the base model, never from the machine.
        ``base_model`` is left out: its digest is an input of the action.

        Raises:
            BackendError: a field that this backend cannot honour; the message names it.
        """


@runtime_checkable
class Trainer(Backend, Protocol):
    """A backend that trains while its caller waits."""

    def train(self, job: TrainingJob) -> TrainingResult:
        """Train, and leave the model's files in ``job.directory``.

        Raises:
            DatasetError: a row is wrong; raised before anything heavy starts.
            TrainingError: the training ended without a model.
        """
