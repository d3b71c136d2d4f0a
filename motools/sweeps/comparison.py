"""Two evaluations on the same samples, pair by pair, from Inspect's logs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from motools.artifacts import Evaluation
from motools.cache.explain import flatten
from motools.digest import SHORT
from motools.errors import ConfigError
from motools.evals.reading import ScoredSample, read_scores
from motools.steps.evaluate import log_of
from motools.sweeps.results import Row
from motools.sweeps.statistics import (
    Interval,
    Method,
    PairedTest,
    interval,
    interval_of_shares,
    p_value,
)

_GRADES: Final = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Inspect's grades: correct, partial, incorrect, no answer."""

_DIGITS: Final = 12
"""Differences are rounded, so that 0.3 - 0.2 and 0.2 - 0.1 are a tie."""

_Scored: TypeAlias = Mapping[tuple[int | str, int], ScoredSample]
"""Id and epoch to a sample."""

_Pairs: TypeAlias = dict[int | str, list[tuple[float, float]]]
"""A sample's id to what both made of it, epoch by epoch."""


@dataclass(frozen=True)
class Comparison:
    """One score of two evaluations, the first the one to compare with.

    Attributes:
        score: the scorer, and the name of its value where it has several.
        pairs: samples, by id and epoch, that both have with a number.
        samples: different ids among them. The epochs of one are averaged: they are
            not independent.
        unpaired: samples that only one of them has, or has a number for.
        altered: samples with the same id and another input or target; not compared.
        mean_a: of the first, over those samples.
        mean_b: of the second, over those samples.
        difference: the second less the first.
        interval: for the difference over further samples like these; None: too few.
        test: what was asked.
        p_value: of the test, two-sided; None: too few. Not adjusted for other tests.
    """

    score: str
    pairs: int
    samples: int
    unpaired: int
    altered: int
    mean_a: float
    mean_b: float
    difference: float
    interval: Interval | None
    test: PairedTest
    p_value: float | None

    @property
    def row(self) -> Row:
        """All of it in one row."""
        found = self.interval
        return {
            "score": self.score,
            "mean_a": self.mean_a,
            "mean_b": self.mean_b,
            "difference": self.difference,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "interval": None if found is None else found.name,
            "test": str(self.test),
            "p_value": self.p_value,
            "pairs": self.pairs,
            "samples": self.samples,
            "unpaired": self.unpaired,
            "altered": self.altered,
        }


def compare(
    evaluation_a: Evaluation,
    evaluation_b: Evaluation,
    *,
    test: PairedTest | None = None,
    method: Method | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two evaluations on the samples that both have, score by score.

    Args:
        evaluation_a: what to compare with.
        evaluation_b: what is compared.
        test: by default McNemar's exact one where every score is 0 or 1, else
            a permutation of the signs of the differences.
        method: of the interval; by default Agresti and Min's where every score
            is 0 or 1, else Student's t.
        level: of confidence.
        seed: of permutations and bootstraps.

    Raises:
        ConfigError: they have no sample, or no score that is a number, in common.
        ReleasedError: a log's bytes were pruned.
        MissingExtraError: SciPy is not installed.
    """
    a, b = _read(evaluation_a), _read(evaluation_b)
    names = f"{evaluation_a.key[:SHORT]} and {evaluation_b.key[:SHORT]}"
    shared = a.keys() & b.keys()
    same = [at for at in a if at in shared and _asked(a[at]) == _asked(b[at])]
    altered = len(shared) - len(same)
    if not same:
        why = f"{altered} have the same id and another input or target" if altered else "no id"
        raise ConfigError(f"{names} have no sample in common: {why}")
    pairs: dict[str, _Pairs] = {}
    for at in same:
        here, there = _numbers(a[at]), _numbers(b[at])
        for name in here.keys() & there.keys():
            by_sample = pairs.setdefault(name, {})
            by_sample.setdefault(at[0], []).append((here[name], there[name]))
    if not pairs:
        raise ConfigError(
            f"{names} have no score in common that is a number, true or false, or one of "
            f"Inspect's grades ({', '.join(_GRADES)})"
        )
    every = len(a.keys() | b.keys()) - altered
    wanted = _Wanted(test, method, level, seed)
    return [_compared(name, pairs[name], every, altered, wanted) for name in sorted(pairs)]


@dataclass(frozen=True)
class _Wanted:
    test: PairedTest | None
    method: Method | None
    level: float
    seed: int


def _compared(name: str, pairs: _Pairs, every: int, altered: int, wanted: _Wanted) -> Comparison:
    means = [
        (statistics.fmean(a for a, _ in epochs), statistics.fmean(b for _, b in epochs))
        for epochs in pairs.values()
    ]
    count = sum(map(len, pairs.values()))
    differences = [round(b - a, _DIGITS) for a, b in means]
    binary = count == len(means) and all({*pair} <= {0, 1} for pair in means)
    test = wanted.test or (PairedTest.MCNEMAR if binary else PairedTest.PERMUTATION)
    if test is PairedTest.MCNEMAR and not binary:
        raise ConfigError(
            f"{name}: mcnemar is for scores of 0 and 1 and one epoch; use permutation or wilcoxon"
        )
    around: Interval | None
    if binary and wanted.method is None:
        better, worse = differences.count(1), differences.count(-1)
        around = interval_of_shares(better, worse, len(means), wanted.level)
    else:
        around = interval(differences, wanted.method or Method.T, wanted.level, wanted.seed)
    return Comparison(
        score=name,
        pairs=count,
        samples=len(means),
        unpaired=every - count,
        altered=altered,
        mean_a=statistics.fmean(a for a, _ in means),
        mean_b=statistics.fmean(b for _, b in means),
        difference=statistics.fmean(differences),
        interval=around,
        test=test,
        p_value=p_value(differences, test, wanted.seed),
    )


def _read(evaluation: Evaluation) -> _Scored:
    return {(each.id, each.epoch): each for each in read_scores(log_of(evaluation))}


def _asked(sample: ScoredSample) -> tuple[str, str | list[str]]:
    return sample.input, sample.target


def _numbers(sample: ScoredSample) -> dict[str, float]:
    """Every score of a sample that is a number, by scorer, as in ``judge`` or ``judge.tone``."""
    found = {}
    for name, value in flatten(dict(sample.scores)):
        number = _GRADES.get(value) if isinstance(value, str) else value
        if isinstance(number, (bool, int, float)) and math.isfinite(number):
            found[name] = float(number)
    return found
