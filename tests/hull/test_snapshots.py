"""Several snapshots behind the same gains: values, structure, symmetries, input."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

import nettrim
import random_snapshots
from support.hulls import random_product, referee
from support.snapshots import Array, Scenes, joint_error, random_scenes

# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_against_clarabel(seed) -> None:
    assert random_snapshots.error(seed) <= random_snapshots.RIGHT


@pytest.mark.parametrize("regularizer", ["l1", "l2"])
@pytest.mark.parametrize("common", [True, False])
def test_structure_changes_nothing(common, regularizer) -> None:
    """The same program with Kronecker's products, by every engine."""
    scenes = random_scenes(12, 4, 3, 4, common=common, noise=0.1, missing=0.1, seed=1)
    s, explicit = scenes.solve(regularizer=regularizer, tol=1e-8), scenes.spelled_out()
    flat = explicit.solve(regularizer=regularizer, tol=1e-8)
    assert s.objective == pytest.approx(flat.objective, rel=2e-8)
    np.testing.assert_allclose(s.h, flat.h, atol=1e-3 * np.abs(flat.h).max())
    np.testing.assert_allclose(s.m.T.ravel(), flat.m, atol=1e-3 * np.abs(flat.m).max())
    for solver in ("admm",) if regularizer == "l2" else ("admm", "lp"):
        other = scenes.solve(regularizer=regularizer, solver=solver)
        assert (other.status, other.solver) == ("optimal", solver)
        assert other.objective == pytest.approx(s.objective, rel=2e-6)


@pytest.mark.parametrize("form", ["l1", "l2", "slack", "equality", "x", "tangents"])
def test_one_snapshot_is_the_single_program(form) -> None:
    product = random_product(30, 6, 5, noise=0.1, seed=2)
    y, signs = product.y.copy(), product.signs.copy()
    y[:2], signs[4] = 0, 0
    options = {
        "l1": {},
        "l2": {"regularizer": "l2"},
        "slack": {"slack": 0.3},
        "equality": {"zero": "equality", "slack": 0.3},
        "x": {"which": "x", "regularizer": "l2", "slack": None},
        "tangents": {"relaxation": "tangents"},
    }[form]
    if form == "x":
        signs *= np.sign(y) + (y == 0)
    single = nettrim.branch_hull(y, product.B, product.C, signs=signs, **options)
    for given in (signs, signs[:, None]):
        for C in (product.C, [product.C], product.C[None]):
            s = nettrim.branch_hull(y[:, None], product.B, C, signs=given, **options)
            np.testing.assert_array_equal(s.h, single.h)
            np.testing.assert_array_equal(s.m, single.m[:, None])
            np.testing.assert_array_equal(s.x, single.x[:, None])
            np.testing.assert_array_equal(s.p, single.p[:, None])
            assert s.objective == single.objective


@pytest.mark.parametrize("slack", [None, 0.3])
@pytest.mark.parametrize("zero", ["drop", "quadrant", "equality"])
def test_zero_measurements(zero, slack) -> None:
    scenes = random_scenes(14, 3, 3, 4, noise=0.1, seed=3)
    y = scenes.y.copy()
    y[[0, 1, 2], [0, 1, 1]] = 0
    scenes = replace(scenes, y=y)
    s = scenes.solve(zero=zero, slack=slack, tol=1e-8)
    flat = scenes.spelled_out().solve(zero=zero, slack=slack, tol=1e-8)
    assert s.status == "optimal"
    assert s.objective == pytest.approx(flat.objective, rel=2e-8)
    x = (s.x + s.xi)[[0, 1, 2], [0, 1, 1]] * np.sign(s.w[:3])
    if zero == "quadrant":
        assert np.all(x >= -1e-12)
    if zero == "equality":
        assert np.abs(x).max() <= 1e-8 * np.abs(s.x).max()


def test_gains_are_recovered_and_bad_measurements_found() -> None:
    scenes = random_scenes(40, 8, 4, 6, seed=4)
    s = scenes.solve(regularizer="l2", tol=1e-10)
    assert joint_error(s, scenes) <= 1e-6
    np.testing.assert_allclose(s.products, scenes.y, rtol=1e-6)
    y = scenes.y.copy()
    y[[3, 17], [5, 0]] *= -2
    robust = replace(scenes, y=y).solve(slack=0.3, tol=1e-10)
    assert np.argwhere(robust.repaired).tolist() == [[3, 5], [17, 0]]
    assert "3, 5" in robust.explain(y.size)
    again = robust.rescale(norm_w=2.0)
    np.testing.assert_allclose(again.products, robust.products)


def test_threads_and_repetition() -> None:
    scenes = random_scenes(30, 40, 4, 6, noise=0.1, seed=5)
    one, two = scenes.solve(n_threads=1), scenes.solve(n_threads=2)
    assert one.objective == pytest.approx(two.objective, rel=2e-6)
    np.testing.assert_array_equal(two.m, scenes.solve(n_threads=2).m)


