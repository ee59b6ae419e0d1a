"""Programs of units: the optimum, its proof, and what is said where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import nettrim
from support.unit_programs import Reader, UnitsCase, random_case, referee

RNG = np.random.default_rng(0)
UNITS = np.append(np.repeat(np.arange(8), 2), -1)


def dense(rng: np.random.Generator = RNG, relu: bool = True, gain: float = 0.3) -> UnitsCase:
    """Eight units of two features, and a bias."""
    X = np.column_stack([rng.standard_normal((120, 16)), np.ones(120)])
    signal = X @ rng.standard_normal((17, 5))
    Y = np.maximum(signal, 0) if relu else signal
    return UnitsCase(
        (Reader(X, Y, UNITS, relu),), np.ones(8), epsilon=gain * float(np.linalg.norm(Y))
    )


def assert_proved(case: UnitsCase, answer: nettrim.UnitsSolution, tol: float) -> None:
    """Hold an answer against what its weights and multipliers say by themselves."""
    objective, limit = case.objective(answer.weights), case.penalty or 1.0
    assert answer.status == "optimal"
    assert answer.objective == pytest.approx(objective, rel=1e-7, abs=1e-12)
    assert answer.residual == pytest.approx(case.residual(answer.weights), rel=1e-7, abs=1e-12)
    np.testing.assert_allclose(answer.norms, case.norms(answer.weights), rtol=1e-9)
    largest = max(np.abs(r.Y).max() for r in case.readers)
    assert case.violation(answer.weights) <= tol * largest * (1 + 1e-6)
    if case.epsilon is not None:
        assert case.residual(answer.weights) <= case.epsilon * (1 + tol * (1 + 1e-6))
    slopes, free = case.slopes(answer.dual)
    assert slopes.max() <= limit * (1 + 1e-9)
    assert free <= 1e-9 * limit
    for reader, G in zip(case.readers, case.each(answer.dual), strict=True):
        assert (G[~reader.active] <= 0).all()
    assert answer.dual_bound <= max(case.value(answer.dual), 0.0) + 1e-9 * objective
    assert answer.gap <= tol


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_random_programs_agree_with_a_conic_solver(first: int) -> None:
    for seed in range(first, first + 20):
        case = random_case(seed)
        optimum, answer = referee(case), case.solve(tol=1e-7, n_threads=1)
        assert optimum is not None
        assert_proved(case, answer, 1e-7)
        assert answer.objective == pytest.approx(optimum, rel=1e-6, abs=1e-9), seed
        assert answer.dual_bound <= optimum * (1 + 1e-9) + 1e-9, seed


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
def test_bounds_hold_wherever_a_solve_stops(dtype: Any) -> None:
    for seed in range(200, 240):
        case = random_case(seed)
        optimum = referee(case)
        assert optimum is not None
        for max_iter in (1, 4, 30):
            answer = case.solve(tol=1e-12, max_iter=max_iter, n_threads=1, dtype=dtype)
            rounding = 1e-9 if dtype is np.float64 else 1e-5  # of the data
            assert answer.dual_bound <= optimum * (1 + rounding) + 1e-9, (seed, max_iter)


def test_features_without_a_price_may_be_collinear() -> None:
    case = dense()
    (reader,) = case.readers
    X = np.column_stack([reader.X, reader.X[:, -1], reader.X[:, -1]])
    doubled = replace(reader, X=X, groups=np.append(reader.groups, [-1, -1]))
    answer = replace(case, readers=(doubled,)).solve(tol=1e-6, max_iter=2000)
    optimum = case.solve(tol=1e-6).objective
    assert answer.dual_bound <= optimum * (1 + 1e-6)
    assert answer.objective == pytest.approx(optimum, rel=1e-4)


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("form", ["epsilon", "penalty"])
def test_single_features_and_one_output_make_the_l1_program(activation: str, form: str) -> None:
    X = RNG.standard_normal((80, 12))
    signal = X @ RNG.standard_normal((12, 1))
    Y = np.maximum(signal, 0) if activation == "relu" else signal
    level = {form: 0.2 * np.linalg.norm(Y) if form == "epsilon" else 20.0}
    alone = nettrim.solve_layer(X, Y, activation=activation, **level)
    units = nettrim.solve_units(
        X, Y, groups=np.arange(12), activation=activation, tol=1e-7, **level
    )
    assert units.status == alone.status == "optimal"
    assert units.objective == pytest.approx(alone.objective, rel=2e-6)
    np.testing.assert_allclose(units.weights, alone.weights, atol=1e-4)


@pytest.mark.parametrize("solver", ["auto", "admm"])
@pytest.mark.parametrize("relu", [True, False])
def test_both_engines_reach_the_same_optimum(solver: str, relu: bool) -> None:
    case = dense(relu=relu)
    answer = case.solve(solver=solver, tol=1e-7)
    assert_proved(case, answer, 1e-7)
    assert answer.objective == pytest.approx(referee(case), rel=1e-6)


def test_a_unit_that_costs_more_is_used_less() -> None:
    case = dense()
    dear = replace(case, prices=np.where(np.arange(8) == 3, 30.0, 1.0)).solve(tol=1e-6)
    assert dear.norms[3] < case.solve(tol=1e-6).norms[3]


def test_readers_beside_each_other_are_outputs_of_one() -> None:
    case = dense()
    (reader,) = case.readers
    parts = [
        replace(reader, Y=np.ascontiguousarray(reader.Y[:, s])) for s in (slice(2), slice(2, 5))
    ]
    together = replace(case, readers=tuple(parts)).solve(tol=1e-7)
    whole = case.solve(tol=1e-7)
    assert together.objective == pytest.approx(whole.objective, rel=1e-6)
    np.testing.assert_allclose(np.hstack(together.weights), whole.weights, atol=1e-4)
    assert [G.shape for G in together.dual] == [part.Y.shape for part in parts]


@pytest.mark.parametrize("scales", [(1e-6, 1.0), (1e6, 1e-6), (1.0, 1e6)], ids=str)
def test_units_of_measurement_do_not_matter(scales: tuple[float, float]) -> None:
    x, y = scales
    case = dense()
    plain, scaled = case.solve(tol=1e-6), case.scaled(x, y).solve(tol=1e-6)
    assert scaled.status == "optimal"
    assert scaled.objective * x / y == pytest.approx(plain.objective, rel=3e-6)
    np.testing.assert_array_equal(scaled.kept, plain.kept)


def test_a_radius_beyond_the_outputs_needs_no_unit() -> None:
    answer = dense(gain=1.0).solve()
    assert answer.status == "optimal"
    assert answer.objective == answer.n_kept == 0
    assert not np.any(answer.weights)


def test_zero_outputs_and_zero_inputs() -> None:
    zero = nettrim.solve_units(
        RNG.standard_normal((9, 3)), np.zeros((9, 2)), groups=[0, 1, 1], epsilon=0.0
    )
    assert zero.status == "optimal"
    assert zero.n_kept == 0
    dead = nettrim.solve_units(np.zeros((9, 3)), np.zeros((9, 2)), groups=[0, 1, -1], epsilon=1.0)
    assert dead.status == "optimal"


def test_a_unit_of_dead_features_is_never_kept() -> None:
    case = dense()
    (reader,) = case.readers
    X = reader.X.copy()
    X[:, reader.groups == 2] = 0
    answer = replace(case, readers=(replace(reader, X=X),), epsilon=2 * case.epsilon).solve()
    assert answer.status == "optimal"
    assert not answer.kept[2]
    assert answer.weights.shape == (17, 5)


@pytest.mark.parametrize("form", ["epsilon", "penalty"])
def test_impossible_bounds_are_told(form: str) -> None:
    X = np.abs(RNG.standard_normal((30, 4)))
    upper = np.where(np.arange(30)[:, None] % 2, 1.0, -1.0) * np.ones((30, 2))
    X = np.vstack([X, -X])  # x'w <= -1 and -x'w <= -1
    upper = np.full((60, 2), -1.0)
    answer = nettrim.solve_units(
        X, np.zeros((60, 2)), groups=np.arange(4), upper=upper, **{form: 1.0}
    )
    assert answer.status == "infeasible"
    assert answer.dual_bound > 1e6
    assert "NOT CONVERGED" in str(answer)


def test_a_radius_out_of_reach_is_told() -> None:
    X = RNG.standard_normal((50, 4))
    Y = RNG.standard_normal((50, 3))
    answer = nettrim.solve_units(X, Y, groups=np.arange(4), activation="linear", epsilon=0.01)
    assert answer.status == "infeasible"


def test_a_warm_start_saves_iterations() -> None:
    case = dense()
    cold = case.solve(tol=1e-6)
    again = case.solve(tol=1e-6, warm_start=cold)
    assert again.iterations < cold.iterations
    assert again.objective == pytest.approx(cold.objective, rel=3e-6)
    assert case.solve(tol=1e-6, warm_start=cold.weights).status == "optimal"


def test_single_precision_answers_in_single_precision() -> None:
    case = dense()
    answer = case.solve(dtype=np.float32, tol=1e-4)
    assert answer.status == "optimal"
    assert answer.weights.dtype == np.float32
    assert answer.objective == pytest.approx(case.solve(tol=1e-6).objective, rel=1e-3)


def test_a_curve_holds_the_single_solves() -> None:
    case = dense()
    epsilons = case.epsilon * np.array([1.0, 0.3, 2.0, 5.0])
    (reader,) = case.readers
    curve = nettrim.trace_units(reader.X, reader.Y, groups=UNITS, epsilons=epsilons, tol=1e-6)
    assert [point.epsilon for point in curve] == pytest.approx(sorted(epsilons))
    for point in curve:
        alone = replace(case, epsilon=point.epsilon).solve(tol=1e-6)
        assert point.status == "optimal"
        assert point.objective == pytest.approx(alone.objective, rel=3e-6, abs=1e-12)


def test_limits_and_listeners() -> None:
    seen: list[nettrim.LayerProgress] = []
    stopped = dense().solve(tol=1e-12, callback=lambda p: seen.append(p) or True)
    assert stopped.status == "interrupted"
    assert len(seen) == 1
    assert dense().solve(tol=1e-12, max_iter=3).status == "max_iter"
    assert dense().solve(tol=1e-12, time_limit=1e-9).status == "time_limit"


GOOD: dict[str, Any] = {
    "X": RNG.standard_normal((10, 4)),
    "Y": RNG.standard_normal((10, 2)),
    "groups": [0, 0, 1, -1],
    "epsilon": 1.0,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", np.full((10, 4), np.nan)),
        ("X", np.zeros((9, 4))),
        ("Y", np.zeros(10)),
        ("groups", [0, 1, 2]),
        ("groups", [0, 0, 2, -1]),
        ("groups", [-1, -1, -1, -1]),
        ("groups", [0.0, 0.5, 1.0, 1.0]),
        ("epsilon", -1.0),
        ("penalty", 1.0),
        ("prices", [1.0]),
        ("prices", [1.0, 0.0]),
        ("prices", [1.0, np.inf]),
        ("activation", "gelu"),
        ("upper", np.zeros((3, 2))),
        ("active", np.zeros((10, 2))),
        ("solver", "newton"),
        ("tol", 0.0),
        ("max_iter", 0),
        ("warm_start", np.zeros((4, 3))),
        ("n_threads", 0),
        ("callback", 3),
        ("dtype", np.int32),
    ],
)
def test_errors_name_the_argument(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
        nettrim.solve_units(**{**GOOD, name: value})


def test_errors_name_the_reader() -> None:
    several = {name: [GOOD[name]] * 2 for name in ("X", "Y", "groups")}
    several["Y"] = [GOOD["Y"], GOOD["Y"][:5]]
    with pytest.raises(ValueError, match="reader 1"):
        nettrim.solve_units(**several, epsilon=1.0)
    with pytest.raises(ValueError, match="groups"):
        nettrim.solve_units([GOOD["X"]] * 2, [GOOD["Y"]] * 2, groups=[[0, 0, 1, -1]], epsilon=1.0)
