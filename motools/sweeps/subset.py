"""Which steps of a sweep are meant: by what they are, and by the cell's values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from motools.configs import unknown_name
from motools.errors import ConfigError
from motools.sweeps import parameters
from motools.sweeps.cell import Cell
from motools.sweeps.paths import EVALS, EVALUATE, MODELS, STEPS
from motools.sweeps.plan import Plan, Planned, PlannedCell
from motools.sweeps.sweep import Sweep

REPLICATE: Final = "replicate"
_SHOWN: Final = 8


@dataclass(frozen=True)
class Subset:
    """Some steps of a sweep.

    Attributes:
        names: ``models``, ``evals``, or names of evaluations; none: every step.
        values: dot path, or ``replicate``, and the values that a cell may have there.
        recipe: what the cells of the sweep start from.
    """

    names: frozenset[str] = frozenset()
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, words: Iterable[str], sweep: Sweep) -> Self:
        """Some steps as they are written: ``evals``, ``greets``, ``learning_rate=1e-4,1e-3``.

        Args:
            words: names add up; a step must fit every ``path=value``.
            sweep: whose steps.

        Raises:
            ConfigError: a name or a path that the sweep does not have.
        """
        known = [*STEPS, *(sweep.recipe.get(EVALUATE) or {})]
        paths = (*sweep.paths, REPLICATE)
        names: set[str] = set()
        values = []
        for word in words:
            path, equals, text = word.partition("=")
            if not equals:
                if word not in known:
                    raise ConfigError(unknown_name(word, word, known))
                names.add(word)
                continue
            found = [each for each in paths if each == path or each.endswith(f".{path}")]
            if len(found) != 1:
                raise ConfigError(unknown_name(path, path, list(paths)))
            values.append((found[0], tuple(text.split(","))))
        return cls(frozenset(names), tuple(values), sweep.recipe)

    def has(self, cell: PlannedCell, step: Planned) -> bool:
        """Whether a step of a cell is meant."""
        kind = EVALS if step is not cell.training else MODELS
        if self.names and kind not in self.names:
            called = {name for name, each in cell.named if each is step}
            if not self.names & called:
                return False
        return all(self._fits(cell.cell, path, texts) for path, texts in self.values)

    def check(self, plan: Plan) -> None:
        """Refuse a value that no cell has, which else would mean nothing, and nothing be done.

        Args:
            plan: of the sweep.

        Raises:
            ConfigError: with the value, and those that there are.
        """
        for path, texts in self.values:
            for text in texts:
                if not any(self._fits(each.cell, path, (text,)) for each in plan.cells):
                    there = dict.fromkeys(str(self._at(each.cell, path)) for each in plan.cells)
                    shown = ", ".join([*there][:_SHOWN]) + ", …" * (len(there) > _SHOWN)
                    raise ConfigError(f"{path}={text}: no cell has that; there are {shown}")

    def _fits(self, cell: Cell, path: str, texts: Iterable[str]) -> bool:
        value = self._at(cell, path)
        given = str(cell.parameters.get(path, value))
        return any(text == given or _means(text, value) for text in texts)

    def _at(self, cell: Cell, path: str) -> Any:
        if path == REPLICATE:
            return cell.replicate
        return parameters.value(cell, path, self.recipe)


def _means(text: str, value: Any) -> bool:
    """Whether a value may be written so, in Python or in YAML."""
    if value is None or isinstance(value, bool):
        return text in (str(value), "null" if value is None else str(value).lower())
    if isinstance(value, (int, float)):
        try:
            return int(text) == value
        except ValueError:
            pass
        try:
            return float(text) == value
        except ValueError:
            return False
    return text == str(value)
