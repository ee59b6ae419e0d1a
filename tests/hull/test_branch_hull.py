"""BranchHull: values against a conic solver, proofs, symmetries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nettrim
from support.hulls import Product, proved_bound, random_product, rank_one_error, referee

# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["newton", "admm", "working-set", "lp"])
def test_scalars(solver, rng) -> None:
    """One coefficient each: l1 value 2 sqrt(max r / (a d))."""
    a, d, y = rng.uniform(0.1, 3, (3, 6))
    s = nettrim.branch_hull(y, a[:, None], d[:, None], signs=1, solver=solver)
    assert s.objective == pytest.approx(2 * np.sqrt(np.max(y / (a * d))), rel=1e-6)
    s = nettrim.branch_hull(y, a[:, None], d[:, None], signs=1, regularizer="l2")
    assert s.objective == pytest.approx(2 * np.max(y / (a * d)), rel=1e-6)


def test_identities(rng) -> None:
    """Without mixing every measurement is alone."""
    y = rng.uniform(0.1, 3, 12) * rng.choice([-1, 1], 12)
    eye, r = np.eye(12), np.abs(y)
    signs = rng.choice([-1.0, 1.0], 12)
    value = nettrim.branch_hull(y, eye, eye, signs=signs).objective
    assert value == pytest.approx(2 * np.sqrt(r).sum(), rel=1e-6)
    value = nettrim.branch_hull(y, eye, eye, signs=signs, regularizer="l2").objective
    assert value == pytest.approx(2 * r.sum(), rel=1e-6)
    price = rng.uniform(0.2, 2, 12)
    value = nettrim.branch_hull(y, eye, eye, signs=signs, slack=price).objective
    assert value == pytest.approx(2 * np.sqrt(np.minimum(1, price) * r).sum(), rel=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("shape", [(40, 12, 10), (60, 30, 20), (80, 60, 60)])
@pytest.mark.parametrize(
    ("regularizer", "slack"),
    [("l1", None), ("l2", None), ("l1", 0.05), ("l1", 0.5), ("l1", 1000.0)],
)
def test_against_clarabel(shape, noise, regularizer, slack) -> None:
    product = random_product(*shape, support=3, noise=noise, seed=sum(shape))
    s = product.solve(regularizer=regularizer, slack=slack)
    assert s.status == "optimal"
    assert s.gap <= 1e-6
    assert s.objective == pytest.approx(referee(product, regularizer, slack), rel=1e-6)
    assert proved_bound(product, s, slack) == pytest.approx(s.dual_bound, rel=1e-9)


@pytest.mark.parametrize("shape", [(60, 30, 20), (40, 60, 60)])
@pytest.mark.parametrize(("regularizer", "slack"), [("l1", None), ("l2", None), ("l1", 0.3)])
def test_alternating_directions_agree(shape, regularizer, slack) -> None:
    product = random_product(*shape, support=3, noise=0.05, seed=6)
    s = product.solve(solver="admm", regularizer=regularizer, slack=slack)
    assert (s.status, s.solver) == ("optimal", "admm")
    assert s.objective == pytest.approx(referee(product, regularizer, slack), rel=2e-6)
    assert proved_bound(product, s, slack) == pytest.approx(s.dual_bound, rel=1e-9)
    assert np.all((s.x + s.xi) * s.w * np.sign(product.y) >= np.abs(product.y) * (1 - 1e-9))


@pytest.mark.parametrize("ratio", [2.0, 1.1])
def test_tangents(ratio) -> None:
    """Of both engines: below the hulls by the factor cosh(log(ratio) / 2) at most."""
    product = random_product(60, 12, 10, support=3, noise=0.05, seed=5)
    tangents = {"relaxation": "tangents", "tangent_ratio": ratio}
    s, lp = product.solve(**tangents), product.solve(**tangents, solver="lp")
    hull, factor = product.solve().objective, np.cosh(np.log(ratio) / 2)
    assert (s.status, s.solver, lp.status) == ("optimal", "admm", "optimal")
    assert s.dual_bound * (1 - 1e-8) <= lp.objective <= s.objective * (1 + 1e-8)
    assert hull / factor <= lp.objective * (1 + 1e-8) <= hull * (1 + 1e-7)
    for answer in (s, lp):
        assert np.all(answer.w * answer.x / product.y >= factor**-2 - 1e-6)


def test_tangents_at_odd_scales() -> None:
    product = random_product(30, 8, 6, support=2, seed=7)
    plain = product.solve(relaxation="tangents").objective
    for size in (1e-8, 1e8):
        scaled = replace(product, y=size * product.y)
        value = scaled.solve(relaxation="tangents").objective
        assert value == pytest.approx(np.sqrt(size) * plain, rel=2e-6)
    steep = replace(product, B=30 * product.B, y=30 * product.y)
    s = steep.solve(relaxation="tangents", tol=1e-4)
    exact = steep.solve(relaxation="tangents", solver="lp").objective
    assert s.converged
    assert s.dual_bound * (1 - 1e-9) <= exact <= s.objective * (1 + 1e-9)


@pytest.mark.parametrize("solver", ["auto", "lp"])
@pytest.mark.parametrize("size", [1e-14, 1.0, 1e14])
def test_tangents_are_optimal_only_close_to_the_hulls(solver, size) -> None:
    """Dictionaries so different that no slope of the grid is near: products are too small."""
    product = random_product(20, 4, 3, support=2, seed=7)
    odd = replace(product, B=size * product.B, y=size * product.y)
    s = odd.solve(relaxation="tangents", solver=solver, tol=1e-4)
    factor = np.cosh(np.log(1.1) / 2)
    close = bool((s.w * s.x / odd.y >= factor**-2 - 1e-6).all())
    assert s.status == ("optimal" if close else "numerical")
    assert close == (size == 1.0)
    hull = odd.solve().objective
    assert s.dual_bound <= hull * (1 + 1e-8)


def test_tangents_of_contradicting_signs_are_refused() -> None:
    """Slopes that end let a product be zero, which no branch does."""
    B, C = np.ones((2, 1)), np.array([[1.0], [-1.0]])
    for solver in ("auto", "lp"):
        with pytest.raises(nettrim.InfeasibleError):
            nettrim.branch_hull([1.0, 1.0], B, C, signs=1, relaxation="tangents", solver=solver)


@pytest.mark.parametrize("relaxation", ["hull", "tangents"])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e10])
def test_linear_programs_tell_the_multipliers_of_their_bound(relaxation, size) -> None:
    product = random_product(30, 8, 6, support=2, seed=8)
    scaled = replace(product, y=size * product.y)
    s = scaled.solve(relaxation=relaxation, solver="lp", tol=1e-4)
    assert s.converged
    assert s.dual_bound <= proved_bound(scaled, s, None) * (1 + 1e-12)


@pytest.mark.parametrize("slack", [None, 0.3])
def test_cutting_planes_agree(slack) -> None:
    product = random_product(60, 12, 10, support=3, noise=0.05, seed=5)
    bounds: list[float] = []
    s = product.solve(
        solver="lp", slack=slack, callback=lambda now: bounds.append(now.dual_bound) and None
    )
    exact = referee(product, "l1", slack)
    assert s.status == "optimal"
    assert np.all(np.diff(bounds) >= 0)
    assert s.dual_bound * (1 - 1e-9) <= exact <= s.objective * (1 + 1e-9)
    assert proved_bound(product, s, slack) >= s.dual_bound * (1 - 1e-6)


# --- proofs and points ----------------------------------------------------------------------------


@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_answer_is_feasible_and_balanced(regularizer) -> None:
    product = random_product(50, 20, 15, noise=0.1, seed=3)
    s = product.solve(regularizer=regularizer)
    assert np.all(product.signs * s.w > 0)
    assert np.all(s.w * s.x * np.sign(product.y) >= np.abs(product.y) * (1 - 1e-9))
    order = 1 if regularizer == "l1" else 2
    sizes = np.linalg.norm(s.h, order) ** order, np.linalg.norm(s.m, order) ** order
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-9)
    assert s.objective == pytest.approx(sum(sizes), rel=1e-12)


def test_weak_duality(rng) -> None:
    """Any nonnegative multipliers at all prove a bound below the optimum."""
    product = random_product(40, 12, 10, support=3, seed=1)
    for regularizer in ("l1", "l2"):
        s = product.solve(regularizer=regularizer)
        for _ in range(500):
            p, q = np.exp(rng.normal(0, 3, (2, 40)))
            assert proved_bound(product, replace(s, p=p, q=q)) <= s.objective * (1 + 1e-12)


def test_slack_is_repaired_exactly() -> None:
    product = random_product(40, 8, 8, support=2, seed=2)
    wrong = product.y.copy()
    wrong[:3] *= -1.5
    s = replace(product, y=wrong).solve(slack=0.05)
    feasible = (s.x + s.xi) * s.w * np.sign(wrong)
    assert s.status == "optimal"
    assert np.all(feasible >= np.abs(wrong) * (1 - 1e-9))


# --- symmetries -----------------------------------------------------------------------------------


def test_scaling_laws() -> None:
    product = random_product(40, 12, 10, support=3, noise=0.05, seed=6)
    for regularizer, by_r, by_A in (("l1", 2.0, 1 / np.sqrt(2)), ("l2", 4.0, 0.5)):
        value = product.solve(regularizer=regularizer, tol=1e-8).objective
        larger = replace(product, y=4 * product.y).solve(regularizer=regularizer, tol=1e-8)
        assert larger.objective == pytest.approx(by_r * value, rel=1e-6)
        louder = replace(product, B=2 * product.B).solve(regularizer=regularizer, tol=1e-8)
        assert louder.objective == pytest.approx(by_A * value, rel=1e-6)


@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_invariance(regularizer, rng) -> None:
    product = random_product(40, 12, 10, noise=0.05, seed=7)
    value = product.solve(regularizer=regularizer, tol=1e-8).objective
    order = rng.permutation(40)
    shuffled = Product(
        product.B[order],
        product.C[order],
        product.h,
        product.m,
        product.y[order],
        product.signs[order],
    )
    flipped = replace(product, B=-product.B, signs=-product.signs)
    for same in (shuffled, flipped):
        assert same.solve(regularizer=regularizer, tol=1e-8).objective == pytest.approx(
            value, rel=1e-6
        )
    swapped = nettrim.branch_hull(
        product.y, product.C, product.B, signs=product.signs, which="x", regularizer=regularizer
    )
    assert swapped.objective == pytest.approx(value, rel=1e-6)
    assert np.all(np.sign(swapped.x) == product.signs)


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_extreme_scales(size) -> None:
    product = random_product(60, 20, 20, support=2, seed=8)
    for changed in (
        replace(product, y=size * product.y),
        replace(product, B=size * product.B, y=size * product.y),
        replace(product, C=size * product.C),
    ):
        s = changed.solve()
        assert s.status == "optimal"
        assert rank_one_error(s, product) <= 1e-3
