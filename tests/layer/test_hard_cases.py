"""Data that break solvers: every one ends with a certificate, or says honestly that it did not.

Small versions of what `bench/layer/hard_cases.py` measures at full size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nettrim
from support.networks import random_network
from support.problems import (
    Array,
    Program,
    Recipe,
    layer,
    relu,
    second_layer,
    two_layers,
    with_ones,
)
from support.proofs import TOL, assert_certified, assert_solved

unsolved = pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the engine cannot do this yet"
)
borderline = pytest.mark.xfail(strict=False, reason="rounding decides whether it closes")


@pytest.fixture
def inputs(rng: np.random.Generator) -> Array:
    return with_ones(relu(rng.standard_normal((120, 24))))


@pytest.fixture
def weights(rng: np.random.Generator) -> Array:
    return rng.standard_normal((25, 8)) / 5


# --- cascades without room ------------------------------------------------------------------------


@pytest.mark.parametrize("slack", ["paper", "positive"])
@pytest.mark.parametrize("solver", ["auto", "newton"])
def test_a_layer_with_its_weights_on_the_boundary(slack: str, solver: str) -> None:
    """gamma = 1: original weights touch the ball and, with the paper's slack, every half-space."""
    first, _ = two_layers()
    assert_solved(second_layer(first.solve().weights, slack, gamma=1.0), solver=solver)


@pytest.mark.parametrize("slack", ["paper", "positive"])
@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 0.5])
@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_a_cascade_without_inflation(rng, slack: str, epsilon: float) -> None:
    network = random_network(rng, 20, 30, 20, 10, 4)
    result = nettrim.trim(
        network,
        rng.standard_normal((150, 20)),
        epsilon=epsilon,
        gamma=1.0,
        slack=slack,
        tol=TOL,
        progress=False,
    )
    assert result.converged
    assert result.discrepancy <= result.bound


def test_a_cascade_in_which_nothing_changes(rng) -> None:
    """Epsilon at the tolerance: later layers see their own inputs and have no room at all."""
    network = random_network(rng, 10, 12, 8, 4)
    X = rng.standard_normal((100, 10))
    result = nettrim.trim(network, X, epsilon=1e-6, gamma=1.0, tol=TOL, progress=False)
    assert result.converged
    assert result.discrepancy <= 1e-5


# --- features that say the same -------------------------------------------------------------------


def test_duplicated_features(inputs, weights) -> None:
    """Every feature twice: as many weights, and not one more of l1 norm."""
    program = layer(inputs, weights).at(0.1)
    twice = layer(np.hstack([inputs] * 2), np.vstack([weights, 0 * weights])).at(0.1)
    once = assert_solved(program)
    assert assert_solved(twice).objective == pytest.approx(once.objective, rel=2 * TOL)


@pytest.mark.parametrize("blur", [1e-12, 1e-10, 1e-8, 1e-5])
@pytest.mark.parametrize("gain", [1e-4, 1e-2, 0.1, 0.5])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_features_that_are_nearly_equal(rng, inputs, weights, blur, gain, activation) -> None:
    """Condition 1e10 and worse."""
    X = inputs.copy()
    X[:, 12:24] = X[:, :12] * (1 + blur * rng.standard_normal((120, 12)))
    assert_solved(layer(X, weights, activation).at(gain))


def test_gram_matrices_that_single_precision_cannot_factor() -> None:
    """What fails to factor must not be used: the answers were whatever the memory held."""
    rng = np.random.default_rng(5)
    X = np.maximum(rng.standard_normal((300, 120)), 0)
    Y = np.maximum(X @ rng.standard_normal((120, 100)), 0)
    X = np.hstack([X, X * (1 + 1e-5 * rng.standard_normal(X.shape))])
    runs = [nettrim.solve_layer(X, Y, epsilon=0.05 * np.linalg.norm(Y)) for _ in range(3)]
    assert runs[0].converged
    assert all(np.array_equal(run.weights, runs[0].weights) for run in runs)


def test_one_feature_is_the_sum_of_the_others(rng, inputs, weights) -> None:
    X = inputs.copy()
    X[:, 5] = X[:, 6:].sum(axis=1) * (1 + 1e-10 * rng.standard_normal(120))
    assert_solved(layer(X, weights).at(0.05))


def test_only_the_largest_constant_feature_is_used(inputs, weights) -> None:
    """A constant feature is a bias; the largest is the cheapest."""
    X = np.column_stack([inputs, np.full(120, 0.5), np.full(120, 3.0), np.full(120, -1.0)])
    program = layer(X, np.vstack([weights, np.zeros((3, 8))])).at(0.1)
    solution = assert_solved(program)
    assert not solution.weights[[24, 25, 27]].any()
    assert solution.weights[26].any()


