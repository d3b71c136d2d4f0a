"""Which steps of a sweep are meant: by what they are, and by the cell's values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from motools.configs import unknown_name
from motools.errors import ConfigError
from motools.sweeps.paths import EVALUATE
from motools.sweeps.plan import TRAINING, Planned, PlannedCell
from motools.sweeps.sweep import Sweep

EVALS: Final = "evals"
MODELS: Final = "models"


@dataclass(frozen=True)
class Subset:
    """Some steps of a sweep.

    Attributes:
        names: ``models``, ``evals``, or names of evaluations; none: every step.
        values: dot path, or the end of one, and the values that a cell may have there.
    """

    names: frozenset[str] = frozenset()
    values: tuple[tuple[str, frozenset[str]], ...] = ()

    @classmethod
    def parse(cls, words: Iterable[str], sweep: Sweep) -> Self:
        """Some steps as they are written: ``evals``, ``greets``, ``learning_rate=1e-4,1e-3``.

        Args:
            words: names add up; a step must fit every ``path=value``.
            sweep: whose steps.

        Raises:
            ConfigError: a name or a path that the sweep does not have.
        """
        known = [MODELS, EVALS, *(sweep.recipe.get(EVALUATE) or {})]
        paths = sweep.paths
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
            values.append((found[0], frozenset(text.split(","))))
        return cls(frozenset(names), tuple(values))

    def has(self, cell: PlannedCell, step: Planned) -> bool:
        """Whether a step of a cell is meant."""
        kind = MODELS if step.name == TRAINING else EVALS
        if self.names and not self.names & {kind, step.name}:
            return False
        parameters = cell.cell.parameters
        return all(_text(parameters.get(path)) & texts for path, texts in self.values)


def _text(value: Any) -> frozenset[str]:
    """How a value may be written."""
    texts = {str(value)}
    if value is None:
        texts.add("null")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        texts |= {f"{value:g}", repr(value), f"{value:.0e}".replace("e-0", "e-")}
    return frozenset(texts)
