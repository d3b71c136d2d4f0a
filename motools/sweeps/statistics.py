"""Intervals for means and tests of paired differences, with their names. SciPy does the work."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from motools.errors import ConfigError
from motools.sweeps.extras import needed

RESAMPLES: Final = 9_999
"""Of a bootstrap or permutation that is not exact."""

_AT_ONCE: Final = 2_000_000
"""Numbers that resampling holds in memory."""


class Method(enum.StrEnum):
    """How an interval is made."""

    T = "t"
    PERCENTILE = "percentile"
    BCA = "bca"


class PairedTest(enum.StrEnum):
    """What is asked of paired differences. Each is two-sided."""

    MCNEMAR = "mcnemar"
    PERMUTATION = "permutation"
    WILCOXON = "wilcoxon"
    T = "t"


LONG: Final = {
    Method.T: "Student t",
    Method.PERCENTILE: "percentile bootstrap",
    Method.BCA: "BCa bootstrap",
    PairedTest.MCNEMAR: "McNemar, exact",
    PairedTest.PERMUTATION: "sign-flip permutation of the mean",
    PairedTest.WILCOXON: "Wilcoxon signed-rank",
}
"""What methods and tests are called where there is room. The paired t test shares its name."""


@dataclass(frozen=True)
class Interval:
    """Between what a mean is, at some level of confidence.

    Attributes:
        low: lower end.
        high: upper end.
        level: share of such intervals that have the true mean in them.
        method: what it was made with.
    """

    low: float
    high: float
    level: float
    method: str

    @property
    def name(self) -> str:
        """Level and method, as in ``95% t``."""
        return f"{100 * self.level:g}% {self.method}"


def interval(
    values: Sequence[float], method: Method = Method.T, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """A confidence interval for the mean of what the values are a sample of.

    Args:
        values: finite numbers. Of fewer than two nothing is known: None.
        method: Student's t, which takes means to be normal, or a bootstrap (percentile,
            or bias-corrected and accelerated), which needs some ten values to be worth
            its name.
        level: of confidence.
        seed: of the bootstrap.

    Raises:
        ConfigError: the level is not between 0 and 1.
    """
    _check(level)
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    if math.isclose(min(values), max(values), rel_tol=1e-12):  # a bootstrap has no density to use
        return Interval(mean, mean, level, method)
    if method is Method.T:
        quantile = needed("scipy.stats", "frames").t.ppf((1 + level) / 2, len(values) - 1)
        half = float(quantile) * statistics.stdev(values) / math.sqrt(len(values))
        return Interval(mean - half, mean + half, level, method)
    low, high = _bootstrap(values, method, level, seed)
    return Interval(low, high, level, method)


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"level: {level!r} is not between 0 and 1, as in 0.95")


def _bootstrap(
    values: Sequence[float], method: Method, level: float, seed: int
) -> tuple[float, float]:
    np = needed("numpy", "frames")
    found = needed("scipy.stats", "frames").bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // len(values)),
        confidence_level=level,
        method="BCa" if method is Method.BCA else "percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def interval_of_shares(better: int, worse: int, pairs: int, level: float = 0.95) -> Interval:
    """A confidence interval for the difference of two shares of the same samples.

    Agresti and Min's: Wald's with half a pair more in each kind, which unlike
    Wald's is not empty where no pair differs.

    Args:
        better: pairs that went from 0 to 1.
        worse: pairs that went from 1 to 0.
        pairs: all of them.
        level: of confidence.

    Raises:
        ConfigError: the level is not between 0 and 1.
    """
    _check(level)
    up, down, number = better + 0.5, worse + 0.5, pairs + 2
    difference = (up - down) / number
    error = math.sqrt(up + down - (up - down) ** 2 / number) / number
    half = statistics.NormalDist().inv_cdf((1 + level) / 2) * error
    return Interval(max(-1.0, difference - half), min(1.0, difference + half), level, "Agresti-Min")


def p_value(differences: Sequence[float], test: PairedTest, seed: int = 0) -> float | None:
    """How often differences at least as far from 0 come up where there is none in truth.

    Args:
        differences: of pairs; for McNemar's test each is -1, 0 or 1. Of none, or of
            one with the t test, nothing is known: None.
        test: which.
        seed: of the permutation, where there are too many for all of them.

    Raises:
        ConfigError: the test is not for differences like these.
    """
    if test is PairedTest.MCNEMAR and not {*differences} <= {-1, 0, 1}:
        raise ConfigError("test: mcnemar is for scores of 0 and 1; use permutation or wilcoxon")
    changed = [each for each in differences if each]
    if not differences or (test is PairedTest.T and len(differences) < 2):
        return None
    if not changed:
        return 1.0
    stats = needed("scipy.stats", "frames")
    if test is PairedTest.MCNEMAR:
        found: Any = stats.binomtest(sum(each > 0 for each in changed), len(changed))
    elif test is PairedTest.WILCOXON:
        found = stats.wilcoxon(changed)
    elif test is PairedTest.T:
        if len(set(differences)) == 1:
            return 0.0
        found = stats.ttest_1samp(differences, 0.0)
    else:
        return _permutation(changed, seed)
    return float(found.pvalue)


def _permutation(differences: Sequence[float], seed: int) -> float:
    """Flip signs, all ways or many: that of a pair that does not differ changes nothing."""
    if len(differences) == 1:
        return 1.0  # either sign is as far from 0, and SciPy takes no sample of one
    np = needed("numpy", "frames")
    values = np.asarray(differences, dtype=float)
    found = needed("scipy.stats", "frames").permutation_test(
        (values, -values),
        lambda here, _there, axis: np.mean(here, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // len(differences)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)
