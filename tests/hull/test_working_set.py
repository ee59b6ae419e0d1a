"""BranchHull of many measurements by few of them: the other engines' answers, proofs, limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import nettrim
from nettrim.hull import working_set
from nettrim.hull.program import HullProgram
from support.hulls import Product, proved_bound, random_product

MANY = (2000, 5, 60)


def with_zeros(product: Product) -> Product:
    """Some, where both signals have the same sign."""
    y = product.y.copy()
    y[np.flatnonzero(y > 0)[::50]] = 0
    return replace(product, y=y)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, aslinearoperator])
@pytest.mark.parametrize(("regularizer", "slack"), [("l1", None), ("l2", None), ("l1", 0.05)])
def test_the_answer_is_that_of_newton(kind, regularizer, slack) -> None:
    product = random_product(*MANY, support=4, noise=0.1, seed=3)
    options = {"regularizer": regularizer, "slack": slack}
    expected = product.solve(solver="newton", **options)
    s = nettrim.branch_hull(
        product.y,
        kind(product.B),
        kind(product.C),
        signs=product.signs,
        solver="working-set",
        **options,
    )
    assert (s.status, s.solver) == ("optimal", "working-set")
    assert s.objective == pytest.approx(expected.objective, rel=2e-6)
    assert proved_bound(product, s, slack) == pytest.approx(s.dual_bound, rel=1e-9)
    assert s.dual_bound <= expected.objective * (1 + 1e-12)
    u, v = product.A @ s.h, product.D @ s.m
    slack_of_v = s.xi * np.sign(product.y) * product.signs
    assert ((u > 0) & (u * (v + slack_of_v) >= np.abs(product.y) * (1 - 1e-9))).all()


@pytest.mark.parametrize("zero", ["drop", "quadrant"])
@pytest.mark.parametrize("slack", [None, 0.1])
def test_zero_measurements(zero, slack) -> None:
    product = with_zeros(random_product(*MANY, support=4, noise=0.05, seed=4))
    s, expected = (
        product.solve(solver=solver, zero=zero, slack=slack) for solver in ("working-set", "newton")
    )
    assert s.status == expected.status == "optimal"
    assert s.objective == pytest.approx(expected.objective, rel=2e-6)


def test_measurements_that_ask_for_an_equality() -> None:
    rng = np.random.default_rng(5)
    B, C = rng.standard_normal((1500, 4)), rng.standard_normal((1500, 30))
    C[:10] = C[0]
    m = np.where(np.arange(30) < 4, 1.0, 0.0)
    m[3] = -C[0, :3].sum() / C[0, 3]  # x is zero where the first rows measure it
    w, x = B @ np.ones(4), C @ m
    y = w * np.where(np.arange(1500) < 10, 0.0, x)
    s, expected = (
        nettrim.branch_hull(y, B, C, signs=w, zero="equality", solver=solver)
        for solver in ("working-set", "newton")
    )
    assert s.status == expected.status == "optimal"
    assert s.objective == pytest.approx(expected.objective, rel=2e-6)
    assert np.abs(s.x[:10]).max() <= 1e-8 * np.abs(s.x).max()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rounds=st.integers(1, 4),
    regularizer=st.sampled_from(["l1", "l2"]),
    noise=st.sampled_from([0.0, 0.1]),
)
def test_no_bound_is_above_the_optimum(seed, rounds, regularizer, noise) -> None:
    """However early the search is stopped."""
    product = random_product(900, 4, 12, support=3, noise=noise, seed=seed)
    optimum = product.solve(solver="newton", regularizer=regularizer)
    s = product.solve(solver="working-set", regularizer=regularizer, max_iter=rounds)
    assert 0 < s.dual_bound <= optimum.objective * (1 + 1e-12)
    assert s.objective >= optimum.dual_bound * (1 - 1e-12)
    assert s.iterations <= rounds


class Counted:
    """A dictionary that counts its products, and does something odd at one of them."""

    def __init__(self, array, odd=None, at: int = 0) -> None:
        self.products = 0

        def counted(product):
            def apply(x):
                self.products += 1
                if odd is not None and self.products == at:
                    odd()
                return product(x.ravel())

            return apply

        self.operator = LinearOperator(
            array.shape,
            matvec=counted(lambda x: array @ x),
            rmatvec=counted(lambda x: array.T @ x),
            dtype=float,
        )


def test_few_measurements_are_ever_asked_for() -> None:
    product = random_product(30_000, 5, 40, support=3, noise=0.05, seed=6)
    C = Counted(product.C)
    s = nettrim.branch_hull(product.y, product.B, C.operator, signs=product.signs, tol=1e-4)
    assert (s.status, s.solver) == ("optimal", "working-set")
    assert C.products < 3000


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_columns_come_and_go(noise) -> None:
    """Without noise every measurement may have a multiplier, and columns pay by turns."""
    product = random_product(3000, 5, 300, support=5, noise=noise, seed=11)
    s, expected = (product.solve(solver=solver, tol=1e-5) for solver in ("working-set", "newton"))
    assert s.status == expected.status == "optimal"
    assert s.objective == pytest.approx(expected.objective, rel=2e-5)
    assert proved_bound(product, s) == pytest.approx(s.dual_bound, rel=1e-9)


def test_operators_may_return_what_they_are_given() -> None:
    product = random_product(300, 4, 300, support=3, seed=12)
    eye = LinearOperator((300, 300), matvec=lambda x: x, rmatvec=lambda x: x, dtype=float)
    s, expected = (
        nettrim.branch_hull(product.y, product.B, C, signs=product.signs, solver=solver)
        for C, solver in ((eye, "working-set"), (np.eye(300), "newton"))
    )
    assert s.status == expected.status == "optimal"
    assert s.objective == pytest.approx(expected.objective, rel=2e-6)


def test_auto_takes_it_for_many_measurements_of_few_coefficients() -> None:
    product = random_product(30_000, 5, 40, support=3, seed=7)
    assert product.solve(tol=1e-2).solver == "newton"  # quick enough of arrays
    operators = replace(product, C=aslinearoperator(product.C))
    assert operators.solve(tol=1e-4).solver == "working-set"
    assert operators.solve(tol=1e-2, relaxation="tangents", time_limit=1e-9).solver == "admm"
    B, C = np.ones((8000, 5)), np.ones((8000, 400))
    assert working_set.suits(HullProgram.of(np.ones(8000), B, C, 1))
    assert not working_set.suits(HullProgram.of(np.ones(8000), B, C[:, :100], 1))


@pytest.mark.parametrize("odd", [True, False])
def test_interrupts(odd) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    product = random_product(3000, 5, 40, support=3, seed=8)
    C = Counted(product.C, interrupt if odd else None, at=100)
    s = nettrim.branch_hull(
        product.y,
        product.B,
        C.operator,
        signs=product.signs,
        solver="working-set",
        callback=None if odd else lambda progress: progress.iteration == 1,
    )
    assert s.status == "interrupted"
    assert not s.converged


def test_time_is_looked_at_while_measurements_are_fetched() -> None:
    product = random_product(3000, 5, 40, support=3, seed=9)
    C = Counted(product.C)
    s = nettrim.branch_hull(
        product.y,
        product.B,
        C.operator,
        signs=product.signs,
        solver="working-set",
        time_limit=1e-9,
    )
    assert s.status == "time_limit"
    assert C.products < 10


def test_a_contradiction_is_named() -> None:
    """By measurements of the set: of the whole operator no array is made."""
    rng = np.random.default_rng(10)
    B = rng.uniform(1, 2, (30_000, 2))
    C = sparse.csr_array(rng.standard_normal((30_000, 40)))
    signs = np.where(np.arange(30_000) % 2, 1, -1)
    with pytest.raises(nettrim.InfeasibleError, match="contradict each other"):
        nettrim.branch_hull(rng.uniform(1, 2, 30_000), B, C, signs=signs)


def test_tangents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^relaxation='tangents'"):
        random_product(20, 2, 2, seed=0).solve(solver="working-set", relaxation="tangents")