def test_cost_is_linear_in_snapshots() -> None:
    """Ten times the snapshots, at most some fifteen times the time of an iteration."""

    def seconds(J: int) -> float:
        scenes = random_scenes(40, J, 8, 12, noise=0.1, seed=6)
        times = []
        for _ in range(3):
            began = time.process_time()
            s = scenes.solve(regularizer="l2")
            times.append((time.process_time() - began) / s.iterations)
        return min(times)

    assert seconds(400) <= 20 * seconds(40)


# --- input ----------------------------------------------------------------------------------------


def test_dictionaries_of_other_kinds() -> None:
    scenes = random_scenes(16, 3, 3, 4, common=False, noise=0.1, seed=7)
    expected = scenes.solve()
    for convert in (sparse.csr_array, aslinearoperator):
        C = [convert(D) for D in scenes.C]
        s = nettrim.branch_hull(scenes.y, convert(scenes.B), C, signs=scenes.signs, n_threads=1)
        assert s.objective == expected.objective
    s = nettrim.branch_hull(scenes.y, scenes.B, C, signs=scenes.signs, solver="admm", tol=1e-3)
    assert s.objective == pytest.approx(expected.objective, rel=1e-3)
    s = nettrim.branch_hull(scenes.y, scenes.B, np.array(scenes.C), signs=scenes.signs, n_threads=1)
    assert s.objective == expected.objective


def test_slack_has_a_price_for_all_for_a_sensor_or_for_a_measurement() -> None:
    scenes = random_scenes(10, 3, 3, 4, noise=0.3, seed=8)
    price = np.linspace(0.05, 0.5, 10)
    whole = np.repeat(price[:, None], 3, axis=1)
    s = scenes.solve(slack=price)
    assert s.objective == scenes.solve(slack=whole).objective
    assert s.objective == pytest.approx(
        referee(scenes.spelled_out(), "l1", whole.T.ravel()), rel=1e-6
    )


@pytest.mark.parametrize("solver", ["auto", "newton", "admm", "working-set", "lp"])
def test_contradictory_signs_are_named(solver) -> None:
    scenes = random_scenes(10, 3, 3, 4, seed=9)
    signs = np.repeat(scenes.signs[:, None], 3, axis=1)
    signs[6, 2] *= -1
    with pytest.raises(nettrim.InfeasibleError, match=r"^signs: .*\b6\b"):
        replace(scenes, signs=signs).solve(solver=solver)
    check = nettrim.check_signs(scenes.y, scenes.B, scenes.C[0], signs)
    assert not check.feasible
    assert 6 in check.worst[:, 0]
    y, C = scenes.y.copy(), scenes.C[0].copy()
    C[5], y[5] = C[6], y[6] * scenes.signs[6] * scenes.signs[5]
    y[6, 2] *= -1  # in one scene, which another product contradicts there
    if solver == "admm":
        return  # it does not see that there is no point for thousands of products
    with pytest.raises(nettrim.InfeasibleError, match=r"^signs: .*\[6, 2\]"):
        nettrim.branch_hull(y, scenes.B, C, signs=scenes.signs, solver=solver)
    assert nettrim.check_signs(scenes.y, scenes.B, scenes.C[0], scenes.signs).feasible


BAD = [
    ({"y": np.ones((3, 0))}, ValueError, "y"),
    ({"y": np.ones((3, 2, 1))}, ValueError, "y must have one dimension, or two"),
    ({"y": np.full((3, 2), np.nan)}, ValueError, "y"),
    ({"B": np.ones((2, 2))}, ValueError, "B"),
    ({"C": np.ones((2, 2))}, ValueError, "C"),
    ({"C": [np.ones((3, 2))] * 3}, ValueError, "C"),
    ({"C": [np.ones((3, 2)), np.ones((3, 1))]}, ValueError, "C"),
    ({"C": [np.ones((3, 2)), np.ones((2, 2))]}, ValueError, "C"),
    ({"C": []}, ValueError, "C"),
    ({"signs": [1, 1]}, ValueError, "signs"),
    ({"signs": np.ones((2, 3))}, ValueError, "signs"),
    ({"signs": np.zeros((3, 2))}, ValueError, "signs"),
    ({"slack": [1, 2]}, ValueError, "slack"),
    ({"slack": np.zeros((3, 2))}, ValueError, "slack"),
    ({"which": "x"}, ValueError, "which"),
    ({"relaxation": "tangents", "solver": "newton"}, ValueError, "relaxation"),
    ({"solver": "lp", "regularizer": "l2"}, ValueError, "solver"),
]


