"""The queue: jobs are validated and trained by threads, one training after the other.

What waits is in the tables, so a server that dies loses nothing: the next one
goes on. Looking a job up in the cache, and reading its file, has threads of its
own, so that a hit waits for no training.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from motools.errors import (
    CacheUnavailableError,
    DatasetError,
    LeaseLostError,
    MotoolsError,
    StoppedError,
)
from motools.server.job import QUEUED, RUNNING, VALIDATING, Event, Job
from motools.server.work import Work
from motools.stopping import interruptible

_log: Final = logging.getLogger(__name__)

_VALIDATORS: Final = 2
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_PARTING_SECONDS: Final = 30.0


class Queue:
    """Threads that do jobs.

    Args:
        work: what they do.
        trainings: how many at once.
    """

    def __init__(self, work: Work, trainings: int) -> None:
        self._work = work
        self._jobs = work.jobs
        self._changed = threading.Condition()
        self._in_hand: dict[str, Callable[[], None]] = {}
        self._training: dict[str, str] = {}
        """Job to key, of what is trained now."""
        self._served: dict[str, dict[str, float]] = {VALIDATING: {}, QUEUED: {}}
        """Status to caller to when one of theirs was taken last: they take turns."""
        self._put_off: dict[str, float] = {}
        """Job to when it is tried again, of what failed for no fault of its own."""
        self._ended = False
        validators = [(VALIDATING, self._validate)] * _VALIDATORS
        trainers = [(QUEUED, self._train)] * trainings
        self._threads = [
            threading.Thread(target=self._serve, args=each, name=f"motools-{each[0]}", daemon=True)
            for each in (*validators, *trainers)
        ]

    def start(self) -> None:
        """Begin, with what an earlier server left."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End what is being done, at once; the next server goes on with it."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            for end in self._in_hand.values():
                end()

    def end_soon(self) -> None:
        """Have :meth:`stop` called by another thread: a signal's handler may not wait."""
        threading.Thread(target=self.stop, name="motools-stop", daemon=True).start()

    def join(self) -> None:
        """Wait until everything has ended, but not for a large file that is being read."""
        until = time.monotonic() + _PARTING_SECONDS
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """There may be something to do."""
        with self._changed:
            self._changed.notify_all()

    def interrupt(self, job_id: str) -> None:
        """End what is being done for a job, which was paused or cancelled."""
        with self._changed:
            if job_id in self._in_hand:
                self._in_hand[job_id]()

    def _serve(self, status: str, do: Callable[[Job], None]) -> None:
        pause = _FIRST_PAUSE
        while not self._ended:
            try:
                with self._next(status) as job:
                    if job is not None:
                        with self._putting_off(job, 2 * pause):
                            do(job)
                pause = _FIRST_PAUSE
            except StoppedError:
                continue
            except (CacheUnavailableError, LeaseLostError) as problem:
                _log.error("%s", problem)
                with self._changed:  # nothing was lost: it is tried again
                    self._changed.wait_for(lambda: self._ended, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except Exception:  # noqa: BLE001 - logged; without its threads nothing is served
                _log.exception("a thread of the queue goes on after")
                with self._changed:
                    self._changed.wait_for(lambda: self._ended, pause)

    @contextmanager
    def _next(self, status: str) -> Iterator[Job | None]:
        """The next job of a status, in this thread's hand during the block."""
        with interruptible() as end:
            with self._changed:
                job = self._find(status)
                while job is None and not self._ended:
                    self._changed.wait(_FIRST_PAUSE if self._put_off else None)
                    job = self._find(status)
                if job is None or self._ended:
                    yield None
                    return
                self._in_hand[job.id] = end
                self._served[status][job.account] = time.monotonic()
                if status == QUEUED and job.key is not None:
                    self._training[job.id] = job.key
            try:
                yield job
            finally:
                with self._changed:
                    del self._in_hand[job.id]
                    self._training.pop(job.id, None)
                    self._changed.notify_all()

    @contextmanager
    def _putting_off(self, job: Job, seconds: float) -> Iterator[None]:
        """Have others go first when a job cannot be done now."""
        try:
            yield
        except (CacheUnavailableError, LeaseLostError):
            with self._changed:
                self._put_off[job.id] = time.monotonic() + seconds
            raise

    def _find(self, status: str) -> Job | None:
        if self._ended:
            return None
        self._put_off = {
            job: until for job, until in self._put_off.items() if until > time.monotonic()
        }
        but, served = [*self._in_hand, *self._put_off], self._served[status]
        if status != QUEUED:
            return self._jobs.first(status, but, served)
        self._jobs.take_up(self._in_hand)
        # Two jobs that want one training: the second has it when the first has ended.
        return self._jobs.first(status, but, served, list(self._training.values()))

    def _validate(self, job: Job) -> None:
        with self._failing(job):
            self._jobs.tell(job.id, Event(f"Validating training file: {job.training_file}"))
            entry = self._work.look_up(job)
            if entry is not None:
                self._work.succeed(job, entry, hit=True)
                return
            key = self._work.validate(job)
            event = Event("Files validated, moving job to queued state")
            self._jobs.move(job.id, (VALIDATING,), QUEUED, event, key=key)
            # Somebody else's training of it may have ended while the file was read.
            if (entry := self._work.look_up(job)) is not None:
                self._work.succeed(job, entry, hit=True)

    def _train(self, job: Job) -> None:
        event = Event("Fine-tuning job started")
        if not self._jobs.move(job.id, (QUEUED,), RUNNING, event):
            return  # paused or cancelled at this moment
        with self._failing(job):
            entry = self._work.train(job)
            self._work.succeed(job, entry, hit=entry.hit)
            for same in self._jobs.queued_with(entry.key):
                self._work.succeed(same, entry, hit=True)

    @contextmanager
    def _failing(self, job: Job) -> Iterator[None]:
        """Have a job fail of what is wrong with it, and wait where something else is."""
        try:
            yield
        except StoppedError:
            raise  # whoever stopped it has recorded why
        except (CacheUnavailableError, LeaseLostError) as problem:
            event = Event(f"Waiting: {problem}", level="warn")
            with contextlib.suppress(CacheUnavailableError):
                self._jobs.move(job.id, (RUNNING,), QUEUED, event)
            raise
        except DatasetError as problem:
            self._work.fail(job, str(problem), "invalid_training_file", "training_file")
        except MotoolsError as problem:
            self._work.fail(job, str(problem), getattr(problem, "code", None) or "server_error")
        except Exception as problem:  # noqa: BLE001 - logged, and told to whose job it is
            _log.exception("%s failed", job.id)
            self._work.fail(job, f"{type(problem).__name__}: {problem}", "server_error")
