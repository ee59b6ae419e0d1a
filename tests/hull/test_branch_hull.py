"""BranchHull: values against a conic solver, proofs, recovery, symmetries, and bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.fft import dct, idct
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import nettrim
from support.hulls import Product, proved_bound, random_product, rank_one_error, referee

# --- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["newton", "admm", "lp"])
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
    """Of both engines, with the bounds of spec branchhull A.3."""
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
    """Of dictionaries so different that no slope of the grid is near, the products are too small."""
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


# --- proofs and points -----------------------------------------------------------------------------


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


# --- recovery --------------------------------------------------------------------------------------


def test_sparse_signals_are_recovered() -> None:
    for seed in range(5):
        product = random_product(100, 100, 100, support=5, seed=seed, unit_columns=True)
        s = product.solve(tol=1e-9)
        assert rank_one_error(s, product) <= 1e-6
        assert s.objective == pytest.approx(10.0, rel=1e-8)
        np.testing.assert_array_equal(np.flatnonzero(s.h), np.flatnonzero(product.h))


def test_odds_of_recovery_follow_the_exact_law() -> None:
    for L, low, high in ((10, 0.0, 0.06), (16, 0.43, 0.57), (24, 0.92, 1.0)):
        hits = sum(
            nettrim.is_recoverable(p.h, p.m, p.B, p.C, regularizer="l2")
            for p in (random_product(L, 5, 5, seed=seed) for seed in range(400))
        )
        assert low <= hits / 400 <= high
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


@pytest.mark.slow
def test_noise() -> None:
    """Spec branchhull D.2 at alpha = .8: the error of the reference is .030."""
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


# --- symmetries ------------------------------------------------------------------------------------


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


# --- measurements that say less ---------------------------------------------------------------------


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


@pytest.mark.parametrize("solver", ["newton", "admm", "lp"])
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


# --- signs that contradict each other ----------------------------------------------------------------


@pytest.mark.parametrize("solver", ["newton", "admm", "lp"])
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


# --- input -----------------------------------------------------------------------------------------


def test_dictionaries_of_other_kinds() -> None:
    product = random_product(30, 6, 5, seed=14)
    expected = product.solve()
    for convert in (sparse.csr_matrix, sparse.coo_array, aslinearoperator):
        s = replace(product, B=convert(product.B), C=convert(product.C))
        found = nettrim.branch_hull(product.y, s.B, s.C, signs=product.signs, n_threads=1)
        assert found.objective == expected.objective


@pytest.mark.parametrize("regularizer", ["l1", "l2"])
@pytest.mark.parametrize("which", ["w", "x"])
def test_products_with_operators_are_all_that_admm_needs(which, regularizer) -> None:
    product = random_product(60, 12, 80, support=3, seed=15, unit_columns=True)
    known = product.signs if which == "w" else product.signs * np.sign(product.y)
    known[7] = 0
    expected = nettrim.branch_hull(
        product.y, product.B, product.C, signs=known, which=which, regularizer=regularizer
    )
    for convert in (sparse.csr_matrix, aslinearoperator):
        s = nettrim.branch_hull(
            product.y,
            convert(product.B),
            convert(product.C),
            signs=known,
            which=which,
            regularizer=regularizer,
            solver="admm",
        )
        assert s.status == "optimal"
        assert s.objective == pytest.approx(expected.objective, rel=2e-6)
        proof = proved_bound(replace(product, signs=known), s) if which == "w" else s.dual_bound
        assert expected.dual_bound * (1 - 2e-6) <= proof <= expected.objective * (1 + 1e-12)
        np.testing.assert_allclose(s.w, product.B @ s.h, rtol=1e-12, atol=1e-12)


def test_a_signal_in_its_own_basis_beside_cosines(rng) -> None:
    """10,000 gains without a model times a few cosines: no array of either would fit here."""
    n, count = 10_000, 40

    def signal(c):
        return idct(np.append(c.ravel(), np.zeros(n - count)), norm="ortho")

    cosines = LinearOperator(
        (n, count), matvec=signal, rmatvec=lambda s: dct(s.ravel(), norm="ortho")[:count]
    )
    m = np.zeros(count)
    m[[0, 3, 7]] = 100, 8, -5
    x = cosines @ m
    gains = rng.uniform(1, 2, n) * rng.choice([-1, 1], n)
    s = nettrim.branch_hull(gains * x, sparse.identity(n), cosines, signs=gains)
    assert (s.status, s.solver) == ("optimal", "admm")
    assert np.all(s.w * s.x * np.sign(gains * x) >= np.abs(gains * x) * (1 - 1e-9))


def test_operators_that_do_not_fit_are_refused() -> None:
    eye, n = np.eye(4), 100_000

    def solve(B, **options):
        rows = B.shape[0]
        return nettrim.branch_hull(np.ones(rows), B, np.ones((rows, 1)), signs=1, **options)

    with pytest.raises(ValueError, match=r"^B is a LinearOperator without rmatvec"):
        solve(LinearOperator((4, 4), matvec=lambda x: eye @ x))
    with pytest.raises(
        ValueError, match=r"^B is a LinearOperator whose rmatvec is not the adjoint"
    ):
        solve(LinearOperator((4, 4), matvec=lambda x: 2 * x, rmatvec=lambda x: x))
    with pytest.raises(ValueError, match=r"^B holds NaN or infinity"):
        solve(LinearOperator((4, 4), matvec=lambda x: x * np.nan, rmatvec=lambda x: x))
    for solver in ("newton", "lp"):
        with pytest.raises(ValueError, match=r"^B of shape .*admm"):
            solve(sparse.identity(n), solver=solver)


def test_an_error_of_an_operator_reaches_the_caller() -> None:
    calls = []

    def late_failure(x):
        calls.append(1)
        if len(calls) > 30:
            raise RuntimeError("the disk is gone")
        return 1.0 * x

    broken = LinearOperator((4, 4), matvec=late_failure, rmatvec=lambda x: 1.0 * x)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        nettrim.branch_hull(np.ones(4), broken, np.eye(4) + 0.1, signs=1, solver="admm", tol=1e-15)


BAD = [
    ({"y": np.ones((3, 1))}, ValueError, "y"),
    ({"y": [1, np.nan, 1]}, ValueError, "y"),
    ({"y": ["a", "b", "c"]}, TypeError, "y"),
    ({"B": np.ones((2, 2))}, ValueError, "B"),
    ({"C": np.full((3, 2), np.inf)}, ValueError, "C"),
    ({"C": np.ones((3, 0))}, ValueError, "C"),
    ({"signs": 0}, ValueError, "signs"),
    ({"signs": [1, 1]}, ValueError, "signs"),
    ({"which": "y"}, ValueError, "which"),
    ({"regularizer": "l3"}, ValueError, "regularizer"),
    ({"slack": -1}, ValueError, "slack"),
    ({"slack": 1, "regularizer": "l2"}, ValueError, "slack"),
    ({"slack": [1, 2]}, ValueError, "slack"),
    ({"zero": "ignore"}, ValueError, "zero"),
    ({"solver": "admm2"}, ValueError, "solver"),
    ({"solver": "lp", "regularizer": "l2"}, ValueError, "solver"),
    ({"relaxation": "box"}, ValueError, "relaxation"),
    ({"relaxation": "tangents", "tangent_ratio": 1.0}, ValueError, "tangent_ratio"),
    ({"relaxation": "tangents", "slack": 1.0}, ValueError, "relaxation"),
    ({"relaxation": "tangents", "regularizer": "l2"}, ValueError, "relaxation"),
    ({"relaxation": "tangents", "solver": "newton"}, ValueError, "relaxation"),
    ({"tol": 0}, ValueError, "tol"),
    ({"max_iter": 0}, ValueError, "max_iter"),
    ({"callback": 3}, TypeError, "callback"),
]


@pytest.mark.parametrize(("change", "error", "name"), BAD)
def test_bad_input_is_refused_by_name(change, error, name) -> None:
    arguments = {
        "y": [1.0, 2.0, 3.0],
        "B": np.eye(3)[:, :2] + 1,
        "C": np.eye(3)[:, :2] + 1,
        "signs": 1,
    }
    arguments |= change
    y, B, C = (arguments.pop(k) for k in ("y", "B", "C"))
    with pytest.raises(error, match=rf"^{name}\b"):
        nettrim.branch_hull(y, B, C, **arguments)


def test_a_callback_stops_and_is_told() -> None:
    product = random_product(60, 30, 20, noise=0.05, seed=15)
    seen: list[nettrim.HullProgress] = []
    s = product.solve(callback=lambda now: seen.append(now) or len(seen) == 3)
    assert s.status == "interrupted"
    assert s.iterations == len(seen) == 3
    assert seen[-1].gap == s.gap


def test_limits() -> None:
    product = random_product(60, 30, 20, noise=0.05, seed=15)
    assert product.solve(max_iter=2).status == "max_iter"
    assert product.solve(time_limit=1e-9).status == "time_limit"


def test_rescaling() -> None:
    s = random_product(30, 6, 5, seed=16).solve()
    t = s.rescale(norm_w=3.0)
    assert np.linalg.norm(t.w) == pytest.approx(3.0)
    np.testing.assert_allclose(t.w * t.x, s.w * s.x)
    with pytest.raises(ValueError, match="norm_w"):
        s.rescale(norm_w=0.0)


def test_report_says_what_matters() -> None:
    s = random_product(30, 6, 5, seed=16).solve()
    assert "optimal" in str(s)
    assert "NOT CONVERGED" in str(random_product(30, 6, 5, seed=16).solve(max_iter=1))
    assert s.explain(3).count("\n") == 4
    assert s.weights_of_measurements().sum() == pytest.approx(1.0)


@settings(max_examples=1000)
@given(
    st.integers(1, 14),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(0, 2**32),
    st.sampled_from(["l1", "l2", "slack"]),
    st.sampled_from(["exact", "noisy", "free"]),
    st.integers(-12, 12),
)
def test_random_programs(L, K, N, seed, form, data, exponent) -> None:
    """Right, or a named error: signs may contradict, measurements vanish, scales be odd."""
    rng = np.random.default_rng(seed)
    B, C = rng.standard_normal((L, K)), rng.standard_normal((L, N)) * 10.0**exponent
    w, x = B @ rng.standard_normal(K), C @ rng.standard_normal(N)
    y = {"exact": w * x, "noisy": w * x * rng.lognormal(0, 1, L), "free": rng.standard_normal(L)}[
        data
    ]
    signs = np.sign(w) if data != "free" else rng.choice([-1.0, 1.0], L)
    product = Product(B, C, np.ones(K), np.ones(N), y, signs)
    slack = 10.0**-exponent if form == "slack" else None
    regularizer = "l1" if form == "slack" else form
    try:
        s = product.solve(regularizer=regularizer, slack=slack)
    except nettrim.InfeasibleError:
        check = nettrim.check_signs(y, B, C, signs)
        assert not check.feasible
        return
    assert s.status == "optimal", str(s)
    assert proved_bound(product, s, slack) >= s.objective * (1 - 2e-6)
    assert np.all(signs * s.w >= 0)
    assert np.all((s.x + s.xi) * s.w * np.sign(y) >= np.abs(y) * (1 - 1e-9))


# --- equalities that say nothing new, and clocks -------------------------------------------------------


def vanishing(kind: str):
    """A product with zero measurements whose dictionary rows vanish, repeat or follow from others."""
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
    expected = nettrim.branch_hull(y, B, C, solver="admm", **options)
    assert expected.status == "optimal"
    s = nettrim.branch_hull(y, B, C, **options)
    assert s.status == "optimal"
    assert s.objective == pytest.approx(expected.objective, rel=5e-6)
    if zero == "equality":
        tight = nettrim.branch_hull(y, B, C, solver="newton", **options)
        assert tight.status == "optimal"
        np.testing.assert_allclose((tight.x + tight.xi)[y == 0], 0, atol=1e-9)


def test_rows_of_zeros_in_the_dictionary_of_known_signs() -> None:
    y, B, C, signs = vanishing("zero")
    B[20] = 0
    y[20] = 0
    for zero in ("drop", "quadrant"):
        s = nettrim.branch_hull(y, B, C, signs=signs, zero=zero, solver="newton")
        assert s.status == "optimal"


@pytest.mark.parametrize("relaxation", ["hull", "tangents"])
@pytest.mark.parametrize("solver", ["newton", "admm", "lp"])
def test_the_clock_is_looked_at_in_every_step(solver, relaxation) -> None:
    if (solver, relaxation) == ("newton", "tangents"):
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