@pytest.mark.parametrize(("change", "error", "name"), BAD)
def test_bad_input_is_refused_by_name(change, error, name) -> None:
    arguments = {"y": np.ones((3, 2)), "B": np.eye(3)[:, :2] + 1, "C": np.eye(3)[:, :2] + 1}
    arguments |= {"signs": 1} | change
    y, B, C = (arguments.pop(k) for k in ("y", "B", "C"))
    with pytest.raises(error, match=rf"^{name}\b"):
        nettrim.branch_hull(y, B, C, **arguments)


# --- recovery -------------------------------------------------------------------------------------


def smooth_gains(sensors: int, count: int, *, orthonormal: bool) -> tuple[Array, Array]:
    """Five cosines and gains in their span, which vary threefold."""
    position = (np.arange(sensors) + 0.5) / sensors
    cosines = np.cos(np.pi * position[:, None] * np.arange(count))
    gains = cosines @ [1, 0.35, -0.3, 0.2, 0.1][:count]
    return (np.linalg.qr(cosines)[0] if orthonormal else cosines), gains


def scenes_of(B: Array, gains: Array, C: Array, m: Array) -> Scenes:
    h = np.linalg.lstsq(B, gains, rcond=None)[0]
    return Scenes(B, [C] * m.shape[1], True, h, m, gains[:, None] * (C @ m), np.ones(len(gains)))


def test_orthonormal_dictionaries_recover_what_others_do_not(rng) -> None:
    """The published failure: 24 sensors, 16 scenes, gains of five cosines."""
    C, m = rng.standard_normal((24, 8)), rng.standard_normal((8, 16))
    for orthonormal in (False, True):
        B, gains = smooth_gains(24, 5, orthonormal=orthonormal)
        D = np.linalg.qr(C)[0] if orthonormal else C
        scenes = scenes_of(B, gains, D, np.linalg.lstsq(D, C @ m, rcond=None)[0])
        s = scenes.solve(regularizer="l2", tol=1e-9)
        assert s.converged
        recoverable = nettrim.is_recoverable(scenes.h, scenes.m, scenes.B, D, regularizer="l2")
        assert recoverable == orthonormal
        assert (joint_error(s, scenes) <= 1e-4) == orthonormal


@pytest.mark.parametrize(("regularizer", "L"), [("l1", 5), ("l2", 10)])
def test_solver_and_recovery_test_agree(regularizer, L) -> None:
    verdicts = []
    for seed in range(12):
        scenes = random_scenes(L, 3, 3, 3, common=bool(seed % 2), seed=seed)
        if regularizer == "l1":
            scenes = sparse_scenes(scenes)
        s = scenes.solve(regularizer=regularizer, tol=1e-9)
        C = scenes.C[0] if scenes.common else scenes.C
        verdicts.append(
            nettrim.is_recoverable(scenes.h, scenes.m, scenes.B, C, regularizer=regularizer)
        )
        assert (joint_error(s, scenes) <= 1e-3) == verdicts[-1]
    assert set(verdicts) == {True, False}


def sparse_scenes(scenes: Scenes) -> Scenes:
    """One coefficient of h, and one of every snapshot's m."""
    h, m = np.eye(3)[1], np.eye(3)[:, np.arange(scenes.m.shape[1]) % 3]
    w = scenes.B @ h
    x = np.stack([D @ m[:, j] for j, D in enumerate(scenes.C)], axis=1)
    return replace(scenes, h=h, m=m, y=w[:, None] * x, signs=np.sign(w))


WARNINGS = pytest.mark.filterwarnings("error")


@WARNINGS
def test_a_warning_tells_of_products_that_are_not_those_measured(rng) -> None:
    B, gains = smooth_gains(24, 5, orthonormal=False)
    scenes = scenes_of(B, gains, rng.standard_normal((24, 8)), rng.standard_normal((8, 16)))
    with pytest.warns(nettrim.RecoveryWarning, match=r"exceed the measured ones by \d+\.\d%"):
        s = scenes.solve(regularizer="l2")
    misfit = np.linalg.norm(s.products - scenes.y) / np.linalg.norm(scenes.y)
    assert s.misfit == pytest.approx(misfit)


@WARNINGS
def test_a_warning_tells_of_dictionaries_that_hold_other_signals_with_the_same_products(
    rng,
) -> None:
    """Where x may be anything, every w divides the products."""
    B = np.column_stack([np.ones(12), np.linspace(-1, 1, 12)])
    y = (B @ [2, 1])[:, None] * rng.standard_normal((12, 2))
    for measured in (y, y[:, 0]):
        with pytest.warns(nettrim.RecoveryWarning, match="do not determine the answer"):
            s = nettrim.branch_hull(measured, B, np.eye(12), signs=1, regularizer="l2")
        assert s.misfit <= 0.02


@WARNINGS
def test_no_warning_where_signals_are_recovered() -> None:
    scenes = random_scenes(40, 8, 4, 6, seed=4)
    assert scenes.solve(regularizer="l2").misfit <= 1e-4
    product = random_product(80, 10, 10, support=2, seed=1)
    assert product.solve().misfit <= 1e-4
