"""Prune a remote: what nobody needs goes, beside others who read and push.

Fossil collection, in two phases. The first writes what is needed of segments and
of packs that are mostly dead anew, supersedes the old ones, and names what is
left over in ``doomed/``. From then on nobody may begin to rely on it. The second,
a grace period later, deletes what no segment names by then. The period MUST be
longer than any push takes from reading the index to its last segment: a push
that had relied on a doomed object has either said so in a segment, or noticed.
It MUST be longer than any prune takes, too: the names of what went stay doomed for
another period, since a slower prune may still be deleting them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from motools.cache.entry import Entry
from motools.cache.store import Unfinished
from motools.errors import CorruptBlobError
from motools.remotes import marks
from motools.remotes.doomed import Doomed
from motools.remotes.index import in_parts
from motools.remotes.layout import BLOBS, INDEX, PACK, PACKS, is_object
from motools.remotes.packs import Frame, opened, packed
from motools.remotes.remote import Remote
from motools.remotes.segments import Draft, Listed, Removed
from motools.remotes.sentences import carry_out, doom, due, needed

GRACE: Final = 86_400.0
"""Seconds between the phases, and until the names of what went may be used again."""

_MOSTLY_DEAD: Final = 0.5
_MANY_SEGMENTS: Final = 32
_SEGMENT: Final = 64 << 20


@dataclass(frozen=True)
class PrunePlan:
    """What pruning a remote would do.

    Attributes:
        dead: objects that no entry needs, with their sizes.
        sparse: packs of which little is needed, which goes into new ones, with their sizes.
        segments: those of the index that would be written anew, with their sizes.
        due: objects that an earlier prune doomed long enough ago, with their sizes.
        unfinished: what somebody began to send that long ago, and never finished.
        kept: where all that is needed is.
        removed: entries that would be removed, newest generation of each key.
        missing: objects that the index names, and that are not there or were cut short.
    """

    dead: dict[str, int]
    sparse: dict[str, int]
    segments: dict[str, int]
    due: dict[str, int]
    unfinished: tuple[Unfinished, ...]
    kept: tuple[Frame, ...]
    removed: tuple[Entry, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def doomed(self) -> dict[str, int]:
        """Objects that go after the grace period, with their sizes; some come back in new ones."""
        return {**self.dead, **self.sparse, **self.segments}

    @property
    def bytes_doomed(self) -> int:
        """Bytes in them."""
        return sum(self.doomed.values())

    @property
    def bytes_now(self) -> int:
        """Bytes in what is deleted at once."""
        return sum(self.due.values()) + sum(each.size for each in self.unfinished)

    @property
    def bytes_freed(self) -> int:
        """Bytes in all that goes, now and after the grace period."""
        return self.bytes_doomed + self.bytes_now


def plan(remote: Remote, *, grace: float = GRACE, remove: Sequence[Entry] = ()) -> PrunePlan:
    """What pruning would do. Nothing is changed.

    Args:
        remote: its index as last read.
        grace: seconds that what was doomed must have been.
        remove: entries that are to be removed, all generations of each; others who have
            them do not push them again unless they name them.
    """
    doomed = Doomed.of(remote.store).names
    index, now = remote.index, time.time()
    sizes = {
        name: size
        for folder in (PACKS, BLOBS)
        for name, size in remote.store.names(folder)
        if is_object(name)  # the rest is not ours
    }
    places = index.every_frame()
    broken = {frame for frame in places if not _is_there(frame, sizes)}
    kept = _chosen(remote, {entry.key for entry in remove}, broken, doomed)
    used: Counter[str] = Counter()
    for frame in kept:
        used[frame.name] += frame.stored
    lacking = {frame.name for frame in kept if frame in broken}
    sparse = {
        name: size
        for name, size in sizes.items()
        if name.startswith(PACKS) and 0 < used[name] < _MOSTLY_DEAD * size and name not in lacking
    }
    every = dict(remote.store.names(INDEX))
    segments, old = index.segments(), index.superseded()
    unneeded = {n: size for n, size in sizes.items() if n not in used}
    # Also what a prune superseded that was killed before it had doomed it.
    unneeded.update((name, every[name]) for name in old if name in every)
    again = remove or sparse or {f.name for f in places} - used.keys()
    kept_on = needed(remote)
    return PrunePlan(
        {name: size for name, size in unneeded.items() if name not in doomed},
        sparse,
        {n: every.get(n, 0) for n in segments} if again or len(segments) > _MANY_SEGMENTS else {},
        {
            name: sizes.get(name, every.get(name, 0))
            for names in due(remote.store, grace, now).names.values()
            for name in names
            if name not in kept_on
        },
        tuple(
            each for each in remote.store.unfinished((PACKS, BLOBS)) if each.started + grace <= now
        ),
        tuple(kept),
        tuple(remove),
        tuple(sorted({frame.name for frame in broken})),
    )


def prune(remote: Remote, planned: PrunePlan, *, grace: float = GRACE) -> int:
    """Carry a plan out: delete what is due or was never finished, and doom what is dead.

    Returns:
        How many objects were deleted.

    Raises:
        CorruptBlobError: a pack that was to be written anew is damaged; nothing was doomed.
        CacheUnavailableError: the remote cannot be reached or refuses; run it again.
    """
    deleted = carry_out(remote, grace)
    deleted += sum(remote.store.abandon(each) for each in planned.unfinished)
    if planned.segments:
        _write_anew(remote, planned)
    if planned.doomed:
        doom(remote.store, planned.doomed)
    return deleted


def _is_there(frame: Frame, sizes: Mapping[str, int]) -> bool:
    return frame.offset + frame.stored <= sizes.get(frame.name, -1)


def _chosen(
    remote: Remote, removed: Collection[str], broken: Collection[Frame], doomed: Collection[str]
) -> list[Frame]:
    """One place for each blob that is needed: where it is whole, that of which most is needed."""
    damaged = remote.index.damaged()
    needed = remote.index.needed(without=removed)
    frames = [frame for frame in remote.index.every_frame() if frame.digest in needed]
    weight: Counter[str] = Counter()
    for frame in frames:
        weight[frame.name] += frame.stored

    def worth(frame: Frame) -> tuple[bool, bool, int, str]:
        lost = frame in broken or (frame.digest, frame.name) in damaged
        return lost, frame.name in doomed, -weight[frame.name], frame.name

    best: dict[str, Frame] = {}
    for frame in sorted(frames, key=worth):
        best.setdefault(frame.digest, frame)
    return list(best.values())


def _write_anew(remote: Remote, planned: PrunePlan) -> None:
    """New packs, then new segments, the last of which supersedes the old ones."""
    frames = {f.digest: f for f in planned.kept if f.name not in planned.sparse}
    moving = [f for f in planned.kept if f.name in planned.sparse]
    frames.update((frame.digest, frame) for frame in _repacked(remote, moving))
    made_at = remote.index.oldest()
    draft = Draft(made_at)
    removed = {entry.key for entry in planned.removed}
    gone = remote.index.removed()
    for listed in _entries(remote):
        if listed.key in removed:
            gone |= {(listed.key, n, checksum) for n, checksum, _ in listed.generations}
            continue
        gone -= {(listed.key, n, checksum) for n, checksum, _ in listed.generations}
        if any(digest not in frames for digest in listed.blobs):
            continue  # it was incomplete before
        if draft.size > _SEGMENT:
            draft.publish(remote.store)
            draft = Draft(made_at)
        draft.add_frames(frames[digest] for digest in listed.blobs)
        draft.add_entry(listed)
    for marked in marks.kept(remote.index):
        draft.add_marks(marked)
    for key, generation, checksum in sorted(gone):
        draft.add_removed(Removed(key, ((generation, checksum),)))
    # Those that were superseded before, too, as long as they are there: what says so goes as well.
    there = {name for name, _ in remote.store.names(INDEX)}
    draft.supersede([*planned.segments, *there.intersection(remote.index.superseded())])
    draft.publish(remote.store)


def _repacked(remote: Remote, frames: Iterable[Frame]) -> Iterator[Frame]:
    fresh = Doomed.of(remote.store).fresh
    held: list[tuple[str, bytes]] = []
    for digest, data in _read(remote, frames):
        if held and sum(len(blob) for _, blob in held) + len(data) > PACK:
            yield from _publish_pack(remote, held, fresh)
            held = []
        held.append((digest, data))
    if held:
        yield from _publish_pack(remote, held, fresh)


def _publish_pack(
    remote: Remote, blobs: list[tuple[str, bytes]], fresh: Callable[[str], str]
) -> tuple[Frame, ...]:
    pack = packed(blobs, fresh)
    remote.store.publish_bytes(pack.name, pack.data)
    return pack.frames


def _read(remote: Remote, frames: Iterable[Frame]) -> Iterator[tuple[str, bytes]]:
    for frame in sorted(frames, key=lambda f: (f.name, f.offset)):
        stored = remote.store.read_range(frame.name, frame.offset, frame.stored)
        if stored is None:
            raise CorruptBlobError(f"{frame.name} is gone from {remote.url}; nothing was doomed")
        yield frame.digest, opened(frame, stored)


def _entries(remote: Remote) -> Iterator[Listed]:
    """What the new segments say: of each key what is not said better by another document."""
    for part in in_parts(remote.index.keys()):
        said: dict[str, list[Listed]] = {key: [] for key in part}
        for listed in remote.index.listed(part):
            said[listed.key].append(listed)
        for several in said.values():
            yield from _without_repeats(several)


def _without_repeats(several: list[Listed]) -> Iterator[Listed]:
    for place, listed in enumerate(several):
        mine = set(listed.generations)
        others = ((p, set(other.generations)) for p, other in enumerate(several))
        if not any(mine < theirs or (mine == theirs and p < place) for p, theirs in others):
            yield listed
