"""Measurements that say little, nothing or the impossible; equalities that repeat one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nettrim
from support.hulls import random_product, rank_one_error, referee

# --- measurements that say less -------------------------------------------------------------------


@pytest.mark.parametrize("zero", ["drop", "quadrant", "equality"])
@pytest.mark.parametrize("solver", ["newton", "lp"])
def test_zero_measurements(zero, solver) -> None:
    product = random_product(60, 10, 10, support=2, seed=9)
    C = product.C.copy()
    C[:5] -= np.outer(C[:5] @ product.m, product.m) / (product.m @ product.m)
    y = (product.B @ product.h) * (C @ product.m)
    y[:5] = 0
    product = replace(product, C=C)
    changed = replace(product, y=y)
    s = changed.solve(zero=zero, solver=solver)
    assert s.status == "optimal"
    assert np.all(product.signs[:5] * s.w[:5] >= 0)
    x = product.signs[:5] * s.x[:5]
    if zero == "quadrant":
        assert np.all(x >= -1e-12)
    if zero == "equality":
        assert np.abs(x).max() <= 1e-8 * np.abs(s.x).max()
    assert rank_one_error(s, product) <= 1e-3
    if zero == "drop":
        without = replace(
            product, B=product.B[5:], C=product.C[5:], y=y[5:], signs=product.signs[5:]
        )
        assert without.solve().objective == pytest.approx(s.objective, rel=1e-4)


@pytest.mark.parametrize("solver", ["newton", "admm", "working-set", "lp"])
def test_nothing_measured(solver) -> None:
    product = random_product(10, 4, 4, seed=0)
    s = replace(product, y=np.zeros(10)).solve(solver=solver)
    assert (s.status, s.objective, s.gap) == ("optimal", 0.0, 0.0)
    assert not s.h.any()


def test_unknown_signs_are_left_out() -> None:
    product = random_product(60, 10, 10, support=2, seed=10)
    signs = product.signs.copy()
    signs[:8] = 0
    s = replace(product, signs=signs).solve()
    assert rank_one_error(s, product) <= 1e-3
    assert not s.p[:8].any()


@pytest.mark.parametrize("shape", [(1, 3, 2), (5, 20, 30), (12, 12, 4)])
@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_more_coefficients_than_measurements(shape, regularizer) -> None:
    product = random_product(*shape, seed=11)
    s = product.solve(regularizer=regularizer)
    assert s.objective == pytest.approx(referee(product, regularizer), rel=1e-6)


@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_dependent_columns(regularizer) -> None:
    product = random_product(40, 8, 6, noise=0.02, seed=12)
    value = product.solve(regularizer=regularizer).objective
    twice = replace(
        product, B=np.hstack([product.B, product.B]), C=np.hstack([product.C, 0 * product.C])
    )
    s = twice.solve(regularizer=regularizer)
    assert s.status == "optimal"
    factor = 1.0 if regularizer == "l1" else 1 / np.sqrt(2)
    assert s.objective == pytest.approx(factor * value, rel=1e-5)


# --- signs that contradict each other -------------------------------------------------------------


@pytest.mark.parametrize("solver", ["newton", "admm", "working-set", "lp"])
@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_contradictory_signs_are_named(solver, regularizer) -> None:
    if (solver, regularizer) == ("lp", "l2"):
        pytest.skip("no linear program")
    product = random_product(30, 3, 3, seed=13)
    B = np.vstack([product.B, product.B[4]])
    C = np.vstack([product.C, product.C[7]])
    y = np.append(product.y, 1.0)
    signs = np.append(product.signs, -product.signs[4])
    with pytest.raises(nettrim.InfeasibleError, match=r"^signs: .*\b30\b"):
        nettrim.branch_hull(y, B, C, signs=signs, solver=solver, regularizer=regularizer)
    check = nettrim.check_signs(y, B, C, signs)
    assert not check.feasible
    assert check.margin == 0
    named = check.worst
    assert not nettrim.check_signs(y[named], B[named], C[named], signs[named]).feasible


def test_margin_of_good_signs() -> None:
    product = random_product(30, 3, 3, seed=13)
    check = nettrim.check_signs(product.y, product.B, product.C, product.signs)
    assert check.feasible
    assert check.margin > 0
    assert len(check.worst) > 0


# --- equalities that say nothing new, and clocks --------------------------------------------------


def vanishing(kind: str):
    """A product with zero measurements whose rows vanish, repeat or follow from others."""
    rng = np.random.default_rng(3)
    B, C = rng.standard_normal((2, 60, 6))
    h, m = rng.standard_normal((2, 6))
    orthogonal = C - np.outer(C @ m, m) / (m @ m)
    if kind == "zero":
        C[[7, 11]] = 0
    elif kind == "repeated":
        C[[3, 4, 5]] = orthogonal[3] * np.array([[1], [1], [-2]])
    elif kind == "combined":
        C[[3, 4]] = orthogonal[[3, 4]]
        C[8] = C[3] + 2 * C[4]
    elif kind == "all":
        C[[2, 3, 4, 9]] = np.array([0 * m, orthogonal[3], orthogonal[4], orthogonal[3]])
    C[np.abs(C) < 1e-15] = 0
    y = (B @ h) * (C @ m)
    y[np.abs(y) < 1e-12] = 0
    return y, B, C, np.sign(B @ h)


@pytest.mark.parametrize("zero", ["equality", "quadrant"])
@pytest.mark.parametrize("kind", ["zero", "repeated", "combined", "all"])
@pytest.mark.parametrize(("regularizer", "slack"), [("l1", None), ("l1", 3.0), ("l2", None)])
def test_zero_measurements_may_repeat_one_another(kind, zero, regularizer, slack) -> None:
    y, B, C, signs = vanishing(kind)
    options = {"signs": signs, "zero": zero, "regularizer": regularizer, "slack": slack}
    answers = [
        nettrim.branch_hull(y, B, C, solver=solver, **options)
        for solver in ("admm", "auto", "newton")
    ]
    for s in answers:
        assert s.status == "optimal"
        assert s.objective == pytest.approx(answers[0].objective, rel=5e-6)
        v = signs * (s.x + s.xi)
        assert v[y == 0].min() >= -1.001e-9 * np.abs(v).max()
    if zero == "equality":
        tight = answers[-1]
        np.testing.assert_allclose((tight.x + tight.xi)[y == 0], 0, atol=1e-9)


def test_rows_of_zeros_in_the_dictionary_of_known_signs() -> None:
    y, B, C, signs = vanishing("zero")
    B[20] = 0
    y[20] = 0
    for zero in ("drop", "quadrant"):
        s = nettrim.branch_hull(y, B, C, signs=signs, zero=zero, solver="newton")
        assert s.status == "optimal"


@pytest.mark.parametrize("relaxation", ["hull", "tangents"])
@pytest.mark.parametrize("solver", ["newton", "admm", "working-set", "lp"])
def test_the_clock_is_looked_at_in_every_step(solver, relaxation) -> None:
    if solver in ("newton", "working-set") and relaxation == "tangents":
        pytest.skip("hulls only")
    product = random_product(60, 20, 20, support=3, seed=5)
    s = nettrim.branch_hull(
        product.y,
        product.B,
        product.C,
        signs=product.signs,
        solver=solver,
        relaxation=relaxation,
        tol=1e-14,
        time_limit=1e-9,
    )
    assert (s.status, s.iterations) in {("time_limit", 1), ("optimal", 1)}