def test_nothing_but_constant_features() -> None:
    X = np.tile([1.0, 2.0, -4.0], (50, 1))
    Y = np.tile([3.0, 0.0], (50, 1))
    solution = nettrim.solve_layer(X, Y, epsilon=0.1 * np.linalg.norm(Y))
    assert solution.status == "optimal"
    np.testing.assert_allclose(solution.weights, [[0, 0], [0, 0], [-0.9 * 3 / 4, 0]], atol=1e-6)


def test_constant_pixels_and_a_large_mean(rng, weights) -> None:
    """Raw bytes: no feature is centred and all of them look alike."""
    X = with_ones(rng.integers(240, 256, (120, 24)).astype(float))
    X[:, [0, 23]] = 255.0
    assert_solved(layer(X, weights).at(0.01))


# --- all sizes of epsilon -------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.999, 1.0])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_every_size_of_epsilon(inputs, weights, gain, activation) -> None:
    assert_solved(layer(inputs, weights, activation).at(gain))


@pytest.mark.parametrize("share", [1e-6, 1e-4, 1e-2, 0.5, 0.999, 2.0])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_every_size_of_the_penalty(inputs, weights, share, activation) -> None:
    """As a share of the least penalty for which zero is a lasso's answer."""
    program = layer(inputs, weights, activation)
    steepest = np.abs(program.X.T @ program.Y).max()
    assert_solved(program.penalised(share * 2 * steepest))


def test_a_small_penalty_and_a_target_out_of_reach(rng) -> None:
    """Least squares, all but for a millionth."""
    X, Y = rng.standard_normal((30, 1)), rng.standard_normal((30, 3))
    program = Program(X, Y, np.zeros((1, 3)), "linear")
    assert_solved(program.penalised(2e-6 * np.abs(X.T @ Y).max()))


@pytest.mark.parametrize("gain", [1e-6, 1e-3, 0.1])
def test_more_features_than_samples(rng, gain) -> None:
    X, W = with_ones(rng.standard_normal((30, 80))), rng.standard_normal((81, 4))
    assert_solved(layer(X, W).at(gain))


@pytest.mark.parametrize(
    ("shape", "target", "gain"),
    [
        ((15, 19, 3), "foreign", 1e-4),
        pytest.param((21, 18, 5), "foreign", 1e-5, marks=unsolved),
        ((60, 18, 5), "own", 1e-5),
        ((60, 18, 5), "shifted", 0.05),
    ],
)
def test_correlated_features_and_a_small_ball(shape, target, gain) -> None:
    """Condition 1e2 to 1e4, and hardly more samples than features: the optimum interpolates."""
    n_samples, n_features, n_outputs = shape
    for seed in range(10):
        recipe = Recipe(
            seed=seed,
            n_samples=n_samples,
            n_features=n_features,
            n_outputs=n_outputs,
            rank=min(n_samples, n_features),
            activation="linear" if n_samples < n_features else "relu",
            level=gain,
            target=target,
        )
        assert_solved(recipe.program())


def test_price_does_not_go_round() -> None:
    """Whole Newton steps of the price would repeat three prices for ever."""
    recipe = Recipe(
        seed=2,
        n_samples=28,
        n_features=14,
        n_outputs=2,
        rank=14,
        gamma=1.01,
        slack="positive",
        target="shifted",
        copies=2,
        dead_samples=7,
        density=0.3,
    )
    assert_solved(recipe.program())


@pytest.mark.parametrize("n_features", [10, pytest.param(20, marks=unsolved)])
def test_no_error_at_all(n_features) -> None:
    """Epsilon zero, and the layer's own output on few samples more than features."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X, W = rng.standard_normal((30, n_features)), rng.standard_normal((n_features, 4))
        assert_solved(layer(X, W).at(0.0))


# --- all active, all inactive ---------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1e-4, 0.05, 0.5])
def test_all_outputs_active(inputs, weights, gain) -> None:
    weights[-1] = 40
    program = layer(inputs, weights).at(gain)
    assert program.active.all()
    assert_solved(program)


def test_all_outputs_inactive(inputs, weights) -> None:
    """Nothing to reproduce: zero, or the cheapest weights that stay below a negative bound."""
    weights[-1] = -40
    program = layer(inputs, weights).at(0.1)
    assert not program.active.any()
    assert not assert_certified(program).weights.any()
    below = replace(program, upper=np.full(program.Y.shape, -2.0))
    assert_solved(replace(below, epsilon=0.5))
    assert_solved(below.penalised(0.5))


def test_active_and_inactive_outputs_side_by_side(inputs, weights) -> None:
    weights[-1, :3], weights[-1, 3:6] = 40, -40
    assert_solved(layer(inputs, weights).at(0.05))


# --- what users bring -----------------------------------------------------------------------------


def test_a_target_in_single_precision(inputs, weights) -> None:
    """Signals stored as float32 are no weights' output, not even at the noise of their rounding."""
    program = layer(inputs, weights)
    rounded = replace(program, Y=program.Y.astype(np.float32).astype(float))
    assert_solved(rounded.at(1e-3))
    assert_solved(rounded.at(1e-6))


