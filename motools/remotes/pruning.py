"""Prune a remote: what nobody needs goes, beside others who read and push.

Fossil collection, in two phases. The first writes what is needed of segments and
of packs that are mostly dead anew, supersedes the old ones, and names what is
left over in ``doomed/``. From then on nobody may begin to rely on it. The second,
a grace period later, deletes what no segment names by then. The period MUST be
longer than any push takes from reading the index to its last segment: a push
that had relied on a doomed object has either said so in a segment, or noticed.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from motools.cache.entry import Entry
from motools.cache.store import Unfinished
from motools.errors import CorruptBlobError
from motools.remotes import marks
from motools.remotes.doomed import Doomed, sentence
from motools.remotes.index import in_parts
from motools.remotes.layout import BLOBS, DOOMED, PACK, PACKS, is_object
from motools.remotes.packs import Frame, opened, packed
from motools.remotes.remote import Remote
from motools.remotes.segments import Draft, Listed, Removed

GRACE: Final = 86_400.0
"""Seconds between the phases."""

_MOSTLY_DEAD: Final = 0.5
_MANY_SEGMENTS: Final = 32
_SEGMENT: Final = 64 << 20


@dataclass(frozen=True)
class PrunePlan:
    """What pruning a remote would do.

    Attributes:
        dead: objects that no entry needs, with their sizes.
        sparse: packs of which little is needed, which goes into new ones, with their sizes.
        segments: those of the index that would be written anew.
        due: objects that an earlier prune doomed long enough ago.
        unfinished: what somebody began to send that long ago, and never finished.
        kept: where all that is needed is.
        removed: entries that would be removed, newest generation of each key.
    """

    dead: dict[str, int]
    sparse: dict[str, int]
    segments: tuple[str, ...]
    due: tuple[str, ...]
    unfinished: tuple[Unfinished, ...]
    kept: tuple[Frame, ...]
    removed: tuple[Entry, ...] = ()

    @property
    def bytes_doomed(self) -> int:
        """Bytes in objects that go after the grace period; some come back in new packs."""
        return sum(self.dead.values()) + sum(self.sparse.values())

    @property
    def bytes_freed(self) -> int:
        """The same, with what was never finished, which goes now."""
        return self.bytes_doomed + sum(each.size for each in self.unfinished)


def plan(remote: Remote, *, grace: float = GRACE, remove: Sequence[Entry] = ()) -> PrunePlan:
    """What pruning would do. Nothing is changed.

    Args:
        remote: its index as last read.
        grace: seconds that what was doomed must have been.
        remove: entries that are to be removed, all generations of each; others who have
            them do not push them again unless they name them.
    """
    doomed = Doomed.of(remote.store).names
    names = remote.store.names
    sizes = {name: size for folder in (PACKS, BLOBS) for name, size in names(folder)}
    sizes = {name: size for name, size in sizes.items() if is_object(name)}  # the rest is not ours
    kept = _chosen(remote, {entry.key for entry in remove})
    used: Counter[str] = Counter()
    for frame in kept:
        used[frame.name] += frame.stored
    dead = {n: size for n, size in sizes.items() if n not in used and n not in doomed}
    sparse = {
        name: size
        for name, size in sizes.items()
        if name.startswith(PACKS) and 0 < used[name] < _MOSTLY_DEAD * size
    }
    segments = remote.index.segments()
    named = {frame.name for frame in remote.index.every_frame()}
    again = remove or sparse or named - used.keys() or len(segments) > _MANY_SEGMENTS
    due = tuple(name for _, name in _due(remote, grace))
    return PrunePlan(
        dead,
        sparse,
        tuple(segments) if again else (),
        due,
        tuple(each for each in remote.store.unfinished() if each.started + grace <= time.time()),
        tuple(kept),
        tuple(remove),
    )


def prune(remote: Remote, planned: PrunePlan, *, grace: float = GRACE) -> int:
    """Carry a plan out: delete what is due or was never finished, and doom what is dead.

    Returns:
        How many objects were deleted.

    Raises:
        CorruptBlobError: a pack that was to be written anew is damaged; nothing was doomed.
        CacheUnavailableError: the remote cannot be reached or refuses; run it again.
    """
    deleted = _delete_due(remote, grace)
    deleted += sum(remote.store.abandon(each) for each in planned.unfinished)
    superseded = _write_anew(remote, planned) if planned.segments else ()
    names = [*planned.dead, *(planned.sparse if superseded else ()), *superseded]
    if names:
        facts = {"made_at": time.time(), "names": names}
        remote.store.publish_bytes(
            f"{DOOMED}/{uuid.uuid4().hex}.json", json.dumps(facts).encode() + b"\n"
        )
    return deleted


def _chosen(remote: Remote, removed: Collection[str]) -> list[Frame]:
    """One place for each blob that is needed: where it is whole, that of which most is needed."""
    damaged = remote.index.damaged()
    needed = remote.index.needed(without=removed)
    frames = [frame for frame in remote.index.every_frame() if frame.digest in needed]
    weight: Counter[str] = Counter()
    for frame in frames:
        weight[frame.name] += frame.stored
    best: dict[str, Frame] = {}
    for frame in sorted(
        frames, key=lambda f: ((f.digest, f.name) in damaged, -weight[f.name], f.name)
    ):
        best.setdefault(frame.digest, frame)
    return list(best.values())


def _write_anew(remote: Remote, planned: PrunePlan) -> tuple[str, ...]:
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
    draft.supersede(planned.segments)
    draft.publish(remote.store)
    return planned.segments


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


def _due(remote: Remote, grace: float) -> Iterator[tuple[str, str]]:
    """Sentence and name of what was doomed long enough ago and no segment names."""
    named = {frame.name for frame in remote.index.every_frame()} | set(remote.index.segments())
    for file, _ in remote.store.names(DOOMED):
        data = remote.store.read(file)
        if data is None:
            continue
        facts = sentence(file, data)
        if facts["made_at"] + grace <= time.time():
            yield from ((file, name) for name in facts["names"] if name not in named)
            yield file, ""


def _delete_due(remote: Remote, grace: float) -> int:
    remote.refresh()  # a push may have named something since the plan was made
    deleted = 0
    for file, name in list(_due(remote, grace)):
        if name:
            deleted += remote.store.remove(name)
        else:
            remote.store.remove(file)  # last, so that a prune that is killed goes on
    return deleted
