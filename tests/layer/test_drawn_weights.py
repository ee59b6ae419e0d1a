"""Weights drawn to the original ones: rows that are never formed count as if they were.

The referees: the same program with its rows formed, and CVXPY with Clarabel on the formula.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nettrim
from nettrim.layer.reference import ReferenceProgram, certify
from support.conic import PRECISION, REFINEMENT
from support.problems import Array


@dataclass(frozen=True)
class Drawn:
    """A layer program whose weights are drawn, with ridge as the caller gives it."""

    X: Array
    Y: Array
    original: Array
    ridge: float
    pull: float
    activation: str = "relu"
    upper: Array | None = None
    epsilon: float | None = None
    penalty: float | None = None

    @property
    def absolute_ridge(self) -> float:
        return self.ridge * float(np.sum(self.X**2)) / self.X.shape[1]

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "activation": self.activation,
            "upper": self.upper,
            "ridge": self.ridge,
            "pull": self.pull,
            "original": self.original,
        }

    def solve(self, **options: Any) -> nettrim.LayerSolution:
        level = {"epsilon": self.epsilon, "penalty": self.penalty}
        return nettrim.solve_layer(self.X, self.Y, **level, **self.arguments, **options)

    @property
    def formed(self) -> ReferenceProgram:
        """The program with all of its rows."""
        plain = ReferenceProgram.of(
            self.X,
            self.Y,
            epsilon=self.epsilon,
            penalty=self.penalty,
            activation=self.activation,
            upper=0.0 if self.upper is None else self.upper,
        )
        return plain.drawn_to(self.original, self.absolute_ridge, self.pull)

    def certify(self, solution: nettrim.LayerSolution) -> Any:
        """What an answer proves of the program with its rows, by plain arithmetic."""
        program = self.formed
        dual = program.dual_of_drawn(solution.dual, solution.slopes, solution.weights)
        return certify(program, solution.weights, dual)

    def optimum(self) -> float:
        """The least objective, by the formula alone."""
        active = self.Y > 0 if self.activation == "relu" else np.ones(self.Y.shape, bool)
        U = cp.Variable(self.original.shape)
        signal, change = self.X @ U, U - self.original
        parts = [
            cp.vec(cp.multiply(active, signal - self.Y), order="F"),
            np.sqrt(self.absolute_ridge) * cp.vec(change, order="F"),
            np.sqrt(self.pull) * cp.vec(cp.multiply(~active, self.X @ change), order="F"),
        ]
        misfit = cp.hstack(parts)
        bound = np.zeros(self.Y.shape) if self.upper is None else self.upper
        limits = [cp.multiply(~active, signal) <= np.where(active, 0.0, bound)]
        if self.penalty is not None:
            objective = cp.sum_squares(misfit) + self.penalty * cp.norm1(U)
        else:
            objective = cp.norm1(U)
            limits.append(cp.norm2(misfit) <= self.epsilon)
        problem = cp.Problem(cp.Minimize(objective), limits)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a digit too few, in ten
            problem.solve(solver=cp.CLARABEL, **PRECISION, **REFINEMENT)
        assert problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
        return float(problem.value)


def drawn_layer(
    seed: int = 0,
    shape: tuple[int, int, int] = (30, 12, 5),
    *,
    ridge: float = 0.01,
    pull: float = 0.1,
    activation: str = "relu",
    shift: float = 0.0,
) -> Drawn:
    """A layer whose own weights it is drawn to, or weights beside those."""
    rng = np.random.default_rng(seed)
    n_samples, n_features, n_outputs = shape
    X = np.column_stack([rng.standard_normal((n_samples, n_features - 1)), np.ones(n_samples)])
    W = rng.standard_normal((n_features, n_outputs)) / np.sqrt(n_features)
    Z = X @ W
    Y = np.maximum(Z, 0) if activation == "relu" else Z
    W = W + shift * rng.standard_normal(W.shape)
    return Drawn(X, Y, W, ridge, pull if activation == "relu" else 0.0, activation)


def at(program: Drawn, gain: float) -> Drawn:
    return replace(program, epsilon=gain * float(np.linalg.norm(program.Y)))


@st.composite
def small_programs(draw: st.DrawFn) -> Drawn:
    n_features = draw(st.integers(1, 8))
    program = drawn_layer(
        draw(st.integers(0, 10**6)),
        (draw(st.integers(1, 25)), n_features, draw(st.integers(1, 4))),
        ridge=draw(st.sampled_from([1e-3, 0.01, 0.1, 2.0])),
        pull=draw(st.sampled_from([0.0, 0.01, 0.3, 1.0, 3.0])),
        activation=draw(st.sampled_from(["relu", "relu", "linear"])),
    )
    if program.activation == "relu" and draw(st.booleans()):
        program = replace(program, upper=np.maximum(program.X @ program.original, 0.0) + 0.01)
    if not program.Y.any() or draw(st.booleans()):
        return replace(program, penalty=draw(st.floats(1e-3, 3.0)))
    return at(program, draw(st.floats(1e-3, 1.5)))


@given(small_programs())
@settings(max_examples=40)
def test_rows_that_are_not_formed_count_as_if_they_were(program: Drawn) -> None:
    solution = program.solve(tol=1e-7)
    assert solution.status == "optimal"
    formed = program.formed
    explicit = nettrim.solve_layer(
        formed.X,
        np.where(formed.active, formed.target, 0.0),
        epsilon=program.epsilon,
        penalty=program.penalty,
        active=formed.active,
        upper=formed.target,
        tol=1e-7,
    )
    assert solution.objective == pytest.approx(explicit.objective, rel=1e-6, abs=1e-9)
    optimum = program.optimum()
    assert solution.objective == pytest.approx(optimum, rel=1e-6, abs=1e-6)
    assert solution.dual_bound <= optimum * (1 + 1e-8) + 1e-8
    proof = program.certify(solution)
    assert proof.dual_bound == pytest.approx(solution.dual_bound, rel=1e-9, abs=1e-9)
    assert proof.residual == pytest.approx(solution.residual, rel=1e-9, abs=1e-12)
    assert proof.violation <= solution.violation + 1e-12


PROGRAMS = {
    "ridge": at(drawn_layer(1, pull=0.0), 0.1),
    "pull": at(drawn_layer(2, ridge=0.0), 0.1),
    "both": at(drawn_layer(3), 0.1),
    "few rows": at(drawn_layer(4, (10, 30, 6)), 0.1),
    "pull on few rows": at(drawn_layer(5, (10, 30, 6), ridge=0.0), 0.1),
    "linear": at(drawn_layer(6, activation="linear"), 0.1),
    "linear, few rows": at(drawn_layer(7, (10, 30, 6), activation="linear"), 0.1),
    "elsewhere": at(drawn_layer(8, shift=0.05), 0.3),
    "penalised": replace(drawn_layer(9), penalty=0.5),
    "penalised, linear": replace(drawn_layer(10, activation="linear"), penalty=0.5),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_bounds_are_below_the_optimum_at_every_certificate(name: str) -> None:
    program, bounds = PROGRAMS[name], []
    solution = program.solve(callback=lambda p: bounds.append(p.dual_bound))
    assert solution.converged
    assert max(bounds) <= program.optimum() * (1 + 1e-8)
    assert program.certify(solution).gap <= 1e-6


@pytest.mark.parametrize("name", ["both", "linear", "few rows"])
def test_a_trace_is_as_if_solved_one_by_one(name: str) -> None:
    program = PROGRAMS[name]
    epsilons = program.epsilon * np.array([0.2, 1.0, 3.0])
    curve = nettrim.trace(program.X, program.Y, epsilons=epsilons, **program.arguments)
    assert curve.converged
    for epsilon, solution in zip(epsilons, curve, strict=True):
        alone = replace(program, epsilon=float(epsilon)).solve()
        assert solution.objective == pytest.approx(alone.objective, rel=3e-6)


@pytest.mark.parametrize("name", PROGRAMS)
def test_units_do_not_matter(name: str) -> None:
    program, a, b = PROGRAMS[name], 1e4, 1e-5
    scaled = replace(
        program,
        X=a * program.X,
        Y=b * program.Y,
        original=b / a * program.original,
        epsilon=None if program.epsilon is None else b * program.epsilon,
        penalty=None if program.penalty is None else a * b * program.penalty,
    )
    unit = b / a if program.penalty is None else b**2
    assert scaled.solve().objective == pytest.approx(unit * program.solve().objective, rel=3e-6)
    assert scaled.certify(scaled.solve()).gap <= 1e-6


def test_the_original_weights_are_left_where_no_error_is_allowed() -> None:
    program = at(drawn_layer(11), 1e-7)
    solution = program.solve()
    assert solution.converged
    np.testing.assert_allclose(solution.weights, program.original, atol=1e-5)


def test_features_that_are_always_zero_keep_what_the_ridge_is_worth() -> None:
    program = drawn_layer(12, ridge=0.1)
    X = program.X.copy()
    X[:, [2, 5]] = 0.0
    program = at(replace(program, X=X, Y=np.maximum(X @ program.original, 0)), 0.05)
    solution = program.solve()
    assert solution.converged
    assert solution.weights[[2, 5]].any()
    assert solution.objective == pytest.approx(program.optimum(), rel=1e-6)


def test_single_precision_comes_near() -> None:
    program = PROGRAMS["both"]
    solution = program.solve(dtype=np.float32, tol=1e-4)
    assert solution.converged
    assert solution.weights.dtype == np.float32
    assert solution.objective == pytest.approx(program.solve().objective, rel=2e-4)


def test_a_ball_that_no_weights_reach_is_called_so() -> None:
    program = drawn_layer(13, shift=1.0, ridge=0.5)
    solution = replace(program, epsilon=1e-3).solve()
    assert solution.status == "infeasible"
    assert solution.dual_bound > np.abs(program.original).sum()


def test_features_far_apart_in_size_are_proved_too() -> None:
    program = drawn_layer(14, ridge=0.0)
    sizes = np.geomspace(1e-5, 1e3, program.X.shape[1])
    program = at(
        replace(program, X=program.X * sizes, original=program.original / sizes[:, None]), 0.1
    )
    solution = program.solve(tol=1e-5)
    assert solution.converged
    assert program.certify(solution).gap <= 1e-4


def test_a_start_near_the_answer_leads_to_it() -> None:
    program = PROGRAMS["both"]
    solution = program.solve()
    again = program.solve(warm_start=solution)
    assert again.converged
    assert again.objective == pytest.approx(solution.objective, rel=3e-6)


def test_weights_that_are_drawn_hard_enough_stay() -> None:
    program = at(drawn_layer(15, ridge=1e6, pull=0.0), 0.1)
    assert program.solve().converged
    np.testing.assert_allclose(program.solve().weights, program.original, atol=1e-2)


def test_nothing_is_drawn_by_zero() -> None:
    program = PROGRAMS["both"]
    plain = nettrim.solve_layer(program.X, program.Y, epsilon=program.epsilon)
    drawn = nettrim.solve_layer(program.X, program.Y, epsilon=program.epsilon, ridge=0.0, pull=0.0)
    assert np.array_equal(plain.weights, drawn.weights)
    assert plain.slopes.size == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"original": None}, "original is needed"),
        ({"ridge": 0.0, "pull": 0.0}, "original is what ridge and pull draw to"),
        ({"ridge": -1.0}, "ridge"),
        ({"pull": np.nan}, "pull"),
        ({"original": np.ones((3, 2))}, "original must have shape"),
        ({"original": np.full((12, 5), np.inf)}, "original"),
        ({"solver": "admm"}, "solver must be 'auto' or 'newton'"),
        ({"block_outputs": 2}, "block_outputs"),
        ({"activation": "linear"}, "pull draws inactive outputs"),
        ({"groups": 1, "activation": "linear", "pull": 0.0, "upper": None, "ridge": "a"}, "ridge"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    program = PROGRAMS["both"]
    arguments = {**program.arguments, "epsilon": program.epsilon, **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        nettrim.solve_layer(program.X, program.Y, **arguments)


def test_groups_are_refused() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((20, 6)), rng.standard_normal((20, 4))
    with pytest.raises(ValueError, match="layers of one group"):
        nettrim.solve_layer(X, Y, epsilon=1.0, groups=2, ridge=0.1, original=np.ones((3, 4)))
