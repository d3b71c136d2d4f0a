"""Means over replicates and seeds, with their intervals."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from motools.sweeps.paths import FINE_TUNE
from motools.sweeps.results import Measurement, Results, Row
from motools.sweeps.statistics import Interval, Method, interval

REPEATS: Final = (f"{FINE_TUNE}.seed", "replicate")
"""What a mean is taken over unless something else is said."""


@dataclass(frozen=True)
class Summary:
    """The mean of one score over repeats of one thing.

    Attributes:
        parameters: column to value, of everything that varies but what the mean is over.
        evaluation: its name in the sweep.
        task: the task's name.
        score: ``scorer/metric``.
        n: how many values there are. Cells that come to one evaluation are one.
        missing: how many there are not.
        mean: of the values; None: there are none.
        deviation: the sample standard deviation; None for fewer than two values.
        interval: for the mean; None for fewer than two values.
    """

    parameters: Mapping[str, Any]
    evaluation: str | None
    task: str | None
    score: str | None
    n: int
    missing: int
    mean: float | None
    deviation: float | None
    interval: Interval | None

    @property
    def row(self) -> Row:
        """All of it in one row."""
        found = self.interval
        return {
            **self.parameters,
            "evaluation": self.evaluation,
            "task": self.task,
            "score": self.score,
            "n": self.n,
            "missing": self.missing,
            "mean": self.mean,
            "deviation": self.deviation,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "interval": "none: fewer than two values" if found is None else found.name,
        }


def summarise(
    results: Results,
    over: Iterable[str] = REPEATS,
    *,
    method: Method = Method.T,
    level: float = 0.95,
    seed: int = 0,
) -> list[Summary]:
    """The mean of every score over repeats.

    The interval is for the mean over further repeats (other seeds, say) on the same
    samples. It knows nothing of how these samples were chosen: for that there is the
    standard error of each value.

    Args:
        results: of a sweep.
        over: dot paths, or ends of them, and ``replicate``. A seed that does not vary
            is left out.
        method: of the intervals.
        level: of confidence.
        seed: of a bootstrap.

    Raises:
        ConfigError: a path that does not vary in the sweep.
        MissingExtraError: SciPy is not installed.
    """
    merged = _columns(results, over)
    apart = "replicate" not in merged and any(each.replicate for each in results.measurements)
    groups: dict[tuple[Any, ...], tuple[Row, list[Measurement]]] = {}
    for each in _with_scores(results):
        kept = {name: value for name, value in each.parameters.items() if name not in merged}
        fixed = {"replicate": each.replicate} if apart else {}
        # By their texts: 1, 1.0 and True are equal, and not one value.
        name = repr({**kept, **fixed}), each.evaluation, each.score
        groups.setdefault(name, ({**kept, **fixed}, []))[1].append(each)
    return [
        _summary(parameters, members, partial(interval, method=method, level=level, seed=seed))
        for parameters, members in groups.values()
    ]


def _columns(results: Results, over: Iterable[str]) -> set[str]:
    return {results.column(name) for name in over if name != REPEATS[0] or name in results.columns}


def _with_scores(results: Results) -> Iterable[Measurement]:
    """Every measurement; one that is missing, once for each score that its evaluation has."""
    scores: dict[str | None, dict[str | None, None]] = {}
    for each in results.measurements:
        if each.score is not None:
            scores.setdefault(each.evaluation, {})[each.score] = None
    for each in results.measurements:
        if each.evaluation is None:
            continue
        for score in [each.score] if each.score else scores.get(each.evaluation, [None]):
            yield dataclasses.replace(each, score=score)


def _summary(
    parameters: Mapping[str, Any],
    members: list[Measurement],
    interval_of: Callable[[list[float]], Interval | None],
) -> Summary:
    found = {each.eval_key: each.value for each in members if each.value is not None}
    values = list(found.values())
    return Summary(
        parameters=parameters,
        evaluation=members[0].evaluation,
        task=next((each.task for each in members if each.task), None),
        score=members[0].score,
        n=len(values),
        missing=sum(each.value is None for each in members),
        mean=statistics.fmean(values) if values else None,
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        interval=interval_of(values),
    )
