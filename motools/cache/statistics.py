"""Statistics: how often entries were used, and what that saved."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from motools.cache.database import Database
from motools.errors import CacheUnavailableError

_FLUSH_AT: Final = 1_000

FLUSH_AFTER: Final = 300.0
"""Seconds for which a count may be unknown to other processes, who go by it in a prune."""

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class KindStatistics:
    """What the entries of one kind come to.

    Attributes:
        entries: how many there are.
        bytes: in their files, those shared counted once.
        hits: how often they were used instead of being made.
        seconds_spent: making them.
        seconds_saved: by using them.
        cost: money spent making them, as far as it is known.
        cost_saved: money saved by using them, as far as it is known.
    """

    entries: int
    bytes: int
    hits: int
    seconds_spent: float
    seconds_saved: float
    cost: float
    cost_saved: float


class Statistics:
    """Counts hits in memory and adds them up in the tables now and then.

    A process that is killed loses the counts it had not added up.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._since = math.inf  # when the oldest of them was counted
        self._not_before = -math.inf  # when it is tried again after it failed

    def count(self, *keys: str) -> None:
        """Note that entries were used."""
        if self._pid != os.getpid():  # a fork: its parent counts what it counted
            self._start_anew()
        with self._lock:
            for key in keys:
                self._counts[key] = self._counts.get(key, 0) + 1
            full = len(self._counts) >= _FLUSH_AT and time.monotonic() >= self._not_before
            if self._since is math.inf:
                self._since = time.monotonic()
        if full:
            self._try_flush()
        else:
            self.flush_old()

    def flush_old_aside(self) -> None:
        """Like :meth:`flush_old`, for a caller who must not wait for the write lock."""
        if time.monotonic() - self._since >= FLUSH_AFTER:
            # While Python ends no thread can be started; then everything is written anyway.
            with contextlib.suppress(RuntimeError):
                threading.Thread(
                    target=self.flush_old, name="motools-statistics", daemon=True
                ).start()

    def flush_old(self) -> None:
        """Add the counts up in the tables if some have waited for long."""
        if time.monotonic() - self._since >= FLUSH_AFTER:
            self._try_flush()

    def _try_flush(self) -> None:
        """Add the counts up, if that can be.

        Whoever uses an entry has it whether that can be written or not, so a failure is
        told in the log; it is tried again after some minutes.
        """
        try:
            self.flush()
        except CacheUnavailableError as problem:
            _log.warning("what was used could not be written, and may look unused: %s", problem)

    def flush(self) -> None:
        """Add the counts up in the tables."""
        if self._pid != os.getpid():
            return
        with self._lock:
            counts, self._counts, self._since = self._counts, {}, math.inf
        if not counts:
            return
        try:
            self._write(counts)
        except BaseException:
            self._take_back(counts)
            raise

    def _take_back(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            for key, hits in counts.items():
                self._counts[key] = self._counts.get(key, 0) + hits
            self._since = time.monotonic()
            self._not_before = self._since + FLUSH_AFTER

    def _write(self, counts: Mapping[str, int]) -> None:
        now = time.time()
        with self._database.write() as transaction:
            transaction.run_many(
                "INSERT INTO statistics (key, hits, last_used_at) VALUES (:key, :hits, :now) "
                "ON CONFLICT (key) DO UPDATE SET hits = statistics.hits + excluded.hits, "
                "last_used_at = excluded.last_used_at",
                [{"key": key, "hits": hits, "now": now} for key, hits in counts.items()],
            )

    def by_kind(self) -> dict[str, KindStatistics]:
        """What the live entries of each kind come to."""
        self.flush()
        rows = self._database.read(
            "SELECT e.kind, COUNT(DISTINCT e.key), CAST(COALESCE(SUM(s.hits), 0) AS BIGINT), "
            "SUM(e.duration), "
            "COALESCE(SUM(e.duration * s.hits), 0), COALESCE(SUM(e.cost), 0), "
            "COALESCE(SUM(e.cost * s.hits), 0) "
            "FROM entries e LEFT JOIN statistics s ON s.key = e.key AND e.generation = "
            "(SELECT MAX(generation) FROM entries n WHERE n.key = e.key AND n.state <> 'trash') "
            "WHERE e.state <> 'trash' GROUP BY e.kind"
        )
        sizes = dict(
            self._database.read(
                "SELECT kind, CAST(SUM(size) AS BIGINT) FROM "
                "(SELECT DISTINCT e.kind, b.digest, b.size FROM entries e "
                "JOIN entry_blobs l ON l.key = e.key AND l.generation = e.generation "
                "JOIN blobs b ON b.digest = l.digest WHERE e.state = 'live') AS files GROUP BY kind"
            )
        )
        return {
            kind: KindStatistics(entries, sizes.get(kind, 0), hits, spent, saved, cost, cost_saved)
            for kind, entries, hits, spent, saved, cost, cost_saved in rows
        }
