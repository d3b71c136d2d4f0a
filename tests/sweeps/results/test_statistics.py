"""Intervals and tests, held against SciPy, tables and simulations."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from itertools import product

import pytest
from scipy import stats

from motools.errors import ConfigError
from motools.sweeps.statistics import (
    Interval,
    Method,
    PairedTest,
    interval,
    interval_of_shares,
    p_value,
)

SCORES = [0.62, 0.71, 0.55, 0.68, 0.74, 0.59, 0.66]
DIFFERENCES = [0.1, -0.05, 0.2, 0.15, 0.0, 0.3, -0.1, 0.25]


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_t_is_that_of_scipy(level: float) -> None:
    found = interval(SCORES, level=level)
    wanted = stats.ttest_1samp(SCORES, 0.0).confidence_interval(level)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-12)
    assert found.name == f"{100 * level:g}% t"


def test_percentiles_are_those_of_every_resample() -> None:
    """Four values have 256 resamples, so that the exact quantiles are known."""
    values = [0.1, 0.4, 0.5, 0.9]
    means = sorted(map(statistics.fmean, product(values, repeat=4)))
    found = interval(values, Method.PERCENTILE, seed=1)
    assert found is not None
    assert found.low == pytest.approx(means[6], abs=0.02)
    assert found.high == pytest.approx(means[-7], abs=0.02)


def test_bca_is_that_of_scipy_and_seeded() -> None:
    skewed = [0.01, 0.02, 0.02, 0.05, 0.9, 0.1, 0.07, 0.04, 0.3, 0.02]
    wanted = stats.bootstrap((skewed,), statistics.fmean, rng=7, vectorized=False)
    found = interval(skewed, Method.BCA, seed=1)
    assert found is not None
    assert found.low == pytest.approx(wanted.confidence_interval.low, abs=0.01)
    assert found.high == pytest.approx(wanted.confidence_interval.high, abs=0.03)
    assert interval(skewed, Method.BCA, seed=1) == found
    assert interval(skewed, Method.BCA, seed=2) != found
    assert interval(skewed, Method.PERCENTILE, seed=1) != found


def coverage(make: Callable[[random.Random], tuple[Interval | None, float]], times: int) -> float:
    """The share of intervals that have the truth in them."""
    source = random.Random(4)
    hits = 0
    for _ in range(times):
        found, truth = make(source)
        assert found is not None
        hits += found.low <= truth <= found.high
    return hits / times


@pytest.mark.parametrize("n", [3, 5, 20])
def test_t_covers_what_it_says(n: int) -> None:
    def make(source: random.Random) -> tuple[Interval | None, float]:
        return interval([source.gauss(0.6, 0.1) for _ in range(n)]), 0.6

    assert coverage(make, 4_000) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("method", [Method.PERCENTILE, Method.BCA])
def test_a_bootstrap_covers_nearly_what_it_says(method: Method) -> None:
    """A little less, as is known of it, for twenty values of a skewed kind."""

    def make(source: random.Random) -> tuple[Interval | None, float]:
        return interval([source.expovariate(1.0) for _ in range(20)], method), 1.0

    assert 0.85 <= coverage(make, 200) <= 0.97


@pytest.mark.parametrize(("up", "down", "n"), [(0.05, 0.05, 30), (0.3, 0.1, 20), (0.1, 0.02, 100)])
def test_an_interval_of_shares_covers_what_it_says(up: float, down: float, n: int) -> None:
    def make(source: random.Random) -> tuple[Interval | None, float]:
        drawn = [source.random() for _ in range(n)]
        better = sum(one < up for one in drawn)
        worse = sum(up <= one < up + down for one in drawn)
        return interval_of_shares(better, worse, n), up - down

    assert 0.935 <= coverage(make, 4_000) <= 0.995  # cautious where pairs that differ are rare


def test_an_interval_of_shares_is_not_empty_without_a_difference() -> None:
    found = interval_of_shares(0, 0, 10)
    assert found.low < -0.1 < 0.1 < found.high
    assert interval_of_shares(10, 0, 10).high == 1.0


def test_of_one_value_there_is_no_interval() -> None:
    assert interval([0.5]) is None
    assert interval([]) is None


@pytest.mark.parametrize("method", Method)
def test_equal_values_have_an_interval_of_no_length(method: Method) -> None:
    values = [0.1 + 0.2, 0.3, 0.3]  # equal but for rounding
    found = interval(values, method)
    assert found is not None
    assert found.high - found.low == pytest.approx(0.0, abs=1e-9)


def test_a_level_is_a_share() -> None:
    with pytest.raises(ConfigError, match="level: 95 is not between 0 and 1"):
        interval(SCORES, level=95)
    with pytest.raises(ConfigError, match="level: 95 is not between 0 and 1"):
        interval_of_shares(1, 0, 10, level=95)


def binomial(better: int, worse: int) -> float:
    """McNemar's exact p-value, from the definition."""
    n, tail = better + worse, min(better, worse)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(tail + 1)) / 2**n)


