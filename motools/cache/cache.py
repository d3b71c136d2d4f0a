"""The cache: look up, or run once and keep."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from motools.cache import layout
from motools.cache.action import Action
from motools.cache.blobs import Blobs
from motools.cache.claim import Claim, Wanted, take
from motools.cache.context import Report, RunContext
from motools.cache.coordinator import coordinator, require_chosen
from motools.cache.documents import Documents
from motools.cache.entry import Entry
from motools.cache.index import Index
from motools.cache.joining import join, store_at
from motools.cache.lease import Leases, lock_domain
from motools.cache.marks import Marks
from motools.cache.memo import Memos
from motools.cache.statistics import Statistics
from motools.cache.texts import Texts
from motools.cache.tree import Tree
from motools.digest import Digest
from motools.errors import CacheUnavailableError
from motools.settings import Settings

if TYPE_CHECKING:
    from motools.cache.attempts import Attempts
    from motools.cache.explain import Explanation, Newest
    from motools.cache.journal import Journal
    from motools.cache.trust import Signer


class Elsewhere(Protocol):
    """Where entries come from that are not here, and go to."""

    def bring(self, keys: Sequence[str]) -> list[str]:
        """Have entries here, their bytes perhaps not; returns the keys of those that are now.

        Raises:
            CacheUnavailableError: it cannot be known whether they are there.
        """

    def committed(self, key: str) -> None:
        """An entry became true here."""

    def finish(self) -> None:
        """No more will, for now."""


class Cache:
    """One store and one coordinator. Make one with :meth:`open`.

    Attributes:
        root: the cache's directory.
        id: its identity, from ``motools.json``.
        store: named bytes.
        blobs: bytes by digest.
        memo: facts that are cheap to forget.
        index: entries as recorded.
        documents: durable copies of the records.
        marks: what people say of entries: pins, tags, notes.
        texts: what digests in keys were made of, for explaining.
        elsewhere: is asked for what is not here; None: nobody is.
    """

    def __init__(self, root: Path, cache_id: str, settings: Settings) -> None:
        self.root = root
        self.id = cache_id
        self.settings = settings
        self.store = store_at(root, settings)
        self.database = coordinator(root, cache_id, settings)
        self.memo = Memos(self.database)
        self.blobs = Blobs(root, self.store, self.database, self.memo)
        self.index = Index(self.database, self.blobs)
        self.documents = Documents(self.store, self.database)
        self.marks = Marks(self.database, self.documents)
        self.texts = Texts(self.store)
        self.statistics = Statistics(self.database)
        self.elsewhere: Elsewhere | None = None
        self.use: object = None
        self.leases = Leases(
            self.database,
            root / layout.JOBS,
            settings.lease_seconds,
            at_beat=self.statistics.flush_old_aside,
        )

    @cached_property
    def attempts(self) -> Attempts:
        """Attempts at paid work; imported when there is some."""
        from motools.cache.attempts import Attempts

        return Attempts(self.database, self.documents, lock_domain(self.root / layout.JOBS))

    @cached_property
    def journal(self) -> Journal:
        """Who submits paid work, once."""
        from motools.cache.journal import Journal

        return Journal(self.attempts)

    @cached_property
    def newest(self) -> Newest:
        """The newest entries of each kind, to find the nearest to many misses."""
        from motools.cache.explain import Newest

        return Newest(self.index)

    @cached_property
    def signer(self) -> Signer | None:
        """Who signs what is made here, or None; see ``signing_key`` in the settings."""
        if not self.settings.signing_key:
            return None
        from motools.cache.trust import signer_of

        return signer_of(self.settings)

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process gets: the cache of this directory, with settings of its own."""
        from motools.cache.current import cache_at

        return cache_at, (self.root,)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        create: bool = True,
        settings: Settings | None = None,
    ) -> Cache:
        """Open the cache in a directory, making it if there is none.

        Args:
            path: the directory; by default the one in the settings, or ``.motools``.
            create: whether to make one where there is none.
            settings: instead of those from flags, environment and files.

        Raises:
            CacheNotFoundError: there is none, and ``create`` is False.
            CacheVersionError: it was written by a newer motools.
            CacheUnavailableError: it cannot be read or written, or is on a file
                system where locks cannot be relied on.
        """
        settings = settings or Settings.load()
        root = Path(path if path is not None else settings.cache_dir).expanduser().absolute()
        joined = join(root, settings, create=create)
        require_chosen(root, joined, settings)
        cache = cls(root, joined.marker.id, settings)
        prepare(cache)
        if settings.remote_mode != "off":
            from motools.remotes.through import Through

            cache.elsewhere = cache.blobs.source = Through(cache)
        return cache

    def look_up(self, actions: Sequence[Action]) -> list[Entry | None]:
        """The entry of each action, or None where there is none.

        Raises:
            CacheUnavailableError: it cannot be known.
            CorruptDocumentError: a record was altered.
            MissingBlobError: a record is there and its bytes are not.
            RejectedError: somebody said that a result is not to be used.
        """
        if len(actions) == 1:
            return [self._get(actions[0].key)]
        keys = [action.key for action in actions]
        found = self.index.get_many(keys)
        if self.elsewhere is not None and len(found) < len(set(keys)):
            brought = self.elsewhere.bring([key for key in keys if key not in found])
            found.update(self.index.get_many(brought))
        return [found.get(key) for key in keys]

    def get_or_run(
        self,
        action: Action,
        run: Callable[[RunContext], Any],
        *,
        refresh: bool = False,
        report: Report | None = None,
        provenance: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Entry:
        """The entry of an action; when there is none, run it once and keep the result.

        However many processes ask at once, one runs; the others wait for it. An
        exception in ``run`` leaves nothing behind and reaches the caller.

        Args:
            action: what is wanted.
            run: does it: returns JSON and may write files under ``context.directory``.
            refresh: run although there is an entry, and add a generation.
            report: receives progress.
            provenance: recorded with the entry, not hashed.
            timeout: seconds to wait for another runner; by default for ever.

        Raises:
            LeaseTimeoutError: another runner did not finish in time.
            LeaseLostError: this runner was overtaken; its result was not stored.
            CacheError: the run of this action is asking for it.
        """
        claim = self.claim(
            action, refresh=refresh, report=report, provenance=provenance, timeout=timeout
        )
        if isinstance(claim, Entry):
            return claim
        with claim:
            return claim.commit(run(claim.context))

    def claim(
        self,
        action: Action,
        *,
        refresh: bool = False,
        report: Report | None = None,
        provenance: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Entry | Claim:
        """The first half of :meth:`get_or_run`: the entry, or the right to make it."""
        entry = None if refresh else self._get(action.key)
        if entry is not None:
            self.statistics.count(entry.key)
            return entry
        seen = self.index.generation(action.key) if refresh else 0
        return take(self, Wanted(action, seen, refresh, report, provenance or {}), timeout)

    def entry(self, prefix: str) -> Entry:
        """The entry whose key starts with a prefix.

        Raises:
            KeyNotFoundError: there is none.
            AmbiguousKeyError: there are several.
        """
        return self.index.find(prefix)

    def entries(self, kind: str | None = None, **filters: Any) -> list[Entry]:
        """Entries, newest first; for the filters see :meth:`Index.select`."""
        return self.index.select(kind=kind, **filters)

    def add(self, source: str | os.PathLike[str]) -> Tree:
        """Store a copy of a file or directory; what has not changed is not read again."""
        return self.blobs.add(Path(source))

    def digest_file(self, path: str | os.PathLike[str]) -> Digest:
        """The digest of a file; one that has not changed is not read again."""
        return self.memo.digest_file(path)

    def explain(self, action: Action) -> Explanation:
        """Why an action is a hit or a miss: the nearest entry and the fields that differ."""
        from motools.cache.explain import explain

        return explain(self.index, action)

    def flush(self) -> None:
        """Write what is behind: documents and counts of hits."""
        self.statistics.flush()
        self.documents.flush()

    def close(self) -> None:
        """Flush, hand on what was committed, and close the connections."""
        self.flush()
        if self.elsewhere is not None:
            self.elsewhere.finish()
        self.database.close()

    def _get(self, key: str) -> Entry | None:
        entry = self.index.get(key)
        if entry is None and self.elsewhere is not None and self.elsewhere.bring([key]):
            return self.index.get(key)
        return entry


def prepare(cache: Cache) -> None:
    """Have the tables there and of this version, and the documents up to date."""
    from motools.cache.reindex import ensure_ready

    ensure_ready(cache)
    atexit.register(_flush_at_exit, weakref.ref(cache), os.getpid())


def _flush_at_exit(reference: weakref.ref[Cache], pid: int) -> None:
    cache = reference()
    # A cache whose directory was removed has nothing left to write.
    if cache is not None and os.getpid() == pid and cache.root.is_dir():
        try:
            cache.flush()
        except CacheUnavailableError as problem:
            # At exit nobody can act on it; the outbox is written at the next open.
            print(f"motools: {problem}", file=sys.stderr)
