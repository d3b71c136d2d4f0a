"""Verify a remote: what its index says against the objects that are there.

What is found damaged is remembered beside the copy of the index: from then on
nothing here relies on it, so the next push from a cache that has it sends it again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from motools.cache.arrival import needs, parse
from motools.cache.cache import Cache
from motools.digest import Digest, hash_chunks
from motools.errors import CorruptBlobError, CorruptDocumentError
from motools.remotes.index import in_parts
from motools.remotes.layout import BLOBS, PACK, PACKS
from motools.remotes.packs import RAW, Frame, opened
from motools.remotes.remote import Remote, unreadable
from motools.remotes.segments import Listed
from motools.upkeep.findings import Damage, Finding
from motools.upkeep.health import Progress, Verified, remember

Wrong = tuple[Damage, str]
"""What kind of thing is wrong with a blob, and what exactly."""

_PAGE: Final = 500


def verify_remote(
    cache: Cache,
    remote: Remote,
    keys: Sequence[str] | None = None,
    *,
    read_data: bool = False,
    report: Callable[[Progress], None] | None = None,
) -> Verified:
    """Hold a remote's records against its packs and blobs. Nothing in it is changed.

    Args:
        cache: that knows it.
        remote: which; it may have been opened with segments of its index damaged.
        keys: only these entries; None: all.
        read_data: read and hash every byte, too.
        report: told how far it has come, now and then.

    Raises:
        CacheUnavailableError: the remote cannot be read.
    """
    started, began = time.time(), time.monotonic()
    findings = [_named(remote, found) for found in _segments(remote)]
    every = remote.index.keys() if keys is None else list(keys)
    blobs = _Blobs(remote, read_data=read_data)
    done = 0
    for part in in_parts(every, _PAGE):
        listed = list(remote.index.listed(part))
        blobs.look_at({digest for each in listed for digest in each.blobs})
        for each in listed:
            findings += (_named(remote, found) for found in _damaged(each, blobs.wrong))
        done += len(part)
        if report is not None:
            report(Progress(done, len(every), blobs.bytes))
    remote.index.set_damaged(blobs.seen, blobs.damaged)
    seconds = time.monotonic() - began
    findings = list(dict.fromkeys(findings))
    found = Verified(started, seconds, done, len(blobs.seen), blobs.bytes, tuple(findings))
    if keys is None:
        remember(cache, found, remote.url)
    return found


def _segments(remote: Remote) -> Iterator[Finding]:
    """The segments that cannot be read: what they say is not looked at, for it is not known."""
    problems: list[CorruptDocumentError] = []
    remote.index.refresh(problems.append)
    for problem in problems:
        yield Finding("", 0, "", Damage.DOCUMENT, unreadable(remote.url, problem))


class _Blobs:
    """The blobs of a remote, each looked at once, in every place that it is in."""

    def __init__(self, remote: Remote, *, read_data: bool) -> None:
        names = remote.store.names
        self.wrong: dict[str, Wrong] = {}
        self.seen: set[str] = set()
        self.damaged: list[tuple[str, str]] = []
        self.bytes = 0
        self._remote = remote
        self._read_data = read_data
        self._objects = {name: size for folder in (PACKS, BLOBS) for name, size in names(folder)}

    def look_at(self, digests: set[str]) -> None:
        """Find out what is wrong with some blobs."""
        new = digests - self.seen
        self.seen |= new
        places: dict[str, list[Frame]] = defaultdict(list)
        for frame in self._remote.index.frames(new, damaged=True):
            places[frame.name].append(frame)
        for digest in new - {frame.digest for frames in places.values() for frame in frames}:
            self.wrong[digest] = Damage.MISSING, "no segment says where it is"
        with self._remote.pool() as pool:
            for found in pool.map(lambda each: list(self._check(*each)), places.items()):
                for frame, wrong in found:
                    if wrong is None:
                        self.bytes += frame.stored if self._read_data else 0
                    else:
                        self.damaged.append((frame.digest, frame.name))
                        self.wrong[frame.digest] = wrong

    def _check(self, name: str, frames: list[Frame]) -> Iterator[tuple[Frame, Wrong | None]]:
        size = self._objects.get(name)
        if size is None:  # it may be newer than the listing
            size = self._remote.store.size(name)
        for frame in frames:
            if size is None:
                yield frame, (Damage.MISSING, f"{name} is not there")
            elif frame.offset + frame.stored > size:
                yield frame, (Damage.MISSING, f"{name} is cut short: it has {size} bytes")
            elif self._read_data and not self._is_right(frame):
                yield frame, (Damage.ALTERED, f"its bytes in {name} were altered")
            else:
                yield frame, None

    def _is_right(self, frame: Frame) -> bool:
        try:
            return hash_chunks(self._chunks(frame)) == Digest(frame.digest, frame.size)
        except CorruptBlobError:
            return False

    def _chunks(self, frame: Frame) -> Iterator[bytes]:
        read, end = self._remote.store.read_range, frame.offset + frame.stored
        if frame.codec != RAW:
            yield opened(frame, read(frame.name, frame.offset, frame.stored) or b"")
            return
        for start in range(frame.offset, end, PACK):
            yield read(frame.name, start, min(PACK, end - start)) or b""


def _damaged(listed: Listed, wrong: Mapping[str, Wrong]) -> Iterator[Finding]:
    """What is wrong with what a segment says of an entry."""
    try:
        rows = parse(listed.document, listed.key)
    except CorruptDocumentError as problem:
        yield Finding(listed.key, 0, "", Damage.DOCUMENT, str(problem))
        return
    said = {(row[1], row[8], row[9]) for row in rows}
    if not said <= set(listed.generations):
        reason = "a segment says something else of it than its document"
        yield Finding(listed.key, rows[-1][1], rows[-1][2], Damage.RECORD, reason)
    for row in rows:
        yield from _lacking(row, set(listed.blobs), wrong)


def _lacking(
    row: tuple[Any, ...], named: Iterable[str], wrong: Mapping[str, Wrong]
) -> Iterator[Finding]:
    tree, sizes = needs(row)
    if not sizes.keys() <= set(named):
        yield Finding(row[0], row[1], row[2], Damage.LINKS, "its segment misses a blob")
    for file in tree.files:
        if file.digest in wrong:
            damage, reason = wrong[file.digest]
            yield Finding(row[0], row[1], row[2], damage, reason, file.path, file.digest)


def _named(remote: Remote, finding: Finding) -> Finding:
    return Finding(**{**vars(finding), "remote": remote.name})
