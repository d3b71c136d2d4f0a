"""What an entry was made from, and what was made from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motools.artifacts import Model
from motools.steps import train, upload
from motools.steps.train import model_digest

if TYPE_CHECKING:
    from motools.cache import Cache, Entry


@dataclass(frozen=True)
class Relative:
    """An entry that another comes from, or that comes from it.

    Attributes:
        entry: the entry.
        steps: how far away: 1 for what it was made from, -1 for what was made from it.
        name: of the input between the two.
    """

    entry: Entry
    steps: int
    name: str


def lineage(cache: Cache, entry: Entry) -> list[Relative]:
    """Everything that an entry comes from, the farthest first, then all that comes from it.

    An input that is in no entry of the cache (a base model, say) is not listed.
    """
    entries = cache.entries()
    above = list(_above(entry, makers(entries), 1))
    below = list(_below(entry, entries, -1))
    return [*reversed(above), *below]


def makers(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Digest of an input to the first of these entries that made it."""
    made: dict[str, Entry] = {}
    for each in entries:
        for digest in stands_for(each):
            made.setdefault(digest, each)
    return made


def stands_for(entry: Entry) -> set[str]:
    """The digests by which an entry is an input of others."""
    if entry.kind == upload.KIND:
        return set(entry.action["inputs"].values())
    if entry.kind != train.KIND or not (entry.remote or "base_model" in entry.action["inputs"]):
        return set()
    whole = model_digest(entry)
    model = Model("", key=entry.key, digest=whole)
    kept = entry.value.get("checkpoints", ()) if isinstance(entry.value, dict) else ()
    return {whole, *(str(model.at_step(step).digest) for step in kept)}


def _above(entry: Entry, made: dict[str, Entry], steps: int) -> Iterator[Relative]:
    for name, digest in sorted(entry.action["inputs"].items()):
        parent = made.get(digest)
        if parent is not None and parent.key != entry.key:
            yield Relative(parent, steps, name)
            yield from _above(parent, made, steps + 1)


def _below(entry: Entry, entries: list[Entry], steps: int) -> Iterator[Relative]:
    mine = stands_for(entry)
    for each in entries if mine else ():
        for name, digest in sorted(each.action["inputs"].items()):
            if digest in mine and each.key != entry.key:
                yield Relative(each, steps, name)
                yield from _below(each, entries, steps - 1)
