"""What a sweep has found: its scores, one by one, as far as they are in the cache."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from motools.configs import unknown_name
from motools.errors import ConfigError
from motools.sweeps import parameters
from motools.sweeps.cell import Cell
from motools.sweeps.outcome import SweepRun
from motools.sweeps.plan import Plan, Planned, PlannedCell
from motools.sweeps.subset import Subset

if TYPE_CHECKING:
    from motools.cache import Entry

Row: TypeAlias = dict[str, Any]
"""Column to plain value."""

_Found: TypeAlias = "tuple[str, Entry | None]"


@dataclass(frozen=True)
class Measurement:
    """One score of one evaluation of one cell, or that it is missing.

    Attributes:
        parameters: column to value, of everything that varies in the sweep.
        replicate: which of several independent repeats.
        evaluation: its name in the sweep; None: the cell has none.
        task: the task's name.
        score: ``scorer/metric``; None: the evaluation is not there, or has no scores.
        value: of the score; None: it is not a number, or not there.
        stderr: standard error of the value over the evaluation's samples.
        samples: how many ran, epochs counted.
        seconds: that the evaluation took when it was made.
        cost: money that it took; None: unknown.
        training_seconds: that training the model took. Every row of a model has the same.
        training_cost: money that it took; None: unknown.
        state: ``hit``, or what is to happen to what is missing, as in a plan; after
            a run, what became of it.
        model_key: of the model's entry; None: a base model, or not known yet.
        eval_key: of the evaluation's; None: not known yet.
    """

    parameters: Mapping[str, Any]
    replicate: int
    evaluation: str | None
    task: str | None
    score: str | None
    value: float | None
    stderr: float | None
    samples: int | None
    seconds: float | None
    cost: float | None
    training_seconds: float | None
    training_cost: float | None
    state: str
    model_key: str | None
    eval_key: str | None

    @property
    def row(self) -> Row:
        """Its parameters and everything else, in one row."""
        fixed = {name: getattr(self, name) for name in FIXED}
        return {**self.parameters, **fixed}


FIXED: Final = tuple(
    field.name for field in dataclasses.fields(Measurement) if field.name != "parameters"
)
"""The columns that every sweep has."""


@dataclass(frozen=True)
class Results:
    """Every score that a sweep has, and what is missing.

    Attributes:
        columns: dot path of everything that varies, to its column.
        measurements: in the order of the sweep's cells.
        missing: state to how many evaluations are in it that have no result.
    """

    columns: Mapping[str, str]
    measurements: tuple[Measurement, ...]
    missing: Mapping[str, int]

    @property
    def rows(self) -> list[Row]:
        """Tidy: a row for every score, with ``score``, ``value`` and ``stderr``."""
        return [each.row for each in self.measurements]

    @property
    def wide(self) -> list[Row]:
        """A row for every evaluation, with a column for every score and one for its error."""
        scores = dict.fromkeys(each.score for each in self.measurements if each.score)
        found: dict[Any, Row] = {}
        for each in self.measurements:
            row = each.row
            value, error = row.pop("value"), row.pop("stderr")
            score = row.pop("score")
            cell = tuple(map(repr, (*each.parameters.values(), each.replicate, each.evaluation)))
            empty = dict.fromkeys(name for s in scores for name in (s, f"{s} stderr"))
            wide = found.setdefault(cell, {**row, **empty})
            if score is not None:
                wide |= {score: value, f"{score} stderr": error}
        return list(found.values())

    def column(self, name: str) -> str:
        """The column that a dot path, or the end of one, stands for.

        Args:
            name: of a parameter, ``replicate``, ``evaluation``, ``task`` or ``score``.

        Raises:
            ConfigError: there is none of that name.
        """
        if name in ("replicate", "evaluation", "task", "score"):
            return name
        ends = [
            column
            for path, column in self.columns.items()
            if name in (path, column) or path.endswith(f".{name}")
        ]
        if len(ends) != 1:
            known = [*self.columns.values(), "replicate", "evaluation", "score"]
            raise ConfigError(unknown_name(name, name, known))
        return ends[0]


def of_plan(plan: Plan, only: Subset | None = None) -> Results:
    """What a sweep has in the cache it was planned against.

    Args:
        plan: of the sweep.
        only: leave out all other evaluations.

    Raises:
        ConfigError: a value was asked for that no cell has.
    """
    if only is not None:
        only.check(plan)
    return _results(plan, lambda planned: (str(planned.state), planned.entry), only)


def of_run(run: SweepRun) -> Results:
    """What a sweep has after it was run; states are what became of each step."""

    def ended(planned: Planned) -> _Found:
        step = run.of(planned)
        return str(step.outcome), step.entry

    return _results(run.plan, ended, None)


def _results(plan: Plan, find: Callable[[Planned], _Found], only: Subset | None) -> Results:
    columns = parameters.columns(plan.sweep.paths, FIXED)
    measurements: list[Measurement] = []
    missing: Counter[str] = Counter()
    for cell in plan.cells:
        steps: Sequence[tuple[str | None, Planned | None]] = [
            (name, step)
            for name, step in cell.named
            if step is not cell.training and (only is None or only.has(cell, step))
        ]
        if cell.training is not None and not cell.evaluations:
            steps = [(None, None)] if only is None or only.has(cell, cell.training) else []
        for name, step in steps:
            found = list(_measured(cell, step, find, columns, plan.sweep.recipe, name=name))
            measurements += found
            lacking = step or cell.training
            if lacking is not None and find(lacking)[1] is None:
                missing[found[0].state] += 1
    return Results(columns, tuple(measurements), dict(missing))


def _measured(
    planned: PlannedCell,
    evaluation: Planned | None,
    find: Callable[[Planned], _Found],
    columns: Mapping[str, str],
    recipe: Mapping[str, Any],
    *,
    name: str | None,
) -> Iterator[Measurement]:
    """Every score of one evaluation, or a row that says that it is missing."""
    cell, training = planned.cell, planned.training
    state, model = ("hit", None) if training is None else find(training)
    entry = None
    if evaluation is not None:
        state, entry = find(evaluation)
    value = {} if entry is None else entry.value
    for score in value.get("scores") or (None,):
        yield Measurement(
            parameters=_parameters(cell, columns, recipe),
            replicate=cell.replicate,
            evaluation=name,
            task=value.get("task"),
            score=score,
            value=None if score is None else value["scores"][score],
            stderr=None if score is None else value["stderr"].get(score),
            samples=value.get("samples"),
            seconds=None if entry is None else entry.duration,
            cost=None if entry is None else entry.cost,
            training_seconds=None if model is None else model.duration,
            training_cost=None if model is None else model.cost,
            state=state,
            model_key=_key(training, model),
            eval_key=_key(evaluation, entry),
        )


def _key(planned: Planned | None, entry: Entry | None) -> str | None:
    if entry is not None:
        return entry.key
    return None if planned is None else planned.key


def _parameters(
    cell: Cell, columns: Mapping[str, str], recipe: Mapping[str, Any]
) -> Mapping[str, Any]:
    return {column: parameters.value(cell, path, recipe) for path, column in columns.items()}
