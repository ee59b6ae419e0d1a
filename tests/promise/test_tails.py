"""Exact tails against plain sums, and what follows of them against simulated draws."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nettrim.promise.tails import (
    binomial_tail,
    least_rows,
    most_failures,
    share_limit,
    tolerance_rank,
)

SHARES = st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.5, 0.9])
DELTAS = st.sampled_from([0.01, 0.05, 0.2, 0.5])


def by_counting(k: int, n: int, share: Fraction) -> Fraction:
    terms = (math.comb(n, j) * share**j * (1 - share) ** (n - j) for j in range(k + 1))
    return sum(terms, Fraction(0))


@given(n=st.integers(1, 60), k=st.integers(-1, 61), percent=st.integers(1, 99))
def test_a_binomial_tail_is_the_sum_of_its_terms(n: int, k: int, percent: int) -> None:
    exact = float(by_counting(min(k, n), n, Fraction(percent, 100)))
    assert binomial_tail(k, n, percent / 100) == pytest.approx(exact, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize(("k", "n", "share"), [(3, 5000, 0.01), (480, 50_000, 0.01), (0, 10, 1e-9)])
def test_a_binomial_tail_of_many_rows_is_that_of_scipy(k: int, n: int, share: float) -> None:
    assert binomial_tail(k, n, share) == pytest.approx(stats.binom.cdf(k, n, share), rel=1e-9)


@given(n=st.integers(1, 3000), part=st.floats(0, 1), delta=DELTAS)
def test_the_limit_of_a_share_is_where_its_tail_is_delta(n: int, part: float, delta: float) -> None:
    k = round(part * n)
    limit = share_limit(k, n, delta)
    if k == n:
        assert limit == 1
        return
    assert k / n < limit < 1
    assert stats.binom.cdf(k, n, limit) == pytest.approx(delta, rel=1e-6)


@given(n=st.integers(1, 2000), share=SHARES, delta=DELTAS)
def test_most_failures_is_the_last_count_that_still_shows_it(
    n: int, share: float, delta: float
) -> None:
    k = most_failures(n, share, delta)
    rounded = 1e-12 * delta  # a tail that equals delta may come out on either side of it
    assert k < 0 or stats.binom.cdf(k, n, share) <= delta + rounded
    assert stats.binom.cdf(k + 1, n, share) > delta - rounded or k + 1 == n


@given(share=SHARES, delta=DELTAS)
def test_least_rows_are_enough_and_one_fewer_is_not(share: float, delta: float) -> None:
    n = least_rows(share, delta)
    assert (1 - share) ** n <= delta * (1 + 1e-12)
    assert (1 - share) ** (n - 1) > delta
    assert most_failures(n, share, delta) == 0
    assert n == 1 or most_failures(n - 1, share, delta) == -1


def test_the_numbers_in_every_table_of_wilks() -> None:
    """For 95 and 99 % with 95 % confidence 59 and 299, and 93 for the second largest."""
    assert least_rows(0.05, 0.05) == 59
    assert least_rows(0.01, 0.05) == 299
    assert tolerance_rank(92, 0.95, 0.05) == 1
    assert tolerance_rank(93, 0.95, 0.05) == 2
    assert tolerance_rank(298, 0.99, 0.05) == 0


@pytest.mark.parametrize("delta", [0.05, 0.2])
@pytest.mark.parametrize("n", [100, 700])
def test_most_samples_are_below_the_limit_as_often_as_is_said(n: int, delta: float) -> None:
    """Of uniform values: a value is the share of all that lie below it."""
    quantile, rng = 0.95, np.random.default_rng(0)
    rank = tolerance_rank(n, quantile, delta)
    draws = np.sort(rng.random((4000, n)), axis=1)
    broken = (draws[:, n - rank] < quantile).mean()
    assert broken <= delta + 3 * math.sqrt(delta * (1 - delta) / 4000)
    next_rank = (draws[:, n - rank - 1] < quantile).mean()
    assert next_rank > delta  # so that no smaller limit could have been named


@pytest.mark.parametrize("share", [0.002, 0.05])
def test_a_share_is_above_its_limit_as_seldom_as_is_said(share: float) -> None:
    n, delta = 500, 0.1
    counts = stats.binom(n, share)
    missed = sum(counts.pmf(k) for k in range(n + 1) if share_limit(k, n, delta) < share)
    assert missed <= delta
