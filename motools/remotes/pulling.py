"""Pull: what is in a remote comes here, blobs first.

Some entries at a time: their documents are parsed and held against their keys,
what blobs they lack is fetched and made durable, and they become true in one
transaction. A pull that is killed has what it had committed, and finds the blobs
that had arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from motools.cache.arrival import arrive, needs
from motools.cache.cache import Cache
from motools.cache.selection import Selection
from motools.cache.tree import Tree
from motools.remotes import marks
from motools.remotes.accepting import accepted
from motools.remotes.fetching import fetch
from motools.remotes.index import in_parts
from motools.remotes.progress import Progress, unseen
from motools.remotes.remote import Remote
from motools.remotes.status import Diverged, compare

_ENTRIES: Final = 1000
"""Entries that become true together."""

_BYTES: Final = 1 << 30
"""Bytes of blobs after which the entries that need them become true."""


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes:
        entries: keys that this cache has now, or has more of, than before.
        blobs: how many arrived.
        bytes_received: bytes in them.
        diverged: generations that the remote has another result of; the one here stays.
        problems: key to why it did not come, or one of its generations did not.
        marks: how many marks came, or were taken off.
        cleared: keys that were named and are in the trash here, from where undelete brings them.
    """

    entries: tuple[str, ...] = ()
    blobs: int = 0
    bytes_received: int = 0
    diverged: tuple[Diverged, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)
    marks: int = 0
    cleared: tuple[str, ...] = ()

    def followed_by(self, later: Pulled) -> Pulled:
        """What this pull and a later one did together."""
        return Pulled(
            (*self.entries, *later.entries),
            self.blobs + later.blobs,
            self.bytes_received + later.bytes_received,
            tuple(dict.fromkeys((*self.diverged, *later.diverged))),
            {**self.problems, **later.problems},
            self.marks + later.marks,
            tuple(dict.fromkeys((*self.cleared, *later.cleared))),
        )


def pull(
    cache: Cache,
    remote: Remote,
    selection: Selection | None = None,
    *,
    whole: bool = False,
    dry_run: bool = False,
    progress: Progress = unseen,
) -> Pulled:
    """Take over the entries that this cache lacks, with what they need to be used.

    Args:
        cache: where they go.
        remote: where from; its index as last read.
        selection: which entries; None: all. With keys, also bytes that were given up here.
        whole: all or nothing, those bytes, too: with a problem, no entry comes, and no mark.
        dry_run: only say what would come, and what may not.
        progress: is told of bytes that arrived.

    Raises:
        CacheUnavailableError: the remote cannot be reached or refuses; run again, it goes on.
    """
    status = compare(cache, remote, selection)
    keys = list(status.behind)
    cleared: tuple[str, ...] = ()
    if whole or (selection is not None and selection.keys is not None):
        keys += status.released
        cleared = status.cleared
    pulling = _Pull(cache, remote, status.diverged, progress)
    return replace(pulling.run(keys, whole=whole, dry_run=dry_run), cleared=cleared)


@dataclass(frozen=True)
class _Incoming:
    """A key, its generations that may come, and what they need."""

    key: str
    rows: tuple[tuple[Any, ...], ...]
    trees: tuple[Tree, ...]
    sizes: dict[str, int]


class _Pull:
    """One pull under way."""

    def __init__(
        self, cache: Cache, remote: Remote, diverged: tuple[Diverged, ...], progress: Progress
    ) -> None:
        self._cache = cache
        self._remote = remote
        self._diverged = diverged
        self._progress = progress
        self._without = {(d.key, d.generation) for d in diverged}
        self._problems: dict[str, str] = {}
        self._refusals: dict[str, str] = {}
        self._blobs = self._received = self._marks = 0

    def run(self, keys: Iterable[str], *, whole: bool, dry_run: bool) -> Pulled:
        """Take over the entries of some keys."""
        batches: Iterable[list[_Incoming]] = self._batches(keys)
        if whole or dry_run:
            batches = list(batches)  # all are looked at before any byte comes
        if whole and self._refusals:
            return self._pulled()
        if dry_run:
            return self._pulled(each.key for batch in batches for each in batch)
        entries: list[str] = []
        held: list[_Incoming] = []
        for batch in batches:
            self._fetch(batch)
            held += (incoming for incoming in batch if incoming.key not in self._problems)
            if not whole:
                entries += self._commit(held)
                held = []
        if whole and self._problems:
            return self._pulled()
        entries += self._commit(held)
        self._cache.documents.flush()
        self._marks += marks.take(self._cache, self._remote, self._here())
        return self._pulled(entries)

    def _pulled(self, entries: Iterable[str] = ()) -> Pulled:
        problems = {**self._refusals, **self._problems}
        blobs, received = self._blobs, self._received
        return Pulled(tuple(entries), blobs, received, self._diverged, problems, self._marks)

    def _here(self) -> Iterator[str]:
        """The keys that are marked there and in this cache, those that were here before, too."""
        for part in in_parts(sorted(self._remote.index.marked())):
            there = ",".join("?" * len(part))
            yield from (
                key
                for (key,) in self._cache.database.read(
                    f"SELECT DISTINCT key FROM entries WHERE key IN ({there})", part
                )
            )

    def _batches(self, keys: Iterable[str]) -> Iterator[list[_Incoming]]:
        batch: list[_Incoming] = []
        total = 0
        for part in in_parts(keys, _ENTRIES):
            for incoming in self._incoming(part):
                batch.append(incoming)
                total += sum(incoming.sizes.values())
                if len(batch) == _ENTRIES or total >= _BYTES:
                    yield batch
                    batch, total = [], 0
        if batch:
            yield batch

    def _incoming(self, keys: list[str]) -> Iterator[_Incoming]:
        for found in accepted(self._cache, self._remote, keys, without=self._without):
            if found.refused:
                self._refusals[found.key] = "; ".join(map(str, found.refused))
            if found.rows:
                wanted = [needs(row) for row in found.rows]
                sizes = {d: size for _, files in wanted for d, size in files.items()}
                yield _Incoming(found.key, found.rows, tuple(tree for tree, _ in wanted), sizes)

    def _fetch(self, batch: list[_Incoming]) -> None:
        wanted = {d: size for incoming in batch for d, size in incoming.sizes.items()}
        absent = set(self._cache.blobs.absent(("", d, size) for d, size in wanted.items()))
        lacking = {digest: wanted[digest] for digest in wanted if digest in absent}
        self._progress.start("pull", sum(lacking.values()))
        failed = fetch(self._cache, self._remote, lacking, progress=self._progress)
        for incoming in batch:
            for digest in incoming.sizes:
                if digest in failed:
                    self._problems[incoming.key] = failed[digest]
        arrived = [size for digest, size in lacking.items() if digest not in failed]
        self._blobs += len(arrived)
        self._received += sum(arrived)

    def _commit(self, batch: list[_Incoming]) -> list[str]:
        if not batch:
            return []
        blobs = self._cache.blobs
        durable = {digest for incoming in batch for digest in incoming.sizes}
        for tree in (tree for incoming in batch for tree in incoming.trees if tree.files):
            blobs.receive(tree.digest, tree.canonical)
            durable.add(tree.digest.hex)
        blobs.settle(durable)
        news = marks.news(self._cache, self._remote, [incoming.key for incoming in batch])
        with self._cache.database.write() as transaction:
            self._marks += marks.say(transaction, news)
            return [i.key for i in batch if arrive(transaction, self._cache.store, i.rows)]
