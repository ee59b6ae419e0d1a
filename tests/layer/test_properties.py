"""What must hold whatever the numbers: symmetries, monotonicity, and ways to split a program."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog

from support import problems
from support.problems import (
    SIX_NEURONS_OPTIMA,
    Array,
    Program,
    random_program,
    six_neurons,
    wide_and_dead,
)

TIGHT = 1e-9
programs = st.builds(
    random_program,
    st.integers(0, 10_000),
    st.sampled_from(problems.UPPERS),
    st.sampled_from(["relu", "linear"]),
)
gains = st.sampled_from([0.05, 0.2, 0.5])
few = settings(max_examples=20)


def active_dual_norm(program: Program, solution) -> float:
    return float(np.linalg.norm(solution.dual[program.active]))


# --- symmetries ---------------------------------------------------------------------------------


def scale(program: Program, a: float, b: float) -> Program:
    """Inputs times a, outputs times b: the weights of the solution are multiplied by b / a."""
    return replace(
        program,
        X=a * program.X,
        Y=b * program.Y,
        upper=b * program.ceiling,
        epsilon=None if program.epsilon is None else b * program.epsilon,
        penalty=None if program.penalty is None else a * b * program.penalty,
    )


FORMS = [random_program(1, "negative").at(0.3), random_program(1, "negative").penalised(0.5)]


@pytest.mark.parametrize("program", FORMS, ids=problems.describe)
@pytest.mark.parametrize(("a", "b"), [(7.0, 3.0), (1e-4, 1e5)])
def test_scaling_inputs_and_outputs(program: Program, a: float, b: float) -> None:
    plain, other = program.solve(tol=TIGHT), scale(program, a, b).solve(tol=TIGHT)
    largest = np.abs(plain.weights).max()
    np.testing.assert_allclose(other.weights * a / b, plain.weights, atol=1e-6 * largest)
    factor = b / a if program.penalty is None else b**2
    assert other.objective == pytest.approx(factor * plain.objective, rel=1e-8)
    assert other.dual_bound == pytest.approx(factor * plain.dual_bound, rel=1e-8)


@pytest.mark.parametrize("program", FORMS, ids=problems.describe)
def test_scaling_by_powers_of_two_changes_no_bit(program: Program) -> None:
    a, b = 2.0**20, 2.0**-30
    plain, other = program.solve(), scale(program, a, b).solve()
    assert np.array_equal(other.weights * a / b, plain.weights)
    assert (other.iterations, other.gap) == (plain.iterations, plain.gap)


@few
@given(programs, gains)
def test_duplicated_samples(program: Program, gain: float) -> None:
    program = program.at(gain)
    twice = replace(
        program,
        X=np.vstack([program.X] * 2),
        Y=np.vstack([program.Y] * 2),
        upper=None if program.upper is None else np.vstack([program.upper] * 2),
        epsilon=np.sqrt(2) * program.epsilon,
    )
    once = program.solve(tol=1e-7)
    assert twice.solve(tol=1e-7).objective == pytest.approx(once.objective, rel=1e-6)


@few
@given(programs, gains, st.randoms(use_true_random=False))
def test_permutations(program: Program, gain: float, random) -> None:
    """Reordering samples, inputs and outputs reorders the answer and changes nothing else."""
    program = program.at(gain)
    samples, inputs, outputs = (
        np.array(random.sample(range(n), n)) for n in (*program.X.shape, program.Y.shape[1])
    )
    shuffled = replace(
        program,
        X=np.ascontiguousarray(program.X[np.ix_(samples, inputs)]),
        Y=np.ascontiguousarray(program.Y[np.ix_(samples, outputs)]),
        upper=program.upper
        if program.upper is None
        else program.upper[np.ix_(samples, outputs)].copy(),
        weights=program.weights[np.ix_(inputs, outputs)].copy(),
    )
    plain, other = program.solve(tol=1e-7), shuffled.solve(tol=1e-7)
    assert other.objective == pytest.approx(plain.objective, rel=1e-6)
    assert shuffled.residual(plain.weights[np.ix_(inputs, outputs)]) == pytest.approx(
        plain.residual
    )


def test_permuted_weights_are_the_weights_permuted() -> None:
    program, order = six_neurons().at(0.1), np.random.default_rng(0).permutation(21)
    shuffled = replace(program, X=np.ascontiguousarray(program.X[:, order]))
    plain, other = program.solve(tol=TIGHT), shuffled.solve(tol=TIGHT)
    np.testing.assert_allclose(other.weights, plain.weights[order], atol=1e-6)
    assert np.array_equal(other.weights != 0, plain.weights[order] != 0)


def test_a_dead_input_gets_no_weight() -> None:
    program = six_neurons().at(0.1)
    X = program.X.copy()
    X[:, 4] = 0.0
    for form in (problems.layer(X, program.weights).at(0.1), replace(program, X=X).penalised(1.0)):
        assert not form.solve().weights[4].any()


# --- trivial and monotone -----------------------------------------------------------------------


@few
@given(programs)
def test_a_radius_that_reaches_zero_gives_exactly_zero(program: Program) -> None:
    if program.upper is not None and program.upper[~program.active].min(initial=0.0) < 0:
        program = replace(program, upper=None)  # zero would not be feasible
    for slack in (1.0, 1.5):
        radius = slack * float(np.linalg.norm(program.Y[program.active]))
        solution = replace(program, epsilon=radius, penalty=None).solve()
        assert solution.status == "optimal"
        assert solution.objective == solution.dual_bound == solution.gap == 0
        assert not solution.weights.any()


def test_negative_upper_has_no_zero_shortcut() -> None:
    """Any radius: the half-spaces alone keep the weights away from zero."""
    program = random_program(3, "negative").at(10.0)
    solution = program.solve()
    assert solution.status == "optimal"
    assert solution.objective > 0.01
    assert program.violation(solution.weights) <= 1e-6 * program.Y.max()


def test_the_optimum_is_convex_and_falls_with_epsilon() -> None:
    gain = np.linspace(0.02, 1.0, 15)
    optima = np.array([six_neurons().at(g).solve(tol=1e-7).objective for g in gain])
    assert np.all(np.diff(optima) < 0)
    assert np.all(np.diff(optima, 2) > -1e-5)
    assert np.all(optima <= problems.SIX_NEURONS_WEIGHTS_L1)


@pytest.mark.parametrize("gain", [0.05, 0.1, 0.5])
def test_the_slope_is_the_norm_of_the_dual(gain: float) -> None:
    size, step = problems.SIX_NEURONS_OUTPUT_NORM, 1e-3
    left, here, right = (six_neurons().at(gain + d).solve(tol=TIGHT) for d in (-step, 0, step))
    slope = (right.objective - left.objective) / (2 * step * size)
    assert slope == pytest.approx(-active_dual_norm(six_neurons(), here), rel=1e-4)


@few
@given(programs, gains)
def test_trimming_never_costs_l1(program: Program, gain: float) -> None:
    solution = program.at(gain).solve(tol=1e-7)
    assert solution.objective <= np.abs(program.weights).sum() * (1 + 1e-7)


@few
@given(programs, gains)
def test_relu_of_the_answer_is_close(program: Program, gain: float) -> None:
    """Proposition 1 with a general upper bound: the error is the ball's and what upper allows."""
    program = program.at(gain)
    if program.activation == "linear":
        return
    W = program.solve(tol=1e-7).weights
    allowed = np.sum(problems.relu(program.ceiling)[~program.active] ** 2)
    error = np.linalg.norm(problems.relu(program.X @ W) - program.Y)
    assert error <= np.sqrt(program.epsilon**2 + allowed) * (1 + 1e-5)


