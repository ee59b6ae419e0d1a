"""Data that break solvers: every one ends with a certificate, or says honestly that it did not.

Small versions of what `bench/layer/hard_cases.py` measures at full size.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.layer import reference
from support.conic import solve_cones
from support.networks import random_network
from support.problems import Array, Program, Recipe, g4, g4_layers, layer, relu, with_ones

TOL = 1e-6
unsolved = pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the engine cannot do this yet"
)
borderline = pytest.mark.xfail(strict=False, reason="rounding decides whether it closes")


def certificate(program: Program, solution: nettrim.LayerSolution) -> reference.Certificate:
    """What weights and dual say by themselves, in NumPy."""
    return proof(program, solution.weights, solution.dual)


def proof(program: Program, weights: Array, dual: Array) -> reference.Certificate:
    asked = {"epsilon": program.epsilon, "penalty": program.penalty}
    kind = {"activation": program.activation, "upper": program.ceiling}
    return reference.certificate(
        reference.Program.of(program.X, program.Y, **asked, **kind), weights, dual
    )


def assert_certified(program: Program, **options: Any) -> nettrim.LayerSolution:
    """Optimal, by a proof that is computed again here."""
    solution = program.solve(**options)
    assert solution.status == "optimal", str(solution)
    c = certificate(program, solution)
    assert abs(c.gap) <= 1.1 * TOL or c.objective == 0
    assert c.violation <= TOL * np.abs(np.where(program.active, program.Y, program.ceiling)).max()
    if program.epsilon is not None:
        allowed = program.epsilon or float(np.linalg.norm(program.Y))
        assert c.residual <= program.epsilon + TOL * allowed
    return solution


def assert_solved(program: Program, **options: Any) -> nettrim.LayerSolution:
    """Certified, and no worse than what the referee finds."""
    solution = assert_certified(program, **options)
    weights, dual = solve_cones(program)
    c = proof(program, weights, dual)
    rounding = 1e-9 * float(np.abs(program.weights).sum())
    assert c.objective - c.dual_bound <= 1e-7 * c.objective + rounding
    assert solution.objective == pytest.approx(c.objective, rel=2 * TOL, abs=rounding)
    return solution


def assert_honest(program: Program, solution: nettrim.LayerSolution) -> None:
    """Not solved, and nothing in the report that weights and dual do not say."""
    assert not solution.converged
    c = certificate(program, solution)
    assert solution.objective == pytest.approx(c.objective, rel=1e-9)
    assert solution.dual_bound <= c.dual_bound * (1 + 1e-6)


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
    """gamma = 1: the original weights touch the ball and, with the paper's slack, every half-space."""
    first, _ = g4_layers()
    assert_solved(g4(first.solve().weights, slack, gamma=1.0), solver=solver)


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


# --- no sizes, no centres, no rooms ---------------------------------------------------------------


