"""Push: what is here goes to a remote, blobs first.

Blobs are sent in the order of the entries that need them. Every so many packs a
segment says what is there by then, so that a push that is killed has not been
for nothing; packs that are there under their names are not sent again, even if
their segment never came.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from motools.cache.arrival import needs
from motools.cache.cache import Cache
from motools.cache.documents import compact, entry_document
from motools.cache.entry import COLUMNS, check
from motools.cache.memo import BATCH
from motools.cache.selection import Selection
from motools.errors import CorruptBlobError, CorruptDocumentError, MissingBlobError
from motools.remotes import marks
from motools.remotes.doomed import Doomed
from motools.remotes.index import in_parts
from motools.remotes.layout import BLOBS, LARGE, PACK, PACKS, blob_name
from motools.remotes.packs import RAW, Frame, packed
from motools.remotes.progress import Progress, unseen
from motools.remotes.remote import Remote
from motools.remotes.segments import Draft, Listed
from motools.remotes.selected import here
from motools.remotes.status import Diverged, Status, compare

_CHECKPOINT: Final = 256 << 20
"""Bytes of blobs after which a segment says what is there by then."""

_SEGMENT: Final = 64 << 20
"""Bytes of documents in a segment, before they are compressed."""


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        entries: keys that the remote has now and had not before.
        blobs: how many were sent.
        bytes_sent: as they were sent, compressed where that shrinks them.
        bytes_there: in objects that an earlier push had left there.
        diverged: generations that the remote has another result of; they were not sent.
        problems: key to why it was not sent.
        marks: how many marks were sent, and of how many it was said that they were taken off.
    """

    entries: tuple[str, ...] = ()
    blobs: int = 0
    bytes_sent: int = 0
    bytes_there: int = 0
    diverged: tuple[Diverged, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)
    marks: int = 0


def push(
    cache: Cache, remote: Remote, selection: Selection | None = None, *, progress: Progress = unseen
) -> Pushed:
    """Send the entries that a remote lacks, and what they need to be used.

    Args:
        cache: whose entries.
        remote: where to; its index as last read.
        selection: which entries; None: all.
        progress: is told of bytes that are there.

    Raises:
        CacheUnavailableError: the remote cannot be reached or refuses; run again, it goes on.
    """
    cache.documents.flush()
    status = compare(cache, remote, selection)
    doomed = Doomed.of(remote.store) if status.ahead else Doomed()
    pushed = _Push(cache, remote, status, doomed, selection=selection, progress=progress).run()
    # A prune that began meanwhile may have doomed what this push relied on.
    while status.ahead and (newly := Doomed.of(remote.store).names - doomed.names):
        doomed = Doomed(doomed.names | newly)
        remote.refresh()
        again = _Push(cache, remote, status, doomed, selection=selection, progress=progress)
        if again.missing():
            again.run()
    return pushed


