"""Weights with costs of their own: the optimum and its proof are those of the weighted norm.

The referees: CVXPY with Clarabel on the formula, the certificate in NumPy, and programs without
costs that stand for the same.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nettrim
from nettrim.layer.reference import ReferenceCertificate, ReferenceProgram, admm, certify
from support.conic import PRECISION, REFINEMENT
from support.problems import Array

TOL = 1e-6


@dataclass(frozen=True)
class Priced:
    """A layer program whose weights have costs."""

    X: Array
    Y: Array
    costs: Array
    activation: str
    upper: Array | float = 0.0
    epsilon: float | None = None
    penalty: float | None = None

    @property
    def reference(self) -> ReferenceProgram:
        return ReferenceProgram.of(
            self.X,
            self.Y,
            epsilon=self.epsilon,
            penalty=self.penalty,
            activation=self.activation,
            upper=self.upper,
            costs=self.costs,
        )

    def solve(self, **options: Any) -> nettrim.LayerSolution:
        return nettrim.solve_layer(
            self.X,
            self.Y,
            epsilon=self.epsilon,
            penalty=self.penalty,
            activation=self.activation,
            upper=self.upper if self.activation == "relu" else None,
            costs=self.costs,
            **options,
        )

    def certify(self, solution: nettrim.LayerSolution) -> ReferenceCertificate:
        return certify(self.reference, solution.weights, solution.dual)

    def optimum(self) -> float:
        """The least objective by the formula; outputs are about one in size, and so are costs."""
        active, finite = self.reference.active, np.isfinite(self.costs)
        unit = float(np.median(self.costs[finite]))
        U = cp.multiply(finite, cp.Variable(self.costs.shape))
        signal = self.X @ U
        norm = cp.sum(cp.multiply(np.where(finite, self.costs / unit, 0.0), cp.abs(U)))
        misfit = cp.vec(cp.multiply(active, signal - self.Y), order="F")
        limits = [cp.multiply(~active, signal - self.upper) <= 0]
        if self.penalty is None:
            problem = cp.Problem(cp.Minimize(norm), [*limits, cp.norm2(misfit) <= self.epsilon])
        else:
            least = cp.sum_squares(misfit) + self.penalty * unit * norm
            problem = cp.Problem(cp.Minimize(least), limits)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a digit too few, in ten
            problem.solve(solver=cp.CLARABEL, **PRECISION, **REFINEMENT)
        assert problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
        return float(problem.value) * (unit if self.penalty is None else 1.0)


def priced_layer(
    seed: int = 0,
    shape: tuple[int, int, int] = (40, 12, 5),
    activation: str = "relu",
    spread: float = 1.0,
    dead: int | None = None,
) -> Priced:
    """Costs over so many powers of ten, and as dear or cheap all together."""
    rng = np.random.default_rng(seed)
    n_samples, n_features, n_outputs = shape
    X = rng.standard_normal((n_samples, n_features))
    if dead is not None:
        X[:, dead] = 0.0
    signal = X @ rng.standard_normal((n_features, n_outputs)) / np.sqrt(n_features)
    Y = np.maximum(signal, 0) if activation == "relu" else signal
    costs = 10.0 ** (spread * rng.uniform(-1, 1, (n_features, n_outputs)) + rng.integers(-3, 4))
    return Priced(X, Y, costs, activation)


def at(program: Priced, gain: float) -> Priced:
    return replace(program, epsilon=gain * float(np.linalg.norm(program.Y)))


@st.composite
def small_programs(draw: st.DrawFn) -> Priced:
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 10)), draw(st.integers(1, 4))
    program = priced_layer(
        draw(st.integers(0, 10**6)),
        shape,
        draw(st.sampled_from(["relu", "linear"])),
        draw(st.sampled_from([0.0, 0.5, 2.0])),
    )
    if program.activation == "relu" and draw(st.booleans()):
        program = replace(program, upper=draw(st.floats(0.0, 1.0)))
    if not program.Y.any() or draw(st.booleans()):
        share = draw(st.floats(1e-3, 1.0))
        return replace(program, penalty=share * np.sqrt(shape[0]) / float(program.costs.min()))
    return at(program, draw(st.floats(0.01, 1.2)))


def assert_optimal(program: Priced, solution: nettrim.LayerSolution) -> None:
    """Proved by plain arithmetic, and as good as what the referee finds."""
    assert solution.status == "optimal", str(solution)
    proof = program.certify(solution)
    assert proof.objective == pytest.approx(solution.objective, rel=1e-9)
    assert abs(proof.gap) <= 1.1 * TOL or proof.objective == 0
    assert proof.violation <= TOL * max(np.abs(program.Y).max(), np.max(program.upper))
    if program.epsilon is not None:
        assert proof.residual <= program.epsilon * (1 + TOL)
    assert solution.objective == pytest.approx(program.optimum(), rel=3e-6, abs=1e-8)


@given(small_programs(), st.sampled_from(["auto", "newton"]))
@settings(max_examples=60)
def test_the_optimum_is_that_of_the_weighted_norm(program: Priced, solver: str) -> None:
    assert_optimal(program, program.solve(solver=solver))


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("form", ["epsilon", "penalty"])
def test_alternating_directions_find_it_as_well(activation: str, form: str) -> None:
    program = priced_layer(3, activation=activation, spread=0.5)
    if form == "penalty":
        program = replace(program, penalty=3.0 / float(program.costs.mean()))
    else:
        program = at(program, 0.2)
    assert_optimal(program, program.solve(solver="admm"))


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("solver", ["auto", "newton", "admm"])
def test_a_weight_of_infinite_cost_is_zero(activation: str, solver: str) -> None:
    program = at(priced_layer(4, activation=activation, spread=0.5), 0.9)
    forbidden = np.random.default_rng(0).random(program.costs.shape) < 0.25
    program = replace(program, costs=np.where(forbidden, np.inf, program.costs))
    start = np.ones(program.costs.shape)  # of no use where it is not allowed
    solution = program.solve(solver=solver, warm_start=start)
    assert not solution.weights[forbidden].any()
    assert_optimal(program, solution)


@pytest.mark.parametrize("gain", [0.9, 0.95])
def test_features_that_no_output_may_use_need_not_be_there(gain: float) -> None:
    program = priced_layer(5, (60, 12, 4))
    dear = program.costs.copy()
    dear[8:] = np.inf
    few = nettrim.solve_layer(
        program.X[:, :8], program.Y, epsilon=gain * float(np.linalg.norm(program.Y))
    )
    all_of_one = np.where(np.isinf(dear), np.inf, 1.0)
    many = nettrim.solve_layer(program.X, program.Y, epsilon=few.epsilon, costs=all_of_one)
    assert few.converged
    assert many.converged
    np.testing.assert_allclose(many.weights[:8], few.weights, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("solver", ["auto", "newton", "admm"])
def test_costs_of_features_are_their_units(activation: str, solver: str) -> None:
    """A feature in smaller units has weights so much larger."""
    program = at(priced_layer(6, activation=activation), 0.1)
    units = np.random.default_rng(1).uniform(0.5, 2.0, (program.X.shape[1], 1))
    priced = replace(program, costs=np.broadcast_to(units, program.costs.shape))
    plain = replace(program, X=program.X / units.T, costs=np.ones(program.costs.shape))
    one, other = priced.solve(solver=solver), plain.solve(solver=solver)
    assert one.objective == pytest.approx(other.objective, rel=3e-6)
    np.testing.assert_allclose(one.weights * units, other.weights, atol=2e-3)


@pytest.mark.parametrize("factor", [1e-9, 3.0, 1e9])
@pytest.mark.parametrize("form", ["epsilon", "penalty"])
def test_dearer_weights_are_the_same(factor: float, form: str) -> None:
    program = at(priced_layer(7), 0.1)
    if form == "penalty":
        program = replace(program, epsilon=None, penalty=program.solve().penalty)
    dear = replace(program, costs=factor * program.costs)
    if form == "penalty":
        dear = replace(dear, penalty=program.penalty / factor)
    one, other = program.solve(), dear.solve()
    assert one.converged
    assert other.converged
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-4)
    assert other.penalty * factor == pytest.approx(one.penalty, rel=1e-3)


@pytest.mark.parametrize("n_samples", [10, 13, 300])
@pytest.mark.parametrize("form", ["epsilon", "penalty"])
def test_sums_and_samples_have_one_answer(n_samples: int, form: str) -> None:
    program = priced_layer(8, (n_samples, 12, 5), "linear")
    level = {form: 0.3 * float(np.linalg.norm(program.Y))}
    if form == "penalty":
        level[form] /= float(program.costs.mean())
    gram = nettrim.Gram.of(program.X, program.Y)
    by_sums = nettrim.solve_layer(gram, costs=program.costs, **level)
    by_samples = replace(program, **level).solve()
    assert by_sums.converged
    assert by_samples.converged
    assert by_sums.objective == pytest.approx(by_samples.objective, rel=3e-6)
    limit = level.get("penalty", 1.0) * program.costs
    assert (np.abs(by_sums.dual) <= (1 + 1e-9) * limit).all()


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("form", ["epsilon", "penalty"])
def test_blocks_have_the_optimum_of_the_whole(activation: str, form: str) -> None:
    program = at(priced_layer(9, (80, 12, 7), activation, dead=3), 0.1)
    if form == "penalty":
        program = replace(program, epsilon=None, penalty=program.solve().penalty)
    whole = program.solve()
    with ThreadPoolExecutor(2) as executor:
        for blocks in (program.solve(block_outputs=3), program.solve(executor=executor)):
            assert blocks.converged
            assert blocks.objective == pytest.approx(whole.objective, rel=3e-6)
            assert abs(program.certify(blocks).gap) <= 1.1 * TOL
            np.testing.assert_array_equal(blocks.costs[3], 1.0)


def test_groups_have_costs_of_their_outputs() -> None:
    parts = [at(priced_layer(seed, (60, 6, 4)), 0.1) for seed in (1, 2)]
    X, Y = (np.hstack([getattr(part, name) for part in parts]) for name in ("X", "Y"))
    costs = np.hstack([part.costs / part.costs.max() for part in parts])
    level = 2.0
    both = nettrim.solve_layer(X, Y, penalty=level, groups=2, costs=costs)
    alone = [
        nettrim.solve_layer(p.X, p.Y, penalty=level, costs=own)
        for p, own in zip(parts, np.split(costs, 2, axis=1), strict=True)
    ]
    assert both.objective == pytest.approx(sum(s.objective for s in alone), rel=3e-6)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_a_path_has_the_answers_of_its_points(activation: str) -> None:
    program = priced_layer(10, activation=activation)
    epsilons = np.array([0.05, 0.2, 0.5]) * np.linalg.norm(program.Y)
    path = nettrim.trace(
        program.X, program.Y, epsilons=epsilons, activation=activation, costs=program.costs
    )
    assert path.converged
    for epsilon, point in zip(epsilons, path, strict=True):
        alone = replace(program, epsilon=float(epsilon)).solve()
        assert point.objective == pytest.approx(alone.objective, rel=3e-6)


@pytest.mark.parametrize("pull", [0.0, 0.1])
def test_drawn_weights_have_costs_too(pull: float) -> None:
    rng = np.random.default_rng(11)
    X, W = rng.standard_normal((30, 10)), rng.standard_normal((10, 4)) / 3
    Y, costs = np.maximum(X @ W, 0), 10.0 ** rng.uniform(-1, 1, (10, 4))
    costs[rng.random(costs.shape) < 0.1] = np.inf
    epsilon, ridge = 0.6 * float(np.linalg.norm(Y)), 0.02
    solution = nettrim.solve_layer(
        X, Y, epsilon=epsilon, ridge=ridge, pull=pull, original=W, costs=costs
    )
    program = ReferenceProgram.of(X, Y, epsilon=epsilon, costs=costs)
    formed = program.drawn_to(W, ridge * float(np.sum(X**2)) / 10, pull)
    dual = formed.dual_of_drawn(solution.dual, solution.slopes, solution.weights)
    proof = certify(formed, solution.weights, dual)
    assert solution.converged
    assert proof.objective == pytest.approx(solution.objective, rel=1e-9)
    assert abs(proof.gap) <= 1.1 * TOL
    assert proof.residual <= epsilon * (1 + TOL)


def test_single_precision_comes_as_near_as_it_can() -> None:
    program = at(priced_layer(12), 0.1)
    exact = program.solve()
    rough = program.solve(dtype=np.float32, tol=1e-4)
    assert rough.converged
    assert rough.weights.dtype == np.float32
    assert rough.objective == pytest.approx(exact.objective, rel=2e-4)


def test_the_iteration_in_numpy_leads_there() -> None:
    program = at(priced_layer(13, (30, 6, 3), spread=0.3), 0.2)
    iterates = admm(program.reference)
    last = next(it for it in iterates if it.iteration == 3000)
    assert abs(certify(program.reference, last.weights, last.dual).gap) < 1e-3
    least = program.solve().objective
    assert program.reference.norm(last.weights) == pytest.approx(least, rel=1e-3)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (0.0, "costs must be greater than 0"),
        (-1.0, "costs must be greater than 0"),
        (np.nan, "costs holds NaN"),
        (-np.inf, "costs holds NaN or infinity"),
        (np.ones((2, 2)), "costs must broadcast"),
        ("dear", "costs must hold real numbers"),
        ([], "costs is empty"),
    ],
)
def test_bad_costs(costs: Any, message: str) -> None:
    X = np.eye(4)
    for solve in (
        lambda: nettrim.solve_layer(X, X, epsilon=0.1, costs=costs),
        lambda: nettrim.trace(X, X, epsilons=[0.1], costs=costs),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            solve()


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("solver", ["auto", "newton", "admm"])
def test_too_few_weights_allowed_are_told(activation: str, solver: str) -> None:
    """By a ray, of which only what allowed weights see has to vanish."""
    program = at(priced_layer(14, activation=activation, spread=0.5), 0.1)
    costs = program.costs.copy()
    costs[3:] = np.inf
    program = replace(program, costs=costs)
    solution = program.solve(solver=solver)
    assert solution.status == "infeasible"
    assert program.certify(solution).dual_bound > 1e6 * float(costs[:3].max())
