"""Bets against a loop that follows the formulas, against another test, and on simulated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nettrim.promise.betting import betting_p_value, mean_limit
from support.networks import Array


def by_the_formulas(losses: Array, level: float, delta: float) -> float:
    """Waudby-Smith and Ramdas, sample by sample."""
    n, capital, best = len(losses), 1.0, 1.0
    most = max(1.0, 0.75 / (1 - level))
    total, squares, variance = 0.0, 0.0, 0.25
    for i, loss in enumerate(losses, start=1):
        stake = min(most, math.sqrt(2 * math.log(1 / delta) / (n * variance)))
        capital *= 1 - stake * (loss - level)
        best = max(best, capital)
        total += loss
        squares += (loss - (0.5 + total) / (1 + i)) ** 2
        variance = (0.25 + squares) / (1 + i)
    return 1 / best


def hoeffding_bentkus(losses: Array, level: float) -> float:
    """The p-value of Angelopoulos et al. (2110.01052), which knows no variance."""
    n, mean = len(losses), min(losses.mean(), level)
    entropy = sum(a * math.log(a / b) for a, b in [(mean, level), (1 - mean, 1 - level)] if a > 0)
    bentkus = math.e * stats.binom.cdf(math.ceil(n * losses.mean()), n, level)
    return min(1.0, math.exp(-n * entropy), bentkus)


def losses_of(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> tuple[Array, float]:
    """Draws of losses, and their true mean."""
    if kind == "rare":
        return (rng.random(shape) < 0.03).astype(float), 0.03
    if kind == "small":
        return rng.beta(1, 19, shape), 0.05
    return rng.choice([0.0, 0.5, 1.0], shape, p=[0.05, 0.9, 0.05]), 0.5


@given(
    n=st.integers(1, 200),
    level=st.floats(0.01, 0.9),
    delta=st.sampled_from([0.01, 0.05, 0.2]),
    seed=st.integers(0, 99),
)
def test_a_p_value_is_that_of_the_formulas(n: int, level: float, delta: float, seed: int) -> None:
    losses = np.random.default_rng(seed).beta(0.3, 2, n)
    shuffled = losses[np.random.default_rng(seed).permutation(n)]
    expected = by_the_formulas(shuffled, level, delta)
    assert betting_p_value(losses, level, delta, seed) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["rare", "small", "middle"])
@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_true_means_are_seldom_rejected(kind: str, delta: float) -> None:
    draws, mean = losses_of(kind, (1500, 300), np.random.default_rng(0))
    rejected = np.mean([betting_p_value(losses, mean, delta) <= delta for losses in draws])
    assert rejected <= delta + 3 * math.sqrt(delta * (1 - delta) / len(draws))


@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_true_means_are_seldom_above_their_limits(delta: float) -> None:
    draws, mean = losses_of("small", (300, 200), np.random.default_rng(1))
    above = np.mean([mean_limit(losses, delta) < mean for losses in draws])
    assert above <= delta + 3 * math.sqrt(delta * (1 - delta) / len(draws))


@given(n=st.integers(1, 300), delta=st.sampled_from([0.05, 0.2]), seed=st.integers(0, 9))
def test_the_limit_is_the_least_level_that_is_rejected(n: int, delta: float, seed: int) -> None:
    losses = np.random.default_rng(n).beta(0.5, 5, n)
    limit = mean_limit(losses, delta, seed)
    assert losses.mean() < limit <= 1
    assert limit == 1 or betting_p_value(losses, limit, delta, seed) <= delta
    assert betting_p_value(losses, limit - 1e-6, delta, seed) > delta


def test_small_losses_are_told_from_rare_ones_as_hoeffding_and_bentkus_cannot() -> None:
    losses = np.random.default_rng(2).beta(4, 96, 400)
    assert betting_p_value(losses, 0.055, 0.05) < 0.01
    assert hoeffding_bentkus(losses, 0.055) > 0.1


@pytest.mark.parametrize("kind", ["rare", "small", "middle"])
def test_far_from_the_level_both_tests_agree(kind: str) -> None:
    draws, mean = losses_of(kind, (20, 2000), np.random.default_rng(3))
    for losses in draws:
        for level, rejected in [(0.7 * mean, False), (min(0.95, 1.8 * mean), True)]:
            assert (betting_p_value(losses, level, 0.05) <= 0.05) == rejected
            assert (hoeffding_bentkus(losses, level) <= 0.05) == rejected


def test_few_samples_tell_of_a_mean_in_the_middle() -> None:
    """As they do of one near zero: what could be lost by a bet is as much."""
    n, delta = 420, 0.05
    assert betting_p_value(np.zeros(n), 0.01, delta) <= delta
    assert betting_p_value(np.full(n, 0.5), 0.505, delta) <= delta
    assert betting_p_value(np.ones(n), 0.999, delta) == 1.0


def test_the_order_is_that_of_the_seed() -> None:
    losses = np.random.default_rng(4).beta(1, 9, 200)
    first, again, other = (betting_p_value(losses, 0.12, 0.05, seed) for seed in (1, 1, 2))
    assert first == again != other
