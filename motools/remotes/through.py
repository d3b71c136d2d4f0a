"""Through the cache: a miss here asks the remote, and what is committed goes there."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from motools.cache.arrival import arrive_without_bytes
from motools.cache.cache import Cache
from motools.cache.selection import Selection
from motools.errors import CacheError, MissingBlobError
from motools.remotes import marks
from motools.remotes.accepting import accepted
from motools.remotes.completing import Completing
from motools.remotes.fetching import fetch
from motools.remotes.pushing import push
from motools.remotes.remote import Remote, open_remote

_log: Final = logging.getLogger(__name__)

_FRESH: Final = 10.0
"""Seconds for which a list of what the remote has is believed to be all that it has."""

_SHARE: Final = 9.0
"""Seconds of work for each that is spent on pushing what was just committed."""


class Through:
    """The remote of the settings, or the default one, behind a cache.

    Entries come without their bytes, which are fetched when they are used; once all
    of them were, an entry is like one that was made here. An answer that cannot be
    had is an error, never a miss.

    Args:
        cache: the cache in front.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._completing = Completing(cache)
        self._writes = cache.settings.remote_mode == "read-write"
        self._lock = threading.RLock()
        self._opened: tuple[int, Remote] | None = None
        self._listed_at = 0.0
        self._pending: list[str] = []
        self._push_at = 0.0

    def bring(self, keys: Sequence[str]) -> list[str]:
        """Have entries of the remote here; returns the keys of those that are there.

        Raises:
            CacheUnavailableError: the remote cannot be read.
            CorruptDocumentError: what it has is damaged.
            UntrustedError: nobody who is trusted vouches for it.
        """
        with self._lock:
            remote = self._remote(fresh=True)
            rows: list[tuple[Any, ...]] = []
            for found in accepted(self._cache, remote, list(keys)):
                rows += found.rows
                if not found.rows and found.refused:
                    raise found.refused[0]
                for problem in found.refused:
                    _log.warning("%s; an earlier result is taken", problem)
            came = {row[0] for row in rows}
            if rows:
                news = marks.news(self._cache, remote, came)
                with self._cache.database.write() as transaction:
                    marks.say(transaction, news)
                    arrive_without_bytes(transaction, self._cache.store, rows)
                self._cache.documents.flush()
            return [key for key in keys if key in came]

    def fetch(self, sizes: Mapping[str, int]) -> None:
        """Have some blobs in the store.

        Raises:
            MissingBlobError: the remote has not all of them, or they are damaged there.
            CacheUnavailableError: it cannot be reached.
        """
        remote = self._remote(fresh=False)
        failed = fetch(self._cache, remote, dict(sizes))
        if failed:  # a prune may have moved them since the index was read
            remote = self._remote(fresh=True, at_once=True)
            failed = fetch(self._cache, remote, {digest: sizes[digest] for digest in failed})
        came = [digest for digest in sizes if digest not in failed]
        self._cache.blobs.settle(came)
        self._completing.arrived(came)
        for why in failed.values():
            raise MissingBlobError(
                f"{why}. Its bytes are not in this cache either: put them back from a backup, or "
                "clear the entries that need them so that they are made again"
            )

    def committed(self, key: str) -> None:
        """Push an entry, with those that waited; soon, if pushing would take too much of the time.

        What cannot be pushed is here all the same, and goes with the next push.
        """
        if not self._writes:
            return
        with self._lock:
            self._pending.append(key)
            if time.monotonic() >= self._push_at:
                self._push()

    def finish(self) -> None:
        """Push what waits."""
        with self._lock:
            if self._pending:
                self._push()

    def _push(self) -> None:
        began = time.monotonic()
        waiting, self._pending = self._pending, []
        try:
            pushed = push(self._cache, self._remote(fresh=True), Selection(keys=frozenset(waiting)))
        except CacheError as problem:
            self._pending = waiting + self._pending
            _log.warning(
                "%d committed entries are not in the remote yet: %s. "
                "`motools cache push` sends them",
                len(waiting),
                problem,
            )
        else:
            for key, why in pushed.problems.items():
                _log.warning("%s is not in the remote: %s", key[:12], why)
            for diverged in pushed.diverged:
                _log.warning("%s diverged: the remote keeps another result", diverged.key[:12])
        ended = time.monotonic()
        self._push_at = ended + _SHARE * (ended - began)

    def _remote(self, *, fresh: bool, at_once: bool = False) -> Remote:
        """The remote, opened once per process: connections must not cross a fork."""
        with self._lock:
            now = time.monotonic()
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = os.getpid(), open_remote(self._cache)
                self._listed_at = now
            remote = self._opened[1]
            if fresh and (at_once or now - self._listed_at > _FRESH):
                remote.refresh()
                self._listed_at = now
            return remote
