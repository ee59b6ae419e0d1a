"""The reference engine is the published method, and the compiled core agrees with the reference."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrim.layer import reference
from support import problems
from support.conic import solve_conic
from support.problems import (
    SIX_NEURONS_OPTIMA,
    Array,
    Program,
    describe,
    six_neurons,
    thirty_neurons,
    wide_and_dead,
)

PUBLISHED_SCALE = (
    0.3  # of the largest column norm of X, to which the published code divides the data
)


def referenced(program: Program, scale: float = 1.0) -> reference.ReferenceProgram:
    """The program as the reference sees it; ``scale`` divides the data and leaves the weights."""
    return reference.ReferenceProgram.of(
        program.X / scale,
        program.Y / scale,
        epsilon=program.epsilon and program.epsilon / scale,
        penalty=program.penalty and program.penalty / scale**2,
        activation=program.activation,
        upper=program.ceiling / scale,
    )


def published_scale(program: Program) -> float:
    return PUBLISHED_SCALE * float(np.linalg.norm(program.X, axis=0).max())


def at_iteration(steps, k: int) -> reference.Iterate:
    return next(islice(steps, k - 1, k))


def published_admm(p: reference.ReferenceProgram, rho: float, iterations: int) -> Array:
    """Algorithm 1 of arXiv 1806.06457, line by line, with samples in rows; returns W2."""
    X, on, off = p.X, p.active, ~p.active
    inverse = np.linalg.inv(X.T @ X + np.eye(X.shape[1]))
    W3 = U2 = np.zeros((X.shape[1], p.target.shape[1]))
    U1 = np.zeros(p.target.shape)
    for _ in range(iterations):
        W1 = X @ W3 - U1
        misfit = (W1 - p.target)[on]
        W1[on] = p.target[on] + min(1, p.epsilon / np.linalg.norm(misfit)) * misfit
        W1[off] = np.minimum(W1[off], p.target[off])
        W2 = np.sign(W3 - U2) * np.maximum(np.abs(W3 - U2) - 1 / rho, 0)
        W3 = inverse @ (X.T @ (W1 + U1) + W2 + U2)
        U1 = U1 + W1 - X @ W3
        U2 = U2 + W2 - W3
    return W2


@pytest.mark.parametrize("fixture", [six_neurons, wide_and_dead])
@pytest.mark.parametrize("rho", [1.0, 10.0, 100.0])
def test_without_relaxation_it_is_the_published_method(fixture, rho: float) -> None:
    program = fixture().at(0.1)
    scaled = referenced(program, published_scale(program))
    for iterations in (1, 2, 17, 60):
        ours = at_iteration(reference.admm(scaled, rho=rho, relaxation=1.0), iterations).weights
        theirs = published_admm(scaled, rho, iterations)
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize(
    "program",
    [
        six_neurons().at(0.1),
        six_neurons("linear").at(0.1),
        wide_and_dead().at(0.3),
        six_neurons().penalised(1.0),
    ],
    ids=describe,
)
@pytest.mark.parametrize("relaxation", [1.0, reference.RELAXATION])
def test_the_multipliers_stay_orthogonal(program: Program, relaxation: float) -> None:
    """X U1' + U2 = 0 after every iteration, in the published scaling."""
    scaled = referenced(program, published_scale(program))
    for step in islice(reference.admm(scaled, relaxation=relaxation), 300):
        assert np.abs(scaled.X.T @ step.U1 + step.U2).max() <= 1e-10


@pytest.mark.parametrize("rho", [1.0, 10.0, 100.0])
def test_the_optimum_does_not_depend_on_rho(rho: float) -> None:
    program = six_neurons().at(0.1)
    scale = published_scale(program)
    scaled = referenced(program, scale)
    step = at_iteration(reference.admm(scaled, rho=rho), 4000)
    found = reference.certify(scaled, step.weights, step.dual)
    assert found.objective == pytest.approx(SIX_NEURONS_OPTIMA[0.1], rel=1e-6)
    assert abs(found.gap) <= 1e-6
    assert found.residual <= scaled.epsilon * (1 + 1e-6)
    assert found.violation <= 1e-6 * scaled.target.max()


