"""Push: what is here goes to a remote, blobs first.

Blobs are sent in the order of the entries that need them. Every so many packs a
segment says what is there by then, so that a push that is killed has not been
for nothing; packs that are there under their names are not sent again, even if
their segment never came.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from motools.cache.cache import Cache
from motools.cache.selection import Selection
from motools.errors import CorruptBlobError, CorruptDocumentError, MissingBlobError
from motools.remotes import marks
from motools.remotes.doomed import Doomed
from motools.remotes.layout import BLOBS, LARGE, PACK, PACKS, blob_name
from motools.remotes.outgoing import Outgoing, outgoing
from motools.remotes.packs import RAW, Frame, packed
from motools.remotes.progress import Progress, unseen
from motools.remotes.remote import Remote
from motools.remotes.segments import Draft
from motools.remotes.selected import here
from motools.remotes.status import Diverged, Status, compare

_CHECKPOINT: Final = 256 << 20
"""Bytes of blobs after which a segment says what is there by then."""

_SEGMENT: Final = 64 << 20
"""Bytes of documents in a segment, before they are compressed."""

_ELSEWHERE: Final = (
    "its files are in another remote alone: `motools cache pull` it from there first"
)


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
        removed: keys and generations that were removed from the remote on purpose; they were
            not sent, as nobody named them.
        elsewhere: keys whose files are in another remote alone; of those that are named it is a
            problem.
    """

    entries: tuple[str, ...] = ()
    blobs: int = 0
    bytes_sent: int = 0
    bytes_there: int = 0
    diverged: tuple[Diverged, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)
    marks: int = 0
    removed: tuple[tuple[str, int], ...] = ()
    elsewhere: tuple[str, ...] = ()

    def followed_by(self, later: Pushed) -> Pushed:
        """What this push did, and a later round of it that sent some of the same entries again."""
        entries = dict.fromkeys((*self.entries, *later.entries))
        return Pushed(
            tuple(key for key in entries if key not in later.problems),
            self.blobs + later.blobs,
            self.bytes_sent + later.bytes_sent,
            self.bytes_there + later.bytes_there,
            self.diverged,
            {**self.problems, **later.problems},
            self.marks + later.marks,
            self.removed,
            self.elsewhere,
        )


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
            pushed = pushed.followed_by(again.run())
    return pushed


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
        self._waiting: Iterator[Outgoing] = iter(())
        self._first: Outgoing | None = None

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
        status, named = self._status, self._selection is not None and self._selection.keys
        unsent = [key for key in status.elsewhere if key not in self._listed] if named else []
        problems = dict.fromkeys(unsent, _ELSEWHERE) | self._problems
        return Pushed(
            entries=tuple(self._listed),
            blobs=blobs,
            bytes_sent=sent,
            bytes_there=there,
            diverged=status.diverged,
            problems=problems,
            marks=self._marks,
            removed=status.removed,
            elsewhere=() if named else status.elsewhere,
        )

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
        wanted = {d: size for each in self._outgoing() for d, size in each.sizes.items()}
        frames = self._remote.index.frames(wanted)
        self._there = {f.digest: f for f in frames if f.name not in self._doomed.names}
        return {digest: size for digest, size in wanted.items() if digest not in self._there}

    def _outgoing(self) -> Iterator[Outgoing]:
        return outgoing(self._cache, self._status.ahead, self._withheld)

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
            self._remote.store.settle([name])  # who sent it may have been killed before that
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
        if known:
            self._remote.store.settle([pack.name])
        elif pack.frames:
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

    def _list_entry(self, entry: Outgoing) -> None:
        try:
            listed = entry.listed()
        except CorruptDocumentError as problem:
            self._problems[entry.key] = str(problem)
            return
        # Also those that an earlier segment has: a prune may be about to supersede it.
        self._draft.add_frames(self._there[digest] for digest in entry.sizes)
        self._draft.add_entry(listed)
        self._listed.append(entry.key)
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
