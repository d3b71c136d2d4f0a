"""A server's parts, put together over one cache, which it has to itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from motools.cache import Cache
from motools.server import tables
from motools.server.accounts import Accounts
from motools.server.answers import Answers
from motools.server.files import Files
from motools.server.jobs import Jobs
from motools.server.models import Base, Models
from motools.server.queue import Queue
from motools.server.seat import Seat
from motools.server.streaming import Askers
from motools.server.work import Work

_log: Final = logging.getLogger(__name__)

DIRECTORY: Final = "server"


@dataclass(frozen=True)
class Options:
    """How a server serves.

    Attributes:
        accounts: who may use it.
        bases: base models that may be trained and asked.
        jobs: trainings at once.
        queue: jobs that may wait or run.
        max_upload: bytes of the largest file.
        save_seconds: between two checkpoints of a training.
    """

    accounts: Accounts
    bases: Sequence[Base] = (Base("tiny", "tiny"),)
    jobs: int = 1
    queue: int = 1000
    max_upload: int = 2048 * 10**6
    save_seconds: float = 60.0


class Service:
    """What answers requests and does jobs.

    Args:
        cache: open.
        options: how to serve.
        lost: told when another server has taken the cache over; this one must end.

    Raises:
        SettingsError: another server serves the cache.
    """

    def __init__(self, cache: Cache, options: Options, lost: Callable[[], None]) -> None:
        self.cache = cache
        self.options = options
        self._seat = Seat(cache, lost)
        try:
            made = tables.ensure(cache.database)
            self.files = Files(cache, cache.root / DIRECTORY)
            self._say_aside(self.files.prepare(lost=made))
            self.models = Models(cache, options.bases)
            self.models.pin()
            self.jobs = Jobs(cache.database, options.queue)
            work = Work(cache, self.files, self.jobs, self.models, options.save_seconds)
            self.queue = Queue(work, options.jobs)
            self.answers = Answers(cache)
            self.askers = Askers()
        except BaseException:
            self._seat.release()
            raise

    def close(self) -> None:
        """End what is being done, and let another server have the cache."""
        self.queue.stop()
        self.queue.join()
        self.answers.close()
        self._seat.release()
        self.cache.close()

    @property
    def is_lost(self) -> bool:
        """Whether another server has taken the cache over."""
        return self._seat.is_lost

    def _say_aside(self, aside: Path | None) -> None:
        if aside is not None:
            _log.warning(
                "the uploads of an earlier database, which nobody can reach, were put aside: if "
                "it cannot be brought back, remove %s",
                aside,
            )
