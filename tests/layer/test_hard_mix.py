"""Data not centred or scaled, and far more features than samples: solved, or honestly not."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import nettrim
from nettrim.layer import reference
from support.problems import Program, layer, relu, with_ones
from support.proofs import TOL, assert_certified, assert_honest

# --- no sizes, no centres, no rooms ---------------------------------------------------------------


@pytest.mark.parametrize("form", ["epsilon", "penalty"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_a_clock_in_any_unit_says_the_same(rng, form, activation) -> None:
    """A feature of 1 to 1e12 beside standard normal ones: the smaller the dearer, within bounds."""
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
            own = reference.ReferenceProgram.of(
                program.X,
                program.Y,
                epsilon=program.epsilon,
                activation=program.activation,
                upper=0.0 if program.upper is None else program.upper,
            )
            c = reference.certify(own, solution.weights, solution.dual)
            assert c.residual <= program.epsilon * (1 + 1.1 * TOL)


def test_what_is_feasible_is_never_called_infeasible(hard_mix) -> None:
    """Sizes over twelve decades may stay unproved, but weights that exist are not denied."""
    for number in range(20):
        for upper in hard_mix.BOUNDS:
            program = hard_mix.draw("decades", upper, number)
            assert program.solve(n_threads=1, max_iter=3000).status != "infeasible"


@pytest.mark.parametrize("form", ["constrained", "penalised"])
def test_a_proof_of_infeasibility_is_a_ray(rng, form) -> None:
    """Features over nine decades: zero along each, as far as rounding can tell, yet of value."""
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


@pytest.mark.parametrize("form", ["epsilon", "penalty"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_multipliers_prove_the_bound_of_sizes_over_decades(form, activation) -> None:
    """In plain arithmetic: a rounding or two of each multiplier, and those of sums of n terms."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        sizes = rng.permutation(np.geomspace(1e-10, 1e11, 6))
        X = rng.standard_normal((30, 6)) * sizes
        Z = X @ (rng.standard_normal((6, 3)) / sizes[:, None])
        Y = relu(Z) if activation == "relu" else Z
        level = 0.1 * np.linalg.norm(Y)
        s = nettrim.solve_layer(X, Y, activation=activation, n_threads=1, **{form: level})
        G, active = s.dual, (Y > 0) | (activation == "linear")
        assert (G[~active] <= 0).all()
        price = 1 if form == "epsilon" else level
        rounding = (len(X) + 4) * np.finfo(float).eps * (np.abs(X.T) @ np.abs(G))
        assert (np.abs(X.T @ G) <= price + rounding).all(), f"{seed}: {s}"
        size = float(np.linalg.norm(G[active]))
        value = np.sum(G * Y) - (level * size if form == "epsilon" else size**2 / 4)
        assert s.dual_bound <= value + G.size * np.finfo(float).eps * np.sum(np.abs(G * Y))


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
    solution = program.solve(time_limit=0.5)
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


@pytest.mark.parametrize("seed", [0, 23, 41, 76, 84])
def test_a_ball_that_binds_nothing(seed: int) -> None:
    """Readings about a large mean, weights off it: multipliers as large as factors' rounding."""
    rng = np.random.default_rng([99, seed])
    shape = int(rng.integers(20, 60)), int(rng.integers(3, 11))
    X = 10 ** rng.uniform(1, 3) + rng.standard_normal(shape)
    mean = X.mean(axis=0)
    W = rng.standard_normal((X.shape[1], 4))
    Y = relu((X - mean) @ W)
    Y[:, ::2] = 0
    W -= np.outer(mean, mean @ W) / (mean @ mean)
    W += 0.05 * rng.standard_normal(W.shape)
    program = Program(X, Y, W, upper=X @ W)
    radius = 1.1 * float(np.linalg.norm((X @ W - Y)[Y > 0]))
    solution = assert_certified(replace(program, epsilon=radius), n_threads=1)
    assert solution.residual < radius


@pytest.mark.parametrize("number", [5, 321, 358])
def test_outputs_without_an_active_sample_and_sizes_over_decades(hard_mix, number: int) -> None:
    """What proves their share are multipliers of inactive samples, off by rounding alone."""
    program = hard_mix.draw("decades", "mixed sign", number)
    active = program.Y > 0
    assert not active.any(axis=0).all()
    solution = program.solve(n_threads=1)
    assert solution.status == "optimal", str(solution)
    assert (solution.dual[~active] <= 0).all()
    assert solution.dual_bound <= float(np.abs(program.weights).sum())


@pytest.mark.parametrize(
    ("kind", "number"), [("plain", 254), ("plain", 289), ("collinear", 21), ("collinear", 65)]
)
def test_multipliers_that_run_away_come_back(hard_mix, kind: str, number: int) -> None:
    """As they do on the first features, with which no weights satisfy the upper bounds."""
    program = hard_mix.draw(kind, "mixed sign", number)
    solution = program.solve(solver="newton", n_threads=1)
    assert solution.status == "optimal", str(solution)
    size = np.linalg.norm(solution.dual, axis=0) * np.linalg.norm(program.X, axis=1).max()
    assert size.max() < 1e3
