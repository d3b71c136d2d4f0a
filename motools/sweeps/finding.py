"""Which cell of a sweep is meant, by its values."""

from __future__ import annotations

import re
from typing import Final

from motools.configs import unknown_name
from motools.errors import ConfigError
from motools.sweeps.plan import Plan, Planned, PlannedCell
from motools.sweeps.subset import Subset

_BETWEEN: Final = re.compile(r",(?=[^,=]+=)")
_SHOWN: Final = 4


def one_cell(plan: Plan, text: str) -> PlannedCell:
    """The one cell with this number or these values.

    Args:
        plan: of the sweep.
        text: as in ``learning_rate=1e-4,seed=0``; also ``replicate=1``; or a number,
            from 1, in the order of the plan.

    Raises:
        ConfigError: a path that the sweep does not have; no cell or several have the values.
    """
    if text.isdecimal():
        return _numbered(plan, int(text))
    subset = Subset.parse(_BETWEEN.split(text), plan.sweep)
    found = [cell for cell in plan.cells if any(subset.has(cell, step) for step in cell.steps)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"{text}: no cell of {plan.sweep.name} has these values")
    shown = "; ".join(str(cell.cell) for cell in found[:_SHOWN])
    more = "; …" if len(found) > _SHOWN else ""
    raise ConfigError(f"{text}: {len(found)} cells have these values, say more: {shown}{more}")


def _numbered(plan: Plan, number: int) -> PlannedCell:
    if 1 <= number <= len(plan.cells):
        return plan.cells[number - 1]
    raise ConfigError(
        f"{number}: {plan.sweep.name} has {len(plan.cells)} cells, numbered from 1 in the order of "
        "`motools sweep plan`"
    )


def steps_of(cell: PlannedCell, name: str | None) -> list[Planned]:
    """The steps of a cell, or the one with a name.

    Raises:
        ConfigError: the cell has no step of that name.
    """
    if name is None:
        return list(cell.steps)
    steps = dict(cell.named)
    if name not in steps:
        raise ConfigError(unknown_name(name, name, list(steps)))
    return [steps[name]]