@pytest.mark.parametrize(("better", "worse"), [(8, 2), (0, 5), (3, 3), (1, 0)])
def test_mcnemar_is_a_binomial_test_of_the_pairs_that_differ(better: int, worse: int) -> None:
    differences = [1.0] * better + [-1.0] * worse + [0.0] * 7
    assert p_value(differences, PairedTest.MCNEMAR) == pytest.approx(binomial(better, worse))


def test_mcnemar_is_for_zeros_and_ones() -> None:
    with pytest.raises(ConfigError, match="mcnemar is for scores of 0 and 1"):
        p_value(DIFFERENCES, PairedTest.MCNEMAR)


def all_flips(differences: Sequence[float]) -> float:
    """The exact two-sided p-value of the sign-flip test of the mean, from the definition."""
    observed = abs(sum(differences)) - 1e-12
    flips = list(product((1, -1), repeat=len(differences)))
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in flips]
    return sum(abs(each) >= observed for each in sums) / len(sums)


def test_a_permutation_of_few_pairs_is_exact() -> None:
    assert p_value(DIFFERENCES, PairedTest.PERMUTATION) == pytest.approx(all_flips(DIFFERENCES))


@pytest.mark.parametrize("test", [PairedTest.PERMUTATION, PairedTest.WILCOXON])
def test_one_pair_that_differs_is_no_evidence(test: PairedTest) -> None:
    assert p_value([0.0, 0.3, 0.0], test) == 1.0
    assert p_value([-0.3], test) == 1.0


def test_a_permutation_of_many_pairs_is_near_and_seeded() -> None:
    many = [round(0.3 * math.sin(n) + 0.1, 3) for n in range(16)]
    found = p_value(many, PairedTest.PERMUTATION, seed=3)
    assert found == pytest.approx(all_flips(many), abs=0.015)
    assert found == p_value(many, PairedTest.PERMUTATION, seed=3)


def test_wilcoxon_and_t_are_those_of_scipy() -> None:
    zeros, these = [0.0] * len(DIFFERENCES), DIFFERENCES
    wanted = stats.wilcoxon(these, zeros).pvalue
    assert p_value(these, PairedTest.WILCOXON) == pytest.approx(wanted)
    assert p_value(these, PairedTest.T) == pytest.approx(stats.ttest_rel(these, zeros).pvalue)


@pytest.mark.parametrize("test", PairedTest)
def test_no_difference_is_no_evidence(test: PairedTest) -> None:
    assert p_value([0.0] * 9, test) == 1.0
    assert p_value([], test) is None


@pytest.mark.parametrize("test", PairedTest)
def test_a_test_is_wrong_as_often_as_it_says(test: PairedTest) -> None:
    """Where there is no difference, at most 5% of p-values are below 0.05."""
    source = random.Random(8)
    kinds = (-1, 0, 1) if test is PairedTest.MCNEMAR else None

    def draw() -> float:
        return source.choice(kinds) if kinds else source.gauss(0, 1)

    found = [p_value([draw() for _ in range(11)], test) for _ in range(300)]
    assert sum(p is not None and p < 0.05 for p in found) / 300 <= 0.08