@pytest.mark.parametrize("form", ["epsilon", "penalty"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_a_clock_in_any_unit_says_the_same(rng, form, activation) -> None:
    """A feature of 1 to 1e12 beside standard normal ones: the smaller, the dearer, within bounds."""
    clock = 1 + 0.02 * rng.random(90)
    W = rng.standard_normal((5, 3))
    Z = rng.standard_normal((90, 5)) @ W
    objectives = []
    for size in 10.0 ** np.arange(0, 13, 2):
        rng = np.random.default_rng(5)
        X = np.column_stack([rng.standard_normal((90, 5)), size * clock])
        Z = X[:, :5] @ W
        Y = relu(Z) if activation == "relu" else Z
        level = 0.05 * np.linalg.norm(Y) if form == "epsilon" else 3.0
        s = nettrim.solve_layer(X, Y, activation=activation, **{form: level})
        assert s.status == "optimal", f"{size:g}: {s}"
        objectives.append(s.objective)
    assert (np.diff(objectives) <= 1e-5 * objectives[0]).all()
    assert objectives[-1] == pytest.approx(objectives[-2], rel=1e-5)


@pytest.mark.parametrize("mean", [30, 300])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_readings_about_a_large_mean_below_a_trimmed_layer(mean, share) -> None:
    """Bounds of either sign, and a ball that may bind nothing at all."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = mean + rng.standard_normal((90, 9))
        W = rng.standard_normal((9, 4))
        W -= W.mean(axis=0)
        Y, V = relu(X @ W), X @ (W + share * rng.standard_normal(W.shape) / 9)
        epsilon = 1.05 * float(np.linalg.norm((V - Y)[Y > 0]))
        s = nettrim.solve_layer(X, Y, epsilon=epsilon, upper=V, time_limit=20)
        assert s.status == "optimal", f"{seed}: {s}"


@pytest.fixture(scope="module")
def hard_mix():
    root = Path(__file__).parents[2]
    if not (root / "bench").exists():
        pytest.skip("without the repository's benchmarks")
    sys.path.insert(0, str(root))
    yield importlib.import_module("bench.layer.hard_mix")
    sys.path.remove(str(root))


@pytest.mark.parametrize("upper", ["zero", "mixed sign"])
@pytest.mark.parametrize("kind", ["plain", "uncentred", "collinear", "clock", "digits"])
def test_a_slice_of_the_hard_mix(hard_mix, kind: str, upper: str) -> None:
    for number in range(12):
        program = hard_mix.draw(kind, upper, number)
        solution = program.solve(n_threads=1, time_limit=20)
        assert solution.status == "optimal", f"{number}: {solution}"
        if program.epsilon is not None:
            own = reference.Program.of(
                program.X,
                program.Y,
                epsilon=program.epsilon,
                activation=program.activation,
                upper=0.0 if program.upper is None else program.upper,
            )
            c = reference.certificate(own, solution.weights, solution.dual)
            assert c.residual <= program.epsilon * (1 + 1.1 * TOL)


def test_what_is_feasible_is_never_called_infeasible(hard_mix) -> None:
    """Sizes over twelve decades may stay unproved, but weights that exist are not denied."""
    for number in range(20):
        for upper in hard_mix.BOUNDS:
            program = hard_mix.draw("decades", upper, number)
            assert program.solve(n_threads=1, max_iter=3000).status != "infeasible"


@pytest.mark.parametrize("form", ["constrained", "penalised"])
def test_a_proof_of_infeasibility_is_a_ray(rng, form) -> None:
    """Of features over nine decades: zero along each, as far as rounding can tell, and yet of value."""
    X = rng.standard_normal((40, 6)) * np.geomspace(1, 1e9, 6)
    X = np.vstack([X, -X[:3]])
    Y = relu(X[:, ::-1] @ rng.standard_normal((6, 2)))
    upper = np.zeros(Y.shape)
    Y[[0, 40]], upper[[0, 40]] = 0, -0.1 * Y.max()
    level = {"epsilon": 0.3 * float(np.linalg.norm(Y))} if form == "constrained" else {"penalty": 1}
    s = nettrim.solve_layer(X, Y, upper=upper, time_limit=20, **level)
    assert s.status == "infeasible"
    ray, active = s.dual, Y > 0
    assert (ray[~active] <= 0).all()
    sizes = np.linalg.norm(X, axis=0)[:, None] * np.linalg.norm(ray, axis=0)
    assert (np.abs(X.T @ ray) <= 1e-13 * sizes).all()
    value = np.sum(ray * np.where(active, Y, upper))
    if form == "constrained":
        value -= s.epsilon * np.linalg.norm(ray[active])
    else:
        assert not ray[active].any()
    assert value > 0


@pytest.mark.parametrize("spread", [1, 1e3])
def test_the_bound_holds_in_exact_arithmetic(rng, spread) -> None:
    """X'G computed without rounding: what the bound rounds off is more than what it is off."""
    sizes = np.geomspace(1, spread, 5)
    X = rng.standard_normal((25, 5)) * sizes
    Y = relu(X @ (rng.standard_normal((5, 2)) / sizes[:, None]))
    for max_iter in (1, 20, 50_000):
        s = nettrim.solve_layer(X, Y, epsilon=0.1 * np.linalg.norm(Y), max_iter=max_iter)
        G = [[Fraction(g) for g in row] for row in s.dual.tolist()]
        data, target = X.tolist(), Y.tolist()
        steepest = max(
            abs(sum(Fraction(data[i][j]) * G[i][m] for i in range(25)))
            for j in range(5)
            for m in range(2)
        )
        linear = sum(G[i][m] * Fraction(target[i][m]) for i in range(25) for m in range(2))
        bound = float(linear) - s.epsilon * float(np.linalg.norm(s.dual[Y > 0]))
        assert s.dual_bound <= bound / max(float(steepest), 1.0) * (1 + 1e-15) + 1e-300


# --- many features, few samples -------------------------------------------------------------------


def wide(density: float, activation: str) -> Program:
    """5,000 features, 500 samples, ten outputs that use a share of the features."""
    rng = np.random.default_rng(0)
    X = with_ones(relu(rng.standard_normal((500, 4999))))
    W = rng.standard_normal((5000, 10)) * (rng.random((5000, 10)) < density)
    return layer(X, W / np.sqrt(5000 * density), activation)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("density", "activation", "gain"),
    [(1.0, "relu", 0.05), (0.02, "linear", 1e-3)],
)
def test_five_thousand_features(density: float, activation: str, gain: float) -> None:
    assert_certified(wide(density, activation).at(gain), time_limit=30)


@pytest.mark.slow
def test_time_runs_out_honestly() -> None:
    """Every weight in use and hardly any room: no engine is quick here."""
    program = wide(1.0, "linear").at(1e-3)
    solution = program.solve(time_limit=2)
    assert solution.seconds < 10
    if not solution.converged:
        assert solution.status == "time_limit"
        assert_honest(program, solution)


@pytest.mark.parametrize("seed", [0, 1, 2, 67, 144])
def test_outputs_without_an_active_sample(seed: int) -> None:
    """Beside others they are linear programs, of which most working sets are degenerate."""
    rng = np.random.default_rng(seed)
    shape = 20 + 5 * (seed % 8), 3 + seed % 8
    X = 10 ** rng.uniform(1, 3) + rng.standard_normal(shape)
    mean = X.mean(axis=0)
    W = rng.standard_normal((X.shape[1], 4))
    Y = relu((X - mean) @ W)
    Y[:, ::2] = 0
    W -= np.outer(mean, mean @ W) / (mean @ mean)
    W += 0.05 * rng.standard_normal(W.shape)
    upper = X @ W
    epsilon = 1.1 * np.linalg.norm((upper - Y)[Y > 0])
    s = nettrim.solve_layer(X, Y, epsilon=epsilon, upper=upper, n_threads=1)
    assert s.status == "optimal"
    assert s.objective <= np.abs(W).sum() * (1 + 1e-6)
