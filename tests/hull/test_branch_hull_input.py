"""What BranchHull takes: other dictionaries, operators, limits; bad input is refused by name."""

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
from support.hulls import Product, proved_bound, random_product


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
    ({"y": np.ones((3, 1, 1))}, ValueError, "y"),
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
    ({"tangent_ratio": 1.5}, ValueError, "tangent_ratio"),
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