def test_outputs_of_very_different_size(inputs, weights) -> None:
    assert_solved(layer(inputs, weights * np.geomspace(1e-4, 1e2, 8)).at(0.01))


@pytest.mark.parametrize("spread", [1e2, 1e4, 1e6, 1e8])
def test_features_of_very_different_size(inputs, weights, spread) -> None:
    """A table whose columns nobody scaled; the referee is lost beyond four decades."""
    sizes = np.geomspace(1, spread, 25)
    check = assert_solved if spread <= 1e4 else assert_certified
    check(layer(inputs * sizes, weights / sizes[:, None]).at(0.05))


@pytest.mark.parametrize("times", [1e2, 1e3, pytest.param(1e4, marks=borderline)])
def test_an_outlier_among_the_samples(inputs, weights, times) -> None:
    inputs[7] *= times
    assert_solved(layer(inputs, weights).at(1e-3))


def test_sparse_and_binary_inputs(rng, weights) -> None:
    """One-hot words: most samples are equal to many others."""
    X = with_ones(np.eye(24)[rng.integers(0, 24, 120)])
    assert_solved(layer(X, weights).at(0.1))


def test_few_distinct_samples(rng, inputs, weights) -> None:
    assert_solved(layer(inputs[rng.integers(0, 10, 120)], weights).at(0.05))


def test_noise_above_zero_counts_as_active(rng, inputs, weights) -> None:
    """Outputs of 1e-12 where a clean ReLU says zero: equations instead of half-spaces."""
    program = layer(inputs, weights)
    noisy = replace(program, Y=program.Y + 1e-12 * rng.random(program.Y.shape))
    assert noisy.active.all()
    assert_solved(noisy.at(0.5))


def test_bounds_that_bind_nothing(inputs, weights) -> None:
    """An upper bound of 1e30 stands for none."""
    program = replace(layer(inputs, weights).at(0.1), upper=np.full((120, 8), 1e30))
    solution = program.solve()
    assert solution.status == "optimal"
    free = replace(program, upper=np.full((120, 8), 1e3))
    assert solution.objective == pytest.approx(assert_solved(free).objective, rel=2 * TOL)


def test_tiny_signals_of_a_normalised_network(inputs, weights) -> None:
    unit, tiny = layer(inputs, weights).at(0.1), layer(1e-4 * inputs, 1e-5 * weights).at(0.1)
    assert tiny.Y.max() < 1e-8
    ratio = assert_certified(tiny).objective / assert_certified(unit).objective
    assert ratio == pytest.approx(1e-5, rel=3 * TOL)


# --- the impossible -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["constrained", "penalised"])
def test_contradicting_bounds(inputs, weights, form) -> None:
    """Two equal samples, of which one must not be below the other: no weights do that."""
    program = layer(inputs, weights)
    X, Y, upper = inputs.copy(), program.Y.copy(), np.zeros(program.Y.shape)
    X[1] = -X[0]
    Y[:2], upper[:2] = 0, -1
    impossible = replace(program, X=X, Y=Y, upper=upper)
    impossible = impossible.at(0.5) if form == "constrained" else impossible.penalised(0.5)
    solution = impossible.solve(time_limit=10)
    assert solution.status == "infeasible"


def test_a_ball_out_of_reach(rng, inputs) -> None:
    """Random outputs on more samples than features: no layer comes closer than the projection."""
    Y = np.abs(rng.standard_normal((120, 8)))
    program = Program(inputs, Y, np.zeros((25, 8)))
    solution = program.at(0.3).solve(time_limit=10)
    assert solution.status == "infeasible"
    assert_certified(program.at(0.7))


def test_bounds_on_samples_that_are_zero(rng) -> None:
    """No weights move them; whatever the status, nothing in the answer is NaN."""
    X = rng.standard_normal((20, 3))
    X[10:] = 0
    Y = relu(X @ rng.standard_normal((3, 4)))
    solution = nettrim.solve_layer(X, Y, upper=np.full(Y.shape, -0.1), penalty=0.1)
    assert np.isfinite([solution.objective, solution.dual_bound, solution.gap]).all()
    assert np.isfinite(solution.dual).all()
