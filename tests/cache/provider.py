"""A provider of paid jobs, in a file, as unreliable as real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from motools.jobs import SentJob, Stamp

VISIBILITY = 5.0


class Violation(AssertionError):
    """The protocol did what it must never do."""


class Provider:
    """Accepts jobs, and says so or not; lists them, late.

    Args:
        path: where its state is kept, beyond the death of any process.
        clock: its time in seconds.

    ``fate`` is what happens to the next submission: ``ok``, ``lost`` (accepted, no
    answer), ``slow`` (lost, and accepted only long after it was sent), ``refused``
    (not accepted, no answer), ``twice`` (two jobs from one submission).
    """

    provider = "simulated"
    visibility_seconds = VISIBILITY

    def __init__(self, path: Path, clock: Callable[[], float], *, can_find: bool = True) -> None:
        self.path = path
        self.clock = clock
        self.can_find = can_find
        self.fate = "ok"
        self.lag = VISIBILITY / 2
        self.refreshing = False
        self.before_find: Callable[[], None] = lambda: None
        self.before_send: Callable[[], None] = lambda: None
        self.after_send: Callable[[], None] = lambda: None

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return json.loads(self.path.read_text()) if self.path.exists() else []

    def find(self, key: str) -> list[SentJob]:
        self.before_find()
        now = self.clock()
        return [
            SentJob(job["id"], job["attempt"], job["created_at"], job["usable"])
            for job in self.jobs
            if job["key"] == key and job["visible_at"] <= now
        ]

    def prepare(self) -> None:
        """Nothing has to be uploaded."""

    def send(self, stamp: Stamp) -> str:
        self.before_send()
        if self.fate == "slow":
            self.clock.advance(10 * VISIBILITY)
        if self.fate == "refused":
            raise ConnectionError("refused")
        if rivals := self.live(stamp.key, self.refreshing):
            raise Violation(f"paid again for {stamp.key[:12]}: {rivals} was there")
        accepted = self._accept(stamp, paid=True)
        if self.fate == "twice":
            self._accept(stamp, paid=False)
        self.after_send()
        if self.fate in ("lost", "slow"):
            raise ConnectionError("no answer")
        return accepted

    def cancel(self, job_id: str) -> None:
        self.mark(job_id, usable=False)

    def live(self, key: str, refreshing: bool = True) -> list[str]:
        """Usable jobs of a key; those whose result is spent count unless it is refreshed."""
        return [
            job["id"]
            for job in self.jobs
            if job["key"] == key and job["usable"] and not (refreshing and job["spent"])
        ]

    def mark(self, job_id: str, **changes: Any) -> None:
        self._save([{**j, **changes} if j["id"] == job_id else j for j in self.jobs])

    def spend(self, ids: Iterable[str]) -> None:
        """These have been made into entries: a refresh pays for new ones."""
        spent = set(ids)
        self._save([{**job, "spent": job["spent"] or job["id"] in spent} for job in self.jobs])

    def _accept(self, stamp: Stamp, *, paid: bool) -> str:
        jobs, now = self.jobs, self.clock()
        job = {
            "id": f"job-{len(jobs)}",
            "key": stamp.key,
            "attempt": stamp.attempt,
            "created_at": now,
            "visible_at": now + self.lag,
            "usable": True,
            "spent": False,
            "paid": paid,
        }
        self._save([*jobs, job])
        return str(job["id"])

    def _save(self, jobs: list[dict[str, Any]]) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(jobs))
        temporary.replace(self.path)
