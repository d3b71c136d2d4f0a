"""Run options: what changes how a step runs and never what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from motools.configs import Config
from motools.errors import ConfigError


@dataclass(frozen=True)
class RunOptions(Config):
    """How a step runs. Nothing here is ever part of a key.

    Attributes:
        timeout: seconds to wait for another runner of the same key; None: for ever.
        base_dir: where relative paths of task files start.
        save_seconds: between two checkpoints of a training on this machine; 0 for one
            after every step.
        devices: of this machine that compute each step of a training together; it must
            divide ``batch_size``. On a CPU each is a process on a core of its own.
        suffix: a name for people, where the backend takes one.
        tags: recorded with the entry.
    """

    timeout: float | None = None
    base_dir: str = "."
    save_seconds: float = 300.0
    devices: int = 1
    suffix: str | None = None
    tags: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Coerce the values, then check their ranges."""
        super().__post_init__()
        if self.devices < 1:
            raise ConfigError(f"RunOptions.devices: {self.devices} is not at least 1")
