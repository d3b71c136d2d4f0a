"""Two sweeps, step by step: what both have, what only one has, and what became another key."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from motools.cache.action import material
from motools.cache.explain import Difference, compare
from motools.digest import canonical_json, hash_bytes
from motools.errors import MotoolsError
from motools.evals.identity import identify
from motools.steps.differences import compare_rows
from motools.sweeps import parameters
from motools.sweeps.plan import TRAINING, Plan, Planned, PlannedCell, State

if TYPE_CHECKING:
    from motools.artifacts import Dataset
    from motools.cache import Cache

MOST_ROWS: Final = 100
"""Differences between the rows of two datasets that are told."""

_DATASET: Final = "inputs.dataset"


class Where(enum.StrEnum):
    """Which of two sweeps has a step."""

    BOTH = "both"
    CHANGED = "changed"
    ONLY_A = "only a"
    ONLY_B = "only b"


@dataclass(frozen=True)
class Side:
    """A step of one of the sweeps, as it was planned.

    Attributes:
        cell: the cell.
        planned: the step.
    """

    cell: PlannedCell
    planned: Planned

    @property
    def scores(self) -> Mapping[str, float | None]:
        """The scores of an evaluation that is in the cache."""
        entry = self.planned.entry
        if entry is None or self.planned.name == TRAINING:
            return {}
        found: Mapping[str, float | None] = entry.value["scores"]
        return found


@dataclass(frozen=True)
class StepDiff:
    """One step in two sweeps.

    Attributes:
        where: ``both`` have its key; ``changed``: both have it, by its name and its
            cell's parameters, with different keys; or only one of them has it.
        a: in the first sweep; None: it is not there.
        b: in the second one.
        differences: from the first to the second, where it changed: of the key's
            fields, and of the rows of datasets, up to a hundred. None, if one
            of them cannot be run, so that nothing is known of its key.
    """

    where: Where
    a: Side | None
    b: Side | None
    differences: tuple[Difference, ...] | None = ()

    @property
    def side(self) -> Side:
        """The step in the first sweep that has it."""
        found = self.a or self.b
        assert found is not None
        return found

    @property
    def scores(self) -> dict[str, tuple[float | None, float | None]]:
        """Scores that both have results for, where the step changed."""
        if self.a is None or self.b is None or self.where is Where.BOTH:
            return {}
        here, there = self.a.scores, self.b.scores
        return {name: (here[name], there[name]) for name in here if name in there}


def diff(a: Plan, b: Plan, cache: Cache) -> list[StepDiff]:
    """Compare two sweeps, each step once.

    Args:
        a: the first one, planned against the cache.
        b: the second one, planned against the same cache.
        cache: the cache.
    """
    finder = _Finder(cache)
    here, there = finder.steps(a), finder.steps(b)
    left = {name: side for name, side in there.items() if name not in here}
    varied = list(parameters.columns(dict.fromkeys((*a.sweep.paths, *b.sweep.paths)), ()))
    unmatched = {_place(side, b, varied): name for name, side in left.items()}
    found = []
    for name, side in here.items():
        if name in there:
            found.append(StepDiff(Where.BOTH, side, there[name]))
            continue
        other = left.pop(unmatched.get(_place(side, a, varied), ""), None)
        if other is None:
            found.append(StepDiff(Where.ONLY_A, side, None))
        else:
            found.append(StepDiff(Where.CHANGED, side, other, finder.differences(side, other)))
    return [*found, *(StepDiff(Where.ONLY_B, None, side) for side in left.values())]


def _place(side: Side, plan: Plan, varied: Sequence[str]) -> str:
    """The parameters of a step's cell and the step's name, whatever its key is."""
    cell = side.cell.cell
    values = [parameters.value(cell, path, plan.sweep.recipe) for path in varied]
    return canonical_json([values, cell.replicate, side.planned.name]).decode()


class _Finder:
    """Finds what steps are made of."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._rows: dict[tuple[str, str], tuple[Difference, ...]] = {}

    def steps(self, plan: Plan) -> dict[str, Side]:
        """Every step by its key or, where it has none yet, by what stands for one."""
        sides = (Side(cell, planned) for cell in plan.cells for planned in cell.steps)
        found: dict[str, Side] = {}
        for side in sides:
            found.setdefault(self._name(side), side)
        return found

    def differences(self, a: Side, b: Side) -> tuple[Difference, ...] | None:
        """What became another key, field by field and row by row."""
        here, there = self._material(a), self._material(b)
        if here is None or there is None:
            return None
        return tuple(self._detailed(compare(there, here), a, b))

    def _name(self, side: Side) -> str:
        if side.planned.key is not None:
            return side.planned.key
        made = self._material(side)
        if made is None:  # it cannot be run: known by its place in its sweep alone
            return f"{side.cell.cell} {side.planned.name} {id(side.planned)}"
        return hash_bytes(canonical_json(made)).hex

    def _material(self, side: Side) -> dict[str, Any] | None:
        planned, cell = side.planned, side.cell.cell
        if planned.entry is not None:
            return planned.entry.action
        if planned.state is State.BLOCKED:
            return None
        try:
            if planned.step is not None:
                return material(planned.step.action(self._cache).canonical)
            training = side.cell.training
            if training is None or training.key is None:
                return None
            task = identify(
                cell.evaluations[planned.name],
                self._cache.memo,
                cell.options.base_dir,
                equivalent=self._cache.settings.equivalent,
            )
        except MotoolsError:
            return None  # it changed since it was planned, and cannot be run any more
        # The model has no digest before it is made; what it is made from tells it from others.
        inputs = {"model": training.key}
        return {"inputs": inputs, "config": dict(task.material), "replicate": cell.replicate}

    def _detailed(
        self, differences: Sequence[Difference], a: Side, b: Side
    ) -> Iterator[Difference]:
        """Each that is between two datasets is followed by those between their rows."""
        for difference in differences:
            yield difference
            here, there = a.cell.cell.dataset, b.cell.cell.dataset
            if difference.field == _DATASET and here is not None and there is not None:
                yield from self._between(here, there, (difference.found, difference.wanted))

    def _between(self, a: Dataset, b: Dataset, digests: tuple[str, str]) -> tuple[Difference, ...]:
        if digests not in self._rows:
            self._rows[digests] = tuple(itertools.islice(compare_rows(a, b), MOST_ROWS))
        return self._rows[digests]
