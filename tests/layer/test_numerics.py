"""Hard but honest data: no error at all, one sample, dead and all-active outputs, extreme sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nettrim
from support import problems
from support.conic import solve_conic
from support.problems import (
    Program,
    layer,
    random_program,
    six_neurons,
    thirty_neurons,
    wide_and_dead,
    with_ones,
)

TOL = 1e-7
MANY = 500_000  # iterations for programs whose feasible set is hardly more than a point


def assert_solved(program: Program, **options) -> None:
    """Feasible and optimal to six digits, by the referee's optimum."""
    solution = program.solve(tol=TOL, **options)
    size = np.abs(program.Y).max()
    assert solution.status == "optimal"
    assert program.objective(solution.weights) == pytest.approx(
        solve_conic(program).objective, rel=1e-6, abs=1e-9
    )
    assert program.violation(solution.weights) <= 1e-6 * size
    if program.epsilon is not None:
        allowed = program.epsilon or float(np.linalg.norm(program.Y))
        assert program.residual(solution.weights) <= program.epsilon + 1e-6 * allowed


@pytest.fixture
def inputs(rng):
    return with_ones(rng.standard_normal((30, 8)))


@pytest.fixture
def weights(rng):
    return rng.standard_normal((9, 4)) / 3


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_no_error_allowed(inputs, weights, activation) -> None:
    """With more samples than features the ball of radius zero leaves the layer itself."""
    program = layer(inputs, weights, activation).at(0.0)
    assert_solved(program, max_iter=MANY)
    if activation == "linear":
        np.testing.assert_allclose(program.solve(tol=TOL).weights, weights, atol=1e-5)


@pytest.mark.parametrize(("share", "width"), [(1e-320, None), (1e-17, None), (1e-200, 2)])
def test_an_error_below_rounding_is_none(share, width, inputs, weights) -> None:
    program = layer(inputs, weights).at(0.0)
    options = {"block_outputs": width, "max_iter": MANY}
    exact = program.solve(**options)
    tiny = replace(program, epsilon=share * np.linalg.norm(program.Y)).solve(**options)
    assert (exact.status, tiny.status) == ("optimal", "optimal")
    np.testing.assert_array_equal(tiny.weights, exact.weights)


@pytest.mark.parametrize("upper", problems.UPPERS)
def test_no_error_allowed_with_bounds(upper) -> None:
    assert_solved(random_program(5, upper).at(0.0), max_iter=MANY)


@pytest.mark.parametrize("gain", [0.0, 0.3])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_one_sample(rng, weights, gain, activation) -> None:
    assert_solved(layer(rng.standard_normal((1, 9)), weights, activation).at(gain))


@pytest.mark.parametrize("gain", [0.0, 0.1])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_more_features_than_samples(rng, gain, activation) -> None:
    X, W = rng.standard_normal((8, 30)), rng.standard_normal((30, 3))
    assert_solved(layer(X, W, activation).at(gain), max_iter=MANY)


def test_one_feature_one_output() -> None:
    program = replace(layer(np.array([[2.0]]), np.array([[3.0]])), epsilon=1.0)
    assert program.solve(tol=1e-9).weights == pytest.approx(2.5)


def test_dead_inputs_and_outputs(inputs, weights) -> None:
    inputs[:, [2, 5]] = 0
    weights[-1, 1] = -100
    program = layer(inputs, weights).at(0.1)
    assert not program.Y[:, 1].any()
    assert_solved(program)
    solution = program.solve()
    assert not solution.weights[[2, 5]].any()
    assert not solution.weights[:, 1].any()


def test_all_outputs_dead(inputs, weights) -> None:
    weights[-1] = -100
    for program in (
        layer(inputs, weights).penalised(1.0),
        replace(layer(inputs, weights), epsilon=0.0),
    ):
        solution = program.solve()
        assert solution.status == "optimal"
        assert solution.objective == solution.gap == 0
        assert not solution.weights.any()


def test_all_outputs_active(inputs, weights) -> None:
    """No half-space at all: the ReLU program is the linear one."""
    weights[-1] = 100
    relu, linear = (layer(inputs, weights, kind).at(0.01) for kind in ("relu", "linear"))
    assert relu.active.all()
    assert_solved(relu)
    assert relu.solve(tol=TOL).objective == pytest.approx(linear.solve(tol=TOL).objective, rel=1e-6)


def test_no_input_at_all(weights) -> None:
    program = replace(layer(np.zeros((5, 9)), weights), epsilon=0.0)
    solution = program.solve()
    assert solution.status == "optimal"
    assert not solution.weights.any()


def test_equal_inputs(inputs, weights) -> None:
    """Two equal columns: the weights are not unique, the optimum is."""
    inputs[:, 3] = inputs[:, 4]
    assert_solved(layer(inputs, weights).at(0.1))


