"""Sizes: what takes how much space in a cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from motools.cache import layout
from motools.cache.cache import Cache

_FIELD_OF: Final = {
    "dataset": "datasets",
    "model": "runs",
    "eval": "evals",
    "function": "functions",
}
_USED: Final = (
    "SELECT l.digest, MIN(e.kind) FROM entry_blobs l JOIN entries e "
    "ON e.key = l.key AND e.generation = l.generation WHERE e.state = 'live' GROUP BY l.digest"
)


class Figures(Mapping[str, Any]):
    """Base of frozen dataclasses whose fields can also be asked for as ``figures["name"]``."""

    def __getitem__(self, name: str) -> Any:
        if name not in tuple(self):
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (spec.name for spec in fields(self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, eq=False)
class SizeBreakdown(Figures):
    """Bytes on disk, each counted once: a blob that several kinds share counts for one.

    Attributes:
        datasets: files of datasets.
        runs: files of models, and what running jobs hold.
        evals: logs of evaluations.
        functions: files that cached functions returned.
        database: the tables, the documents they can be made again from, and texts.
        trash: what was cleared or set aside, until its time has passed.
        unused: blobs that no entry needs, and what is being written.
    """

    datasets: int
    runs: int
    evals: int
    functions: int
    database: int
    trash: int
    unused: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.values())


def breakdown(cache: Cache) -> SizeBreakdown:
    """Measure a cache."""
    used = dict(cache.database.read(_USED))
    sizes = dict.fromkeys((spec.name for spec in fields(SizeBreakdown)), 0)
    for name, size in cache.store.names(layout.OBJECTS):
        kind = used.get(layout.key_in(name))
        sizes["unused" if kind is None else _FIELD_OF.get(kind, "functions")] += size
    root = cache.root
    sizes["evals"] += _bytes_below(root / layout.EVALS)
    sizes["runs"] += _bytes_below(root / layout.JOBS)
    sizes["unused"] += _bytes_below(root / layout.TMP)
    sizes["trash"] += _stored(cache, layout.TRASH, layout.QUARANTINE)
    sizes["database"] += cache.database.size()
    documents = (layout.ENTRIES, layout.JOURNAL, layout.MARKS, layout.TEXTS)
    sizes["database"] += _stored(cache, *documents)
    return SizeBreakdown(**sizes)


def _stored(cache: Cache, *folders: str) -> int:
    return sum(size for folder in folders for _, size in cache.store.names(folder))


def _bytes_below(folder: Path) -> int:
    return sum(_size(Path(place, file)) for place, _, files in os.walk(folder) for file in files)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0  # removed since it was listed
