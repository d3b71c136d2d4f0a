"""Sentences: what a prune doomed goes a grace period later, and its name another one after that.

A sentence is a file in ``doomed/`` that names objects. Once those are gone that no
segment names, a file beside it says so, and it stays for a second grace period:
a prune that had read it before may be slow to delete, so nobody may have put new
bytes under those names meanwhile. A prune that is killed between any two steps has
left what the next one goes on with.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from motools.cache.store import Store
from motools.errors import CacheUnavailableError
from motools.remotes.doomed import sentence
from motools.remotes.layout import DOOMED
from motools.remotes.remote import Remote

_SENTENCE: Final = ".json"
_DONE: Final = ".done.json"
"""What the name of the file ends with that says that a sentence was carried out."""


@dataclass(frozen=True)
class Due:
    """What is to be done about sentences that were written long enough ago.

    Attributes:
        names: file of each sentence to what it dooms.
        spent: files of sentences that were carried out that long ago, each before the
            one that says so.
    """

    names: dict[str, tuple[str, ...]]
    spent: tuple[str, ...]


def doom(store: Store, names: Iterable[str]) -> None:
    """Say that nobody may begin to rely on some objects."""
    _write(store, f"{DOOMED}/{uuid.uuid4().hex}{_SENTENCE}", names)


def due(store: Store, grace: float, now: float) -> Due:
    """What is due.

    Args:
        store: the remote.
        grace: seconds.
        now: seconds since 1970, as the store has it.

    Raises:
        CacheUnavailableError: a sentence cannot be read, or is damaged.
    """
    files = {file for file, _ in store.names(DOOMED)}
    done = {file for file in files if file.endswith(_DONE)}
    waiting = (file for file in files - done if _done(file) not in done)
    names = {file: tuple(said["names"]) for file, said in _old(store, waiting, grace, now)}
    spent: list[str] = []
    for file, _ in _old(store, done, grace, now):
        spent += (each for each in (file.removesuffix(_DONE) + _SENTENCE, file) if each in files)
    return Due(names, tuple(spent))


def carry_out(remote: Remote, grace: float) -> int:
    """Delete what is due and no segment names; returns how many objects that was.

    Raises:
        CacheUnavailableError: the remote cannot be reached or refuses; run it again.
    """
    store = remote.store
    found = Due({}, ())
    if any(store.names(DOOMED)):
        found = due(store, grace, _now(store))
    remote.refresh()  # afterwards: a push that relied on something due has said so by now
    kept = needed(remote)
    deleted = 0
    for file, names in found.names.items():
        deleted += sum(store.remove(name) for name in names if name not in kept)
        _write(store, _done(file), ())
    for file in found.spent:
        store.remove(file)
    return deleted


def needed(remote: Remote) -> set[str]:
    """The objects that must stay, doomed or not."""
    index = remote.index
    return {*(f.name for f in index.every_frame()), *index.segments(), *index.holding()}


def _old(
    store: Store, files: Iterable[str], grace: float, now: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those files in ``doomed/`` that are so old, and what they say."""
    for file in sorted(files):
        data = store.read(file)
        if data is None:
            continue  # spent, and removed since it was listed
        said = sentence(file, data)
        written = _modified(store, file)
        if written is None:  # what it says itself is from another clock, and may be anything
            written = min(said["made_at"], now)
        if written + grace <= now:
            yield file, said


def _done(file: str) -> str:
    return file.removesuffix(_SENTENCE) + _DONE


def _write(store: Store, file: str, names: Iterable[str]) -> None:
    facts = {"made_at": time.time(), "names": list(names)}
    store.publish_bytes(file, json.dumps(facts).encode() + b"\n")


def _now(store: Store) -> float:
    """What time it is by the clock that files in the store are dated by.

    Those who doom and those who delete are on several machines, whose clocks differ.
    """
    file = f"{DOOMED}/{uuid.uuid4().hex}{_SENTENCE}"  # if it stays, it dooms nothing
    _write(store, file, ())
    try:
        return _modified(store, file) or time.time()
    finally:
        store.remove(file)


def _modified(store: Store, file: str) -> float | None:
    """When a file was written; None: it is gone, or the store knows no times."""
    try:
        return store.modified(file)
    except CacheUnavailableError as problem:
        if isinstance(problem.__cause__, NotImplementedError):
            return None
        raise