def published_certificate(scaled: reference.ReferenceProgram, rho: float, iterations: int):
    """The published method's weights, certified by its multiplier at the end of the step."""
    steps = reference.admm(scaled, rho=rho, relaxation=1.0)
    last, following = islice(steps, iterations - 1, iterations + 1)
    return last.weights, reference.certify(scaled, last.weights, rho * following.U1)


@pytest.mark.parametrize(("iterations", "gap"), [(50, 1.55e-3), (100, 8.3e-5), (300, 1.55e-7)])
def test_the_gap_falls_as_it_was_measured(iterations: int, gap: float) -> None:
    program = six_neurons().at(0.1)
    scaled = referenced(program, published_scale(program))
    _, found = published_certificate(scaled, 10.0, iterations)
    assert found.gap == pytest.approx(gap, rel=0.01)


def test_no_false_sparsity() -> None:
    """With rho = 1 and 300 iterations a third of the connections seem to be superfluous.

    The bound gives the answer away: it is larger than the objective, so the gap is negative.
    """
    program, golden = thirty_neurons().at(0.05), problems.THIRTY_NEURONS_UNCONVERGED
    scaled = referenced(program, published_scale(program))
    weights, found = published_certificate(scaled, 1.0, 300)
    assert np.count_nonzero(weights) == golden["nonzeros"]
    assert found.objective == pytest.approx(golden["l1"], abs=0.01)
    assert found.dual_bound == pytest.approx(golden["bound"], abs=0.01)
    assert found.residual / scaled.epsilon == pytest.approx(golden["residual"], abs=1e-3)
    violation = found.violation * published_scale(program)
    assert violation == pytest.approx(golden["violation"], abs=1e-3)
    assert found.gap < 0


# --- the certificate is valid for any candidate -------------------------------------------------

RANDOM = problems.random_programs()
OPTIMA: dict[int, float] = {}


def optimum(index: int) -> float:
    if index not in OPTIMA:
        OPTIMA[index] = solve_conic(RANDOM[index]).objective
    return OPTIMA[index]


@settings(max_examples=150)
@given(st.integers(0, len(RANDOM) - 1), st.integers(0, 1000), st.floats(-6, 6), st.floats(0, 1))
def test_no_candidate_proves_too_much(index: int, seed: int, size: float, near: float) -> None:
    """Whatever the dual, noise or near the best one, the bound stays below the optimum."""
    program = RANDOM[index]
    best = program.solve(tol=1e-6).dual
    noise = 10**size * np.random.default_rng(seed).standard_normal(program.Y.shape)
    candidate = near * best + (1 - near) * noise
    found = reference.certify(referenced(program), program.weights, candidate)
    assert 0 <= found.dual_bound <= optimum(index) * (1 + 1e-9)


@pytest.mark.parametrize("program", [six_neurons().at(0.1), *RANDOM], ids=describe)
def test_the_core_reports_what_the_reference_computes(program: Program) -> None:
    solution = program.solve(tol=1e-6)
    found = reference.certify(referenced(program), solution.weights, solution.dual)
    assert solution.objective == pytest.approx(found.objective, rel=1e-12)
    assert solution.dual_bound == pytest.approx(found.dual_bound, rel=1e-10)
    assert solution.residual == pytest.approx(found.residual, rel=1e-9)
    assert solution.violation == pytest.approx(found.violation, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize(
    "program",
    [
        six_neurons().at(0.3),
        six_neurons("linear").at(0.1),
        wide_and_dead().at(0.1),
        six_neurons().penalised(1.0),
    ],
    ids=describe,
)
def test_the_core_reaches_what_the_reference_reaches(program: Program) -> None:
    scale = published_scale(program)
    scaled = referenced(program, scale)
    step = at_iteration(reference.admm(scaled), 5000)
    solution = program.solve(tol=1e-9)
    found = reference.certify(scaled, step.weights, step.dual)
    factor = 1.0 if program.penalty is None else scale**2
    assert solution.objective == pytest.approx(found.objective * factor, rel=1e-7)
    np.testing.assert_allclose(solution.weights, step.weights, atol=1e-5)
