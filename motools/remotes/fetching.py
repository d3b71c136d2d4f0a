"""Fetching: blobs come from a remote, in as few requests as they need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from motools.cache.cache import Cache
from motools.digest import Digest, hash_chunks
from motools.errors import CorruptBlobError
from motools.remotes.layout import LARGE, PACK
from motools.remotes.packs import RAW, Frame, opened
from motools.remotes.progress import Progress, unseen
from motools.remotes.remote import Remote

_GAP: Final = 1 << 18
"""Bytes that nobody wants and that cost less to fetch along than another request."""


@dataclass(frozen=True)
class _Span:
    """Neighbouring frames that are fetched with one request."""

    name: str
    start: int
    end: int
    frames: tuple[Frame, ...]


def fetch(
    cache: Cache, remote: Remote, sizes: dict[str, int], *, progress: Progress = unseen
) -> dict[str, str]:
    """Have the bytes of some blobs here; :meth:`Blobs.settle` makes them durable.

    Each is hashed on arrival; one that is damaged in one place is looked for in
    the others that it is in.

    Args:
        cache: where they go.
        remote: where they are; its index as last read.
        sizes: digest to size.
        progress: is told of bytes that arrived.

    Returns:
        Digest to why it did not come: not there, or damaged.

    Raises:
        CacheUnavailableError: the remote cannot be reached or refuses.
    """
    places: dict[str, list[Frame]] = defaultdict(list)
    for frame in remote.index.frames(sizes):
        if frame.size == sizes[frame.digest]:
            places[frame.digest].append(frame)
    failed = {d: f"{remote.name} has no blob {d[:12]}" for d in sizes if d not in places}
    wanted = set(places)
    while frames := [places[digest].pop(0) for digest in wanted if places[digest]]:
        failing: dict[str, str] = {}
        spans = list(_spans(frames))
        fetching = _Fetching(cache, remote, progress, remote.connections // len(spans) or 1)
        with remote.pool() as pool:
            for problems in pool.map(fetching.span, spans):
                failing.update(problems)
        for frame in frames:
            failed.pop(frame.digest, None)
        failed.update(failing)
        wanted = set(failing)
    return failed


def check_blobs(remote: Remote, digests: Iterable[str]) -> None:
    """Read some blobs in a remote, and refuse what is not what its digest says.

    Raises:
        CorruptBlobError: a blob is damaged in every place that it is in, or in none.
    """
    wanted = set(digests)
    problems = {digest: f"blob {digest[:12]} is nowhere in it" for digest in wanted}
    good: set[str] = set()
    for frame in remote.index.frames(wanted):
        if frame.digest not in good:
            try:
                _check_frame(remote, frame)
                good.add(frame.digest)
            except CorruptBlobError as problem:
                problems[frame.digest] = str(problem)
    for digest in wanted - good:
        raise CorruptBlobError(problems[digest])


@dataclass(frozen=True)
class Copies:
    """A remote as a place that has copies of blobs, for a repair.

    Attributes:
        remote: its index as last read.
    """

    remote: Remote

    @property
    def name(self) -> str:
        """What the cache calls the remote."""
        return self.remote.name

    def has(self, digests: Sequence[str]) -> set[str]:
        """Which of these blobs the index names."""
        return {frame.digest for frame in self.remote.index.frames(digests)}

    def fetch(self, digest: str, target: Path) -> bool:
        """Write a blob to a file; False: it is nowhere, or damaged wherever it is.

        Raises:
            CacheUnavailableError: the remote cannot be reached or refuses.
        """
        for frame in self.remote.index.frames([digest]):
            try:
                with target.open("wb") as file:
                    found = hash_chunks(_written(_parts(self.remote, frame), file))
            except CorruptBlobError:
                continue
            if found == Digest(frame.digest, frame.size):
                return True
        return False


def _written(parts: Iterable[bytes], file: BinaryIO) -> Iterator[bytes]:
    for part in parts:
        file.write(part)
        yield part


def _check_frame(remote: Remote, frame: Frame) -> None:
    if hash_chunks(_parts(remote, frame)) != Digest(frame.digest, frame.size):
        raise CorruptBlobError(
            f"blob {frame.digest[:12]} is damaged in the remote, at {frame.name}"
        )


def _parts(remote: Remote, frame: Frame) -> Iterator[bytes]:
    """The bytes of a blob, a pack's worth at a time."""
    read, end = remote.store.read_range, frame.offset + frame.stored
    if frame.codec != RAW:
        yield opened(frame, read(frame.name, frame.offset, frame.stored) or b"")
        return
    for start in range(frame.offset, end, PACK):
        part = read(frame.name, start, min(PACK, end - start))
        if not part:
            return  # it ends before, however long the index says that it is
        yield part


def _spans(frames: Iterable[Frame]) -> Iterator[_Span]:
    ordered = sorted(frames, key=lambda frame: (frame.name, frame.offset))
    held: list[Frame] = []
    for frame in ordered:
        if held and not _belongs(held, frame):
            yield _span(held)
            held = []
        held.append(frame)
    if held:
        yield _span(held)


def _belongs(held: list[Frame], frame: Frame) -> bool:
    last = held[-1]
    end = last.offset + last.stored
    return (
        frame.name == last.name
        and frame.offset - end <= _GAP
        and frame.offset + frame.stored - held[0].offset <= PACK
    )


def _span(frames: list[Frame]) -> _Span:
    last = frames[-1]
    return _Span(frames[0].name, frames[0].offset, last.offset + last.stored, tuple(frames))


@dataclass(frozen=True)
class _Fetching:
    """One round of fetching.

    Attributes:
        cache: where blobs go.
        remote: where they are.
        progress: is told of bytes that arrived.
        each: how many connections each large blob may have.
    """

    cache: Cache
    remote: Remote
    progress: Progress
    each: int

    def span(self, span: _Span) -> dict[str, str]:
        """Have the blobs in a span here; returns digest to why it did not come."""
        first = span.frames[0]
        if first.size >= LARGE and first.codec == RAW and len(span.frames) == 1:
            return self._large(first)
        data = self.remote.store.read_range(span.name, span.start, span.end - span.start)
        problems = {}
        for frame in span.frames:
            if data is None:
                problems[frame.digest] = _gone(self.remote, frame)
                continue
            start = frame.offset - span.start
            try:
                blob = opened(frame, data[start : start + frame.stored])
                self.cache.blobs.receive(Digest(frame.digest, frame.size), blob)
            except CorruptBlobError as problem:
                problems[frame.digest] = f"{problem} ({self.remote.url})"
            self.progress.advance(frame.size)
        return problems

    def _large(self, frame: Frame) -> dict[str, str]:
        wanted = Digest(frame.digest, frame.size)
        try:
            there = self.cache.blobs.receive_from(
                self.remote.store, frame.name, wanted, ahead=self.each, seen=self.progress.advance
            )
        except CorruptBlobError:
            return {
                frame.digest: f"blob {frame.digest[:12]} is damaged in the remote, at "
                f"{frame.name} ({self.remote.url})"
            }
        return {} if there else {frame.digest: _gone(self.remote, frame)}


def _gone(remote: Remote, frame: Frame) -> str:
    return (
        f"blob {frame.digest[:12]} is in {remote.name}'s index, but {frame.name} is gone from "
        f"{remote.url}: push it again from a cache that has it"
    )
