"""Signals are found again from their product: odds, outliers, noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nettrim
from support.hulls import random_product, rank_one_error


def test_sparse_signals_are_recovered() -> None:
    for seed in range(5):
        product = random_product(100, 100, 100, support=5, seed=seed, unit_columns=True)
        s = product.solve(tol=1e-9)
        assert rank_one_error(s, product) <= 1e-6
        assert s.objective == pytest.approx(10.0, rel=1e-8)
        np.testing.assert_array_equal(np.flatnonzero(s.h), np.flatnonzero(product.h))


def test_odds_of_recovery_follow_the_exact_law() -> None:
    for L, trials, low, high in ((10, 100, 0.0, 0.06), (16, 300, 0.43, 0.57), (24, 100, 0.92, 1.0)):
        hits = sum(
            nettrim.is_recoverable(p.h, p.m, p.B, p.C, regularizer="l2")
            for p in (random_product(L, 5, 5, seed=seed) for seed in range(trials))
        )
        assert low <= hits / trials <= high
        assert low <= nettrim.recovery_odds(L, 5, 5) <= high


@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_solver_and_recovery_test_agree(regularizer) -> None:
    support = 3 if regularizer == "l1" else None
    verdicts = set()
    for seed in range(20):
        L = 24 if regularizer == "l1" else 14
        product = random_product(
            L, 20 if support else 5, 20 if support else 5, support=support, seed=seed
        )
        s = product.solve(regularizer=regularizer, tol=1e-9)
        expected = nettrim.is_recoverable(
            product.h, product.m, product.B, product.C, regularizer=regularizer
        )
        verdicts.add(expected)
        assert (rank_one_error(s, product) <= 1e-3) == expected
    assert verdicts == {True, False}


@pytest.mark.slow
def test_phase_transition() -> None:
    """One cell on either side of it."""
    for L, fewest, most in ((128, 9, 10), (60, 0, 0)):
        hits = 0
        for seed in range(10):
            product = random_product(L, 200, 200, support=10, seed=seed, unit_columns=True)
            recovered = rank_one_error(product.solve(tol=1e-8), product) <= 1e-3
            expected = nettrim.is_recoverable(product.h, product.m, product.B, product.C)
            assert recovered == expected
            hits += recovered
        assert fewest <= hits <= most


def test_outliers_are_found() -> None:
    """Four wrong signs, larger by half: slack names them and the rest is exact."""
    product = random_product(80, 12, 10, support=3, seed=4)
    outliers = np.array([3, 17, 40, 66])
    y = product.y.copy()
    y[outliers] *= -1.5
    s = replace(product, y=y).solve(slack=0.1, tol=1e-10)
    np.testing.assert_array_equal(np.flatnonzero(s.xi), outliers)
    assert rank_one_error(s, product) <= 1e-6
    assert all(str(i) in s.explain(80) for i in outliers)
    assert s.explain(80).count("repaired") == 4


@pytest.mark.parametrize("solver", ["newton", "admm", "working-set", "lp"])
def test_what_the_tolerance_leaves_open_is_not_said_to_be_repaired(solver: str) -> None:
    product = random_product(80, 12, 10, support=3, seed=4)
    outliers = np.array([3, 17, 40, 66])
    y = product.y.copy()
    y[outliers] *= -1.5
    s = replace(product, y=y).solve(slack=0.1, solver=solver, tol=1e-4)
    np.testing.assert_array_equal(np.flatnonzero(s.repaired), outliers)
    assert s.explain(80).count("repaired") == 4
    assert "slack      4 measurements" in str(s)
    np.testing.assert_array_equal(s.rescale(norm_w=1e-8).repaired, s.repaired)


@pytest.mark.slow
def test_noise() -> None:
    """Of .8 of the data: the slope of the published figure, .038, gives an error of .030."""
    errors = []
    for seed in range(10):
        product = random_product(150, 140, 140, support=7, seed=seed, unit_columns=True)
        g = np.random.default_rng(1000 + seed).standard_normal(150)
        ones = replace(product, h=np.abs(product.h), m=np.abs(product.m))
        w, x = ones.B @ ones.h, ones.C @ ones.m
        noisy = replace(ones, y=w * x * (1 + 0.8 * g / np.linalg.norm(g)), signs=np.sign(w))
        s = noisy.solve()
        assert s.status == "optimal"
        errors.append(rank_one_error(s, noisy))
    assert 0.022 <= np.mean(errors) <= 0.040
