"""``CacheUtils``: a cache as lists of datasets, models and evaluations, for Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from motools.cache import catalogue, removal, sizes
from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cache.records import (
    GROUPS,
    DatasetRecord,
    EvalRecord,
    FunctionRecord,
    ModelRecord,
)
from motools.cache.selection import Selection
from motools.cache.sizes import Figures, SizeBreakdown
from motools.errors import KeyNotFoundError
from motools.markup import table


@dataclass(frozen=True, eq=False)
class CacheStatistics(Figures):
    """What is in a cache. Every field can also be asked for as ``statistics["num_models"]``.

    Attributes:
        num_datasets: how many datasets.
        num_models: how many models.
        num_evals: how many evaluations.
        num_functions: how many results of cached functions.
        total_size_bytes: everything on disk.
        hits: how often entries were used instead of being made.
        seconds_saved: by using them.
        cost: money spent making them, as far as it is known.
        cost_saved: money saved by using them, as far as it is known.
    """

    num_datasets: int
    num_models: int
    num_evals: int
    num_functions: int
    total_size_bytes: int
    hits: int
    seconds_saved: float
    cost: float
    cost_saved: float

    def _repr_html_(self) -> str:
        return table("Cache", ["", "figure"], [(n.replace("_", " "), v) for n, v in self.items()])


class CacheUtils:
    """Lists, figures and clearing. What is cleared goes into the trash; what is pinned stays.

    Args:
        cache_dir: the cache's directory; by default the one in the settings, or ``.motools``.

    Raises:
        CacheNotFoundError: there is none; it is a :class:`FileNotFoundError`.
    """

    def __init__(self, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.cache = Cache.open(cache_dir, create=False)

    def list_datasets(self) -> list[DatasetRecord]:
        """Every dataset, newest first."""
        return [DatasetRecord.of(e) for e in self._select(Selection("dataset"))]

    def list_models(self) -> list[ModelRecord]:
        """Every fine-tuned model, newest first."""
        return [ModelRecord.of(e) for e in self._select(Selection("model"))]

    def list_evals(
        self, model_id: str | None = None, task_id: str | None = None
    ) -> list[EvalRecord]:
        """Every evaluation, newest first.

        Args:
            model_id: only of this model: its id, or the beginning of it.
            task_id: only of this task.
        """
        chosen = Selection("eval", _only(model_id), _only(task_id))
        return [EvalRecord.of(e) for e in self._select(chosen)]

    def list_functions(self) -> list[FunctionRecord]:
        """Every result of a cached function, newest first."""
        return [FunctionRecord.of(e) for e in self._select(Selection("function"))]

    def get_stats(self) -> CacheStatistics:
        """How much is in the cache, and what it saved."""
        by_kind = self.cache.statistics.by_kind()
        counts = dict.fromkeys(GROUPS, 0)
        counts.update({g: by_kind[kind].entries for g, kind in GROUPS.items() if kind in by_kind})
        return CacheStatistics(
            **{f"num_{group}": count for group, count in counts.items()},
            total_size_bytes=self.get_size_breakdown().total,
            hits=sum(kind.hits for kind in by_kind.values()),
            seconds_saved=sum(kind.seconds_saved for kind in by_kind.values()),
            cost=sum(kind.cost for kind in by_kind.values()),
            cost_saved=sum(kind.cost_saved for kind in by_kind.values()),
        )

    def get_size_breakdown(self) -> SizeBreakdown:
        """What takes how many bytes on disk."""
        return sizes.breakdown(self.cache)

    def clear_datasets(self, hashes: Sequence[str] | None = None, *, files: bool = False) -> int:
        """Clear datasets.

        Args:
            hashes: only these: hashes, keys or file ids, or unique beginnings; by default all.
            files: also the blobs that nothing else uses.

        Returns:
            How many went into the trash; a hash that is not there counts nothing.
        """
        return self._clear_named("dataset", hashes, files=files)

    def clear_models(self, ids: Sequence[str] | None = None, *, files: bool = False) -> int:
        """Clear models.

        Args:
            ids: only these: model ids (keys), or unique beginnings; by default all.
            files: also the blobs that nothing else uses.

        Returns:
            How many went into the trash; an id that is not there counts nothing.
        """
        return self._clear_named("model", ids, files=files)

    def clear_evals(
        self,
        model_ids: Sequence[str] | None = None,
        task_ids: Sequence[str] | None = None,
        *,
        files: bool = False,
    ) -> int:
        """Clear evaluations.

        Args:
            model_ids: only of these models.
            task_ids: only of these tasks; with ``model_ids``, both must fit.
            files: also the blobs that nothing else uses.

        Returns:
            How many went into the trash.
        """
        return self._clear(self._select(Selection("eval", model_ids, task_ids)), files=files)

    def clear_functions(self, *, files: bool = False) -> int:
        """Clear every result of a cached function; returns how many went into the trash."""
        return self._clear(self._select(Selection("function")), files=files)

    def clear_all(self, *, files: bool = False) -> dict[str, int]:
        """Clear everything.

        Returns:
            How many went into the trash, under ``datasets``, ``models``, ``evals``
            and ``functions``.

        Raises:
            RemovalError: an entry is being made again right now; nothing was removed.
        """
        entries, _ = catalogue.pinned_apart(self.cache, self._select(Selection()))
        self._clear(entries, files=files)
        return {g: sum(entry.kind == kind for entry in entries) for g, kind in GROUPS.items()}

    def _select(self, selection: Selection) -> list[Entry]:
        return catalogue.select(self.cache, selection)

    def _clear_named(self, kind: str, names: Sequence[str] | None, *, files: bool) -> int:
        if names is None:
            return self._clear(self._select(Selection(kind)), files=files)
        entries: list[Entry] = []
        for name in names:
            try:
                entries += catalogue.pick(self.cache, [name], Selection(kind))
            except KeyNotFoundError:
                continue  # it is gone already; the count says so
        return self._clear(entries, files=files)

    def _clear(self, entries: Sequence[Entry], *, files: bool) -> int:
        unpinned, _ = catalogue.pinned_apart(self.cache, entries)
        plan = removal.plan(self.cache, unpinned, files=files)
        return catalogue.clear(self.cache, plan).entries


def _only(value: str | None) -> list[str] | None:
    return None if value is None else [value]