@pytest.mark.parametrize("upper", problems.UPPERS)
@pytest.mark.parametrize("form", ["constrained", "penalised"])
@pytest.mark.parametrize(
    ("x", "y"), [(1e100, 1e-100), (1e-100, 1e100), (1e-100, 1e-100), (1e80, 1e80)]
)
def test_extreme_sizes(upper, form, x, y) -> None:
    """The program of unit size with its answer multiplied back."""
    unit = random_program(4, upper)
    unit = unit.at(0.2) if form == "constrained" else unit.penalised(0.5)
    scaled = replace(
        unit,
        X=x * unit.X,
        Y=y * unit.Y,
        upper=None if unit.upper is None else y * unit.upper,
        epsilon=None if unit.epsilon is None else y * unit.epsilon,
        penalty=None if unit.penalty is None else x * y * unit.penalty,
    )
    solution, expected = scaled.solve(tol=TOL), unit.solve(tol=TOL)
    assert solution.status == "optimal"
    largest = np.abs(expected.weights).max()
    np.testing.assert_allclose(solution.weights / y * x, expected.weights, atol=1e-5 * largest)
    assert solution.gap <= TOL
    assert solution.violation / y == pytest.approx(expected.violation, abs=1e-6 * unit.Y.max())


def test_inputs_of_very_different_size(inputs, weights) -> None:
    scales = np.geomspace(0.1, 10, 9)
    assert_solved(layer(inputs * scales, weights / scales[:, None]).at(0.1))


@pytest.mark.parametrize("gain", [0.05, 0.3])
def test_single_precision_closes_a_single_precision_gap(gain) -> None:
    """The engine works in float32; the certificate is computed in float64 and still holds."""
    program = six_neurons().at(gain)
    solution = program.solve(dtype=np.float32, tol=1e-4)
    assert solution.status == "optimal"
    assert solution.gap <= 1e-4
    assert solution.dual_bound <= problems.SIX_NEURONS_OPTIMA.get(
        gain, solve_conic(program).objective
    ) * (1 + 1e-9)
    assert solution.objective == pytest.approx(solve_conic(program).objective, rel=2e-4)
    assert program.residual(solution.weights.astype(float)) <= program.epsilon * (1 + 1e-4)


def test_single_precision_does_not_promise_what_it_cannot_keep() -> None:
    solution = thirty_neurons().at(0.05).solve(dtype=np.float32, tol=1e-12, max_iter=2000)
    assert solution.status in ("max_iter", "numerical")
    assert not solution.converged
    assert solution.dual_bound <= problems.THIRTY_NEURONS_OPTIMA[0.05] * (1 + 1e-4)


def test_a_ball_below_rounding_is_given_up_as_soon_as_no_engine_gets_closer() -> None:
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 8))
    Y = np.maximum(X @ W, 0)
    solution = nettrim.solve_layer(X, Y, epsilon=1e-11 * np.linalg.norm(Y), tol=1e-6)
    assert solution.status == "numerical"
    assert solution.iterations < 1000
    assert 1e-6 < solution.gap < 1e-3
    np.testing.assert_allclose(np.maximum(X @ solution.weights, 0), Y, atol=1e-9)


@pytest.mark.parametrize("fixture", [six_neurons, wide_and_dead])
def test_outputs_solved_next_to_dead_ones_are_the_same(fixture) -> None:
    """Blocks of outputs: more columns around a program must not change its answer."""
    program = fixture().at(0.1)
    wide = replace(
        program,
        Y=np.hstack([program.Y, np.zeros((len(program.Y), 70))]),
        weights=np.hstack([program.weights, np.zeros((program.weights.shape[0], 70))]),
    )
    alone, among = program.solve(tol=1e-9), wide.solve(tol=1e-9)
    assert among.objective == pytest.approx(alone.objective, rel=1e-8)
    np.testing.assert_allclose(among.weights[:, : program.Y.shape[1]], alone.weights, atol=1e-5)
    assert not among.weights[:, program.Y.shape[1] :].any()


def test_many_copies_of_one_output_share_the_ball_equally() -> None:
    program = six_neurons().output(0).at(0.1)
    copies = 40
    wide = replace(
        program,
        Y=np.tile(program.Y, copies),
        weights=np.tile(program.weights, copies),
        epsilon=program.epsilon * np.sqrt(copies),
    )
    alone, together = program.solve(tol=1e-9), wide.solve(tol=1e-9)
    assert together.objective == pytest.approx(copies * alone.objective, rel=1e-7)
    np.testing.assert_allclose(together.weights, np.tile(alone.weights, copies), atol=1e-5)
