"""The dual certificate: never above the optimum, closed on return, and checkable by a stranger."""

from __future__ import annotations

import numpy as np
import pytest

import nettrim
from support import problems
from support.conic import solve_conic
from support.problems import Array, Program, describe, g1, g2, g4, g4_layers, g5

ROUNDING = 1e-9  # what the referee's own ten digits allow


def dual_value(program: Program, G: Array) -> float:
    """The lower bound that G proves, from the data alone (Net-Trim's Lagrange dual)."""
    active = program.active
    linear = np.sum(G[active] * program.Y[active]) + np.sum(G[~active] * program.ceiling[~active])
    size = np.linalg.norm(G[active])
    if program.penalty is None:
        return float(linear - program.epsilon * size)
    return float(linear - size**2 / 4)


def assert_dual_feasible(program: Program, G: Array) -> None:
    limit = 1.0 if program.penalty is None else program.penalty
    assert np.all(G[~program.active] <= 1e-12 * limit)
    assert np.abs(program.X.T @ G).max() <= limit * (1 + 1e-12)


def certified_programs() -> list[Program]:
    return [g1().at(0.1), g1().at(0.9), g1("linear").at(0.1), g1().penalised(2.0), g2().at(0.3)]


EVERYTHING = certified_programs() + problems.random_programs()


@pytest.mark.parametrize("program", EVERYTHING, ids=describe)
def test_the_bound_can_be_recomputed_from_the_dual(program: Program) -> None:
    solution = program.solve(tol=1e-7)
    assert_dual_feasible(program, solution.dual)
    value = dual_value(program, solution.dual)
    assert solution.dual_bound == pytest.approx(max(value, 0.0), rel=1e-10, abs=1e-13)
    gap = (solution.objective - solution.dual_bound) / solution.objective
    assert solution.gap == pytest.approx(gap, abs=1e-12)
    assert solution.gap <= 1e-7


@pytest.mark.parametrize("program", EVERYTHING, ids=describe)
def test_the_bound_is_below_the_optimum_at_every_iteration(program: Program) -> None:
    bounds: list[float] = []
    program.solve(
        tol=1e-7, check_every=1, max_iter=3000, callback=lambda p: bounds.append(p.dual_bound)
    )
    assert bounds
    assert min(bounds) >= 0
    assert max(bounds) <= solve_conic(program).objective * (1 + ROUNDING)


@pytest.mark.parametrize("slack", ["paper", "positive", "zero"])
def test_the_bound_holds_in_the_cascade(slack: str) -> None:
    first, _ = g4_layers()
    program = g4(first.solve(tol=1e-9).weights, slack)
    optimum = solve_conic(program).objective
    bounds: list[float] = []
    program.solve(tol=1e-7, check_every=1, callback=lambda p: bounds.append(p.dual_bound))
    assert max(bounds) <= optimum * (1 + ROUNDING)
    assert bounds[-1] >= optimum * (1 - 1e-6)


@pytest.mark.parametrize("max_iter", [1, 3, 10, 30])
@pytest.mark.parametrize("program", certified_programs(), ids=describe)
def test_an_early_stop_still_returns_a_valid_dual(program: Program, max_iter: int) -> None:
    solution = program.solve(tol=1e-12, max_iter=max_iter)
    assert_dual_feasible(program, solution.dual)
    assert solution.dual_bound <= solve_conic(program).objective * (1 + ROUNDING)


def test_optimality_conditions() -> None:
    """At the optimum the dual carries the signs of the weights and the direction of the misfit."""
    program = g1().at(0.1)
    solution = program.solve(tol=1e-9)
    W, G, active = solution.weights, solution.dual, program.active
    slopes, misfit = program.X.T @ G, program.Y - program.X @ W
    np.testing.assert_allclose(slopes[W != 0], np.sign(W[W != 0]), atol=1e-5)
    size = np.linalg.norm(G[active])
    assert size == pytest.approx(problems.G1_DUAL_NORM, rel=1e-6)
    np.testing.assert_allclose(G[active] / size, misfit[active] / program.epsilon, atol=1e-5)
    assert np.abs(G * np.where(active, 0, misfit)).max() <= 1e-6


def test_optimality_conditions_of_the_penalised_form() -> None:
    program = g1().penalised(2.0)
    solution = program.solve(tol=1e-9)
    W, G, active = solution.weights, solution.dual, program.active
    misfit = program.Y - program.X @ W
    np.testing.assert_allclose(G[active], 2 * misfit[active], atol=1e-4)
    np.testing.assert_allclose((program.X.T @ G)[W != 0], 2.0 * np.sign(W[W != 0]), atol=1e-4)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6, 1e-8])
def test_the_gap_is_what_was_asked_for(tol: float) -> None:
    program = g1().at(0.1)
    solution = program.solve(tol=tol)
    assert solution.status == "optimal"
    assert abs(solution.gap) <= tol
    assert program.residual(solution.weights) <= program.epsilon * (1 + tol)
    assert program.violation(solution.weights) <= tol * program.Y.max()


def test_no_false_sparsity() -> None:
    """Few iterations give few nonzeros, and the answer must not call itself solved."""
    program = g5().at(0.05)
    solution = program.solve(max_iter=20, solver="admm")
    assert solution.status == "max_iter"
    assert not solution.converged
    infeasible = solution.residual > program.epsilon * (1 + 1e-6) or solution.violation > 1e-6
    assert infeasible or solution.gap > 1e-6 or solution.gap < 0
    assert solution.dual_bound <= problems.G5_OPTIMA[0.05] * (1 + 1e-4)


def test_multipliers_of_another_program_prove_nothing_false():
    """A warm start whose active entries are not these: positive multipliers where inactive."""
    rng = np.random.default_rng(11)
    X = rng.standard_normal((90, 10))
    here, there = (np.maximum(X @ rng.standard_normal((10, 6)), 0) for _ in range(2))
    start = nettrim.solve_layer(X, there, epsilon=0.1 * np.linalg.norm(there))
    assert (start.dual[here == 0] > 0).any()

    epsilon = 0.2 * np.linalg.norm(here)
    cold = nettrim.solve_layer(X, here, epsilon=epsilon, tol=1e-8)
    seen = []
    warm = nettrim.solve_layer(
        X,
        here,
        epsilon=epsilon,
        tol=1e-8,
        warm_start=start,
        check_every=1,
        callback=lambda p: seen.append(p.dual_bound) and False,
    )
    assert (cold.status, warm.status) == ("optimal", "optimal")
    assert warm.objective == pytest.approx(cold.objective, rel=2e-8)
    assert max(seen) <= cold.objective * (1 + 1e-8)