# --- penalty and epsilon ------------------------------------------------------------------------


def stacked_outputs(program: Program, penalty: float, **options) -> Array:
    """The penalised program solved one output at a time."""
    outputs = range(program.Y.shape[1])
    parts = [program.output(m).penalised(penalty).solve(**options) for m in outputs]
    return np.hstack([part.weights for part in parts])


def test_one_penalty_for_all_outputs_is_the_joint_optimum() -> None:
    program = six_neurons().at(0.1)
    joint = program.solve(tol=TIGHT)
    penalty = 2 * program.epsilon / active_dual_norm(program, joint)
    assert penalty == pytest.approx(problems.SIX_NEURONS_PENALTY, rel=1e-6)
    stacked = stacked_outputs(program, penalty, tol=TIGHT)
    np.testing.assert_allclose(stacked, joint.weights, atol=1e-5)
    whole = program.penalised(penalty).solve(tol=TIGHT).weights
    np.testing.assert_allclose(whole, joint.weights, atol=1e-5)


def test_bisection_on_the_penalty_finds_the_constrained_optimum() -> None:
    program = six_neurons().at(0.1)

    def excess(penalty: float) -> float:
        return program.penalised(penalty).solve(tol=TIGHT).residual - program.epsilon

    penalty = brentq(excess, 0.5, 10.0, xtol=1e-8)
    assert penalty == pytest.approx(problems.SIX_NEURONS_PENALTY, rel=1e-5)
    weights = program.penalised(penalty).solve(tol=TIGHT).weights
    assert np.abs(weights).sum() == pytest.approx(SIX_NEURONS_OPTIMA[0.1], rel=1e-6)