@dataclass(frozen=True)
class _Outgoing:
    """A key, and those of its generations that the remote may have."""

    key: str
    rows: tuple[tuple[Any, ...], ...]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Digest to size of what they need."""
        return {digest: size for row in self.rows for digest, size in needs(row)[1].items()}

    def listed(self) -> Listed:
        """What a segment says of it."""
        for row in self.rows:
            check(row)
        generations = tuple((row[1], row[8], row[9]) for row in self.rows)
        document = compact(json.loads(entry_document(self.rows))).encode()
        return Listed(self.key, generations, tuple(self.sizes), document)


@dataclass(frozen=True)
class _Sent:
    """What became of one object: where its blobs are, or why one cannot be sent."""

    frames: tuple[Frame, ...]
    bytes_sent: int
    bytes_there: int
    broken: dict[str, str]


class _Push:
    """One push under way."""

    def __init__(
        self,
        cache: Cache,
        remote: Remote,
        status: Status,
        doomed: Doomed,
        *,
        selection: Selection | None,
        progress: Progress,
    ) -> None:
        self._cache = cache
        self._remote = remote
        self._status = status
        self._doomed = doomed
        self._selection = selection
        self._progress = progress
        self._damaged = {name for _, name in remote.index.damaged()}
        self._withheld = {(d.key, d.generation) for d in status.diverged} | {*status.removed}
        self._there: dict[str, Frame] = {}
        self._broken: dict[str, str] = {}
        self._listed: list[str] = []
        self._problems: dict[str, str] = {}
        self._marks = 0
        self._draft = Draft()
        self._waiting: Iterator[_Outgoing] = iter(())
        self._first: _Outgoing | None = None

    def run(self) -> Pushed:
        """Send all of it."""
        missing = self.missing()
        self._waiting = self._outgoing()
        self._first = next(self._waiting, None)
        blobs = sent = there = 0
        for result in self._send_all(missing):
            blobs += len(result.frames) if result.bytes_sent else 0
            sent, there = sent + result.bytes_sent, there + result.bytes_there
        self._list(final=True)
        self._add_marks()
        self._publish()
        listed = tuple(self._listed)
        diverged, problems = self._status.diverged, self._problems
        return Pushed(listed, blobs, sent, there, diverged, problems, self._marks)

    def _send_all(self, missing: dict[str, int]) -> Iterator[_Sent]:
        if not missing:
            return
        self._progress.start("push", sum(missing.values()))
        up = self._up()
        for group in _groups(_objects(missing)):
            with self._remote.pool() as pool:
                for result in pool.map(lambda blobs: self._send(blobs, up), group):
                    self._draft.add_frames(result.frames)
                    self._there.update((frame.digest, frame) for frame in result.frames)
                    self._broken.update(result.broken)
                    yield result
            self._list()
            self._publish()

    def missing(self) -> dict[str, int]:
        """Digest to size of what has to be sent, in the order of the entries that need it."""
        wanted = {d: size for outgoing in self._outgoing() for d, size in outgoing.sizes.items()}
        frames = self._remote.index.frames(wanted)
        self._there = {f.digest: f for f in frames if f.name not in self._doomed.names}
        return {digest: size for digest, size in wanted.items() if digest not in self._there}

    def _outgoing(self) -> Iterator[_Outgoing]:
        for part in in_parts(self._status.ahead, BATCH):
            rows: dict[str, list[tuple[Any, ...]]] = {key: [] for key in part}
            for row in self._cache.database.read(
                f"SELECT {COLUMNS} FROM entries WHERE key IN ({','.join('?' * len(part))}) "
                "AND state IN ('live', 'released') ORDER BY generation",
                part,
            ):
                if (row[0], row[1]) not in self._withheld:
                    rows[row[0]].append(tuple(row))
            yield from (_Outgoing(key, tuple(found)) for key, found in rows.items() if found)

    def _up(self) -> dict[str, int]:
        """Objects that are there, whether or not a segment names them, with their sizes."""
        names = self._remote.store.names
        with self._remote.pool() as pool:
            listed = pool.map(lambda folder: list(names(folder)), (PACKS, BLOBS))
            every = list(itertools.chain.from_iterable(listed))
        return {
            name: size
            for name, size in every
            if name not in self._doomed.names and name not in self._damaged
        }

    def _send(self, blobs: dict[str, int], up: dict[str, int]) -> _Sent:
        [(digest, size), *others] = blobs.items()
        if not others and size >= LARGE:
            return self._send_large(digest, size, up)
        return self._send_pack(blobs, up)

    def _send_large(self, digest: str, size: int, up: dict[str, int]) -> _Sent:
        name = self._doomed.fresh(blob_name(digest))
        frame = Frame(digest, size, name, 0, size, RAW)
        if up.get(name) == size:
            self._progress.advance(size)
            return _Sent((frame,), 0, size, {})
        try:
            path = self._cache.blobs.hashed_path(digest, size)
        except (MissingBlobError, CorruptBlobError) as problem:
            return _Sent((), 0, 0, {digest: str(problem)})
        self._remote.store.upload(name, path)
        self._remote.store.settle([name])
        self._written(name)
        self._progress.advance(size)
        return _Sent((frame,), size, 0, {})

    def _send_pack(self, blobs: dict[str, int], up: dict[str, int]) -> _Sent:
        broken: dict[str, str] = {}
        pack = packed(self._read(blobs, broken), self._doomed.fresh)
        known = up.get(pack.name) == len(pack.data)
        if pack.frames and not known:
            self._remote.store.publish_bytes(pack.name, pack.data)
            self._written(pack.name)
        self._progress.advance(sum(blobs.values()))
        there = len(pack.data) if known else 0
        return _Sent(pack.frames, len(pack.data) - there, there, broken)

    def _written(self, name: str) -> None:
        if name in self._damaged:
            self._remote.index.set_whole(name)

    def _read(self, blobs: dict[str, int], broken: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        for digest, size in blobs.items():
            try:
                yield digest, self._cache.blobs.read(digest, size)
            except (MissingBlobError, CorruptBlobError) as problem:
                broken[digest] = str(problem)

    def _list(self, *, final: bool = False) -> None:
        """Have the segment say of which entries all is there; they are in the order of blobs."""
        while (first := self._first) is not None:
            lacking = [digest for digest in first.sizes if digest not in self._there]
            unknown = [digest for digest in lacking if digest not in self._broken]
            if unknown and not final:
                return
            if unknown:
                self._problems[first.key] = "it changed while it was pushed: push again"
            elif lacking:
                self._problems[first.key] = self._broken[lacking[0]]
            else:
                self._list_entry(first)
            self._first = next(self._waiting, None)

    def _add_marks(self) -> None:
        """Say what people say of entries, also of those that were there already."""
        if not (marked := marks.marked(self._cache)):
            return
        there: Iterable[str] = {key for key, *_ in self._remote.index.generations(marked)}
        if self._selection is not None:
            there = here(self._cache, self._selection, there)
        ours = marks.of_cache(self._cache, marked.intersection({*there, *self._listed}))
        for each in marks.unsent(ours, self._remote.index):
            self._draft.add_marks(each)
            self._marks += len(each.rows)

    def _list_entry(self, outgoing: _Outgoing) -> None:
        try:
            listed = outgoing.listed()
        except CorruptDocumentError as problem:
            self._problems[outgoing.key] = str(problem)
            return
        # Also those that an earlier segment has: a prune may be about to supersede it.
        self._draft.add_frames(self._there[digest] for digest in outgoing.sizes)
        self._draft.add_entry(listed)
        self._listed.append(outgoing.key)
        if self._draft.size > _SEGMENT:
            self._publish()

    def _publish(self) -> None:
        self._draft.publish(self._remote.store)
        self._draft = Draft()


def _objects(missing: dict[str, int]) -> Iterator[dict[str, int]]:
    """What goes into each object: large blobs on their own, small ones together."""
    small: dict[str, int] = {}
    total = 0
    for digest, size in missing.items():
        if size >= LARGE:
            yield {digest: size}
            continue
        if total + size > PACK:
            yield small
            small, total = {}, 0
        small[digest] = size
        total += size
    if small:
        yield small


def _groups(objects: Iterable[dict[str, int]]) -> Iterator[list[dict[str, int]]]:
    """Objects that are sent before the next segment."""
    group: list[dict[str, int]] = []
    total = 0
    for blobs in objects:
        group.append(blobs)
        total += sum(blobs.values())
        if total >= _CHECKPOINT:
            yield group
            group, total = [], 0
    if group:
        yield group
