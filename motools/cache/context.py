"""What a run is given to work with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from motools.artifacts import RemoteRef
from motools.cache.action import Action

if TYPE_CHECKING:
    from motools.cache.cache import Cache
    from motools.cache.journal import Job, Sender
    from motools.cache.lease import Lease

Report: TypeAlias = Callable[[str, dict[str, Any]], None]
"""Receives progress: a sentence, and fields for machines."""

JOB: Final = "job"
"""Where the provenance of an entry names the job that made it."""


@dataclass
class RunContext:
    """What a run is given to work with, and what it may say besides its value.

    Attributes:
        action: what is to be run.
        directory: empty; files written here become the entry's.
        scratch: kept after a failure and a crash, for checkpoints and logs; never stored.
        lease: the right to do it.
        lock_fds: descriptors that a worker process must inherit, so that nobody
            takes the key over while it lives.
        refresh: whether an earlier result is there that must not be taken up.
        cache: where the run takes place, for work that needs other entries.
        labels: what the entry can be found by; not hashed.
        provenance: who made it and with what; not hashed.
        cost: money spent, in the currency of the settings; None: unknown.
        remote: the result that lives at a provider, if that is where it lives.
        waited: seconds of the run that went by waiting for others.
    """

    action: Action
    directory: Path
    scratch: Path
    lease: Lease
    lock_fds: tuple[int, ...]
    cache: Cache
    send_report: Report | None = None
    refresh: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    cost: float | None = None
    remote: RemoteRef | None = None
    waited: float = 0.0

    @property
    def key(self) -> str:
        """The action's key."""
        return self.action.key

    def report(self, message: str, **fields: Any) -> None:
        """Say how far the work is."""
        self._send(message, fields)

    def label(self, **labels: str) -> None:
        """Let the entry be found by these."""
        self.labels.update(labels)

    def keep_action(self) -> None:
        """Keep what the key was made of, and its labels, which otherwise only an entry does."""
        text = {"action": self.action.canonical.decode(), "labels": self.labels}
        self.cache.texts.keep({self.key: text})

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Do not count the block as time that the work took."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.waited += time.monotonic() - began

    def submit(self, sender: Sender) -> Job:
        """Submit paid work once for this key, or take up what was submitted before.

        Raises:
            SubmissionRefusedError: the provider did not take it.
            SubmissionUnsettledError: it cannot be told whether an earlier submission arrived.
            LeaseLostError: somebody else took the key over; nothing was submitted.
        """
        self.keep_action()
        return self._of_job(
            self.cache.journal.submit(self.lease, sender, self._send, spent=self._spent())
        )

    def confirm(self, job: Job, sender: Sender) -> Job:
        """Ask once more whether a job is the only one of its key; see :meth:`Journal.confirm`."""
        return self._of_job(
            self.cache.journal.confirm(job, sender, self._send, spent=self._spent())
        )

    def _of_job(self, job: Job) -> Job:
        self.provenance[JOB] = job.id
        return job

    def _spent(self) -> set[str]:
        """The jobs whose results are entries already, and are to be replaced."""
        if not self.refresh:
            return set()
        entries = self.cache.index.generations(self.key)
        return {str(entry.provenance[JOB]) for entry in entries if JOB in entry.provenance}

    def _send(self, message: str, fields: dict[str, Any]) -> None:
        if self.send_report is not None:
            self.send_report(message, fields)