def test_the_residual_grows_with_the_penalty() -> None:
    residuals = [
        six_neurons().penalised(p).solve(tol=1e-7).residual for p in np.geomspace(0.01, 30, 12)
    ]
    assert np.all(np.diff(residuals) > 0)


def test_the_largest_useful_penalty() -> None:
    """Zero is optimal from lambda_max on, which is a linear program and not lasso's formula."""
    program = six_neurons().output(0)
    X, y, on = program.X, program.Y[:, 0], program.active[:, 0]
    fixed, free = 2 * X[on].T @ y[on], X[~on].T
    ones = np.ones((len(fixed), 1))
    lp = linprog(
        np.append(np.zeros(free.shape[1]), 1.0),
        A_ub=np.block([[free, -ones], [-free, -ones]]),
        b_ub=np.concatenate([-fixed, fixed]),
        bounds=[(None, 0)] * free.shape[1] + [(0, None)],
    )
    assert lp.fun == pytest.approx(problems.SIX_NEURONS_PENALTY_MAX_OUTPUT_0, abs=5e-4)
    assert lp.fun < 0.5 * np.abs(fixed).max()
    above = program.penalised(lp.fun * 1.001)
    assert not above.solve(tol=1e-8, solver="admm").weights.any()
    assert above.solve(tol=1e-8).objective == pytest.approx(np.sum(y**2), rel=1e-8)
    assert program.penalised(lp.fun * 0.98).solve(tol=1e-8).weights.any()


# --- split budgets ------------------------------------------------------------------------------


def solve_split(program: Program, budgets: Array) -> Array:
    """One program per output, each with its own share of epsilon."""
    shares = [replace(program.output(m), epsilon=float(e)) for m, e in enumerate(budgets)]
    solutions = [share.solve(tol=1e-7, max_iter=200_000) for share in shares]
    assert all(solution.status == "optimal" for solution in solutions)
    return np.hstack([solution.weights for solution in solutions])


def test_golden_splits() -> None:
    program = six_neurons().at(0.1)
    norms = np.linalg.norm(program.Y, axis=0)
    equal = np.full(6, program.epsilon / np.sqrt(6))
    for budgets, optimum in (
        (equal, problems.SIX_NEURONS_EQUAL_SPLIT),
        (program.epsilon * norms / np.linalg.norm(norms), problems.SIX_NEURONS_NORM_SPLIT),
    ):
        assert np.abs(solve_split(program, budgets)).sum() == pytest.approx(optimum, abs=5e-5)


@pytest.mark.parametrize("fixture", [six_neurons, wide_and_dead])
def test_any_split_is_feasible_and_no_better_than_the_joint_program(fixture, rng) -> None:
    program = fixture().at(0.1)
    joint = program.solve(tol=1e-8)
    for _ in range(5):
        shares = rng.dirichlet(np.ones(program.Y.shape[1]))
        weights = solve_split(program, program.epsilon * np.sqrt(shares))
        assert program.residual(weights) <= program.epsilon * (1 + 1e-6)
        assert program.violation(weights) <= 1e-6 * program.Y.max()
        assert np.abs(weights).sum() >= joint.dual_bound * (1 - 1e-6)
