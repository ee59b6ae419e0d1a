"""The layer program: feasible, and optimal to six digits against a conic solver."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import nettrim
from support import problems
from support.conic import solve_conic
from support.problems import (
    SIX_NEURONS_OPTIMA,
    THIRTY_NEURONS_OPTIMA,
    WIDE_AND_DEAD_OPTIMA,
    Program,
    describe,
    second_layer,
    six_neurons,
    thirty_neurons,
    two_layers,
    wide_and_dead,
)

DIGITS = 1e-6
TOL = 1e-7


def assert_optimal(program: Program, solution: nettrim.LayerSolution, optimum: float) -> None:
    """Six digits of the objective and of feasibility, measured here, not read off the report."""
    assert solution.status == "optimal"
    assert solution.converged
    assert_feasible(program, solution.weights)
    assert program.objective(solution.weights) == pytest.approx(optimum, rel=DIGITS)
    assert_reported(program, solution)


def assert_feasible(program: Program, weights: problems.Array) -> None:
    size = np.abs(program.Y).max()
    assert program.violation(weights) <= DIGITS * size
    if program.epsilon is not None:
        # With epsilon = 0 "relative" can only mean relative to the outputs.
        allowed = program.epsilon or float(np.linalg.norm(program.Y))
        assert program.residual(weights) <= program.epsilon + DIGITS * allowed


def assert_reported(program: Program, solution: nettrim.LayerSolution) -> None:
    """The fields of the solution are what its weights say they are."""
    W, size = solution.weights, np.abs(program.Y).max()
    assert solution.objective == pytest.approx(program.objective(W), rel=1e-12)
    assert solution.residual == pytest.approx(program.residual(W), rel=1e-9, abs=1e-12 * size)
    assert solution.violation == pytest.approx(program.violation(W), rel=1e-6, abs=1e-12 * size)
    assert solution.nonzeros == np.count_nonzero(W)
    asked = "epsilon" if program.penalty is None else "penalty"
    assert getattr(solution, asked) == getattr(program, asked)
    assert W.shape == program.weights.shape
    assert solution.dual.shape == program.Y.shape
    assert solution.iterations >= 0
    assert solution.seconds >= 0


def test_the_fixture_is_the_published_one() -> None:
    program = six_neurons()
    assert np.linalg.norm(program.Y) == pytest.approx(problems.SIX_NEURONS_OUTPUT_NORM, rel=1e-11)
    assert np.linalg.norm(program.X) == pytest.approx(problems.SIX_NEURONS_INPUT_NORM, rel=1e-11)
    assert np.abs(program.weights).sum() == pytest.approx(
        problems.SIX_NEURONS_WEIGHTS_L1, rel=1e-11
    )
    assert program.active.sum() == problems.SIX_NEURONS_ACTIVE


def test_the_referee_knows_the_golden_values() -> None:
    assert solve_conic(six_neurons().at(0.1)).objective == pytest.approx(
        SIX_NEURONS_OPTIMA[0.1], rel=1e-9
    )
    assert solve_conic(problems.fixed_biases()).objective == pytest.approx(
        problems.FIXED_BIASES_OPTIMUM, rel=1e-9
    )
    for gain, optimum in WIDE_AND_DEAD_OPTIMA.items():
        assert solve_conic(wide_and_dead().at(gain)).objective == pytest.approx(optimum, abs=1e-9)


@pytest.mark.parametrize("gain", SIX_NEURONS_OPTIMA)
def test_six_neurons(gain: float) -> None:
    program = six_neurons().at(gain)
    solution = program.solve(tol=TOL)
    assert_optimal(program, solution, SIX_NEURONS_OPTIMA[gain])
    assert solution.nonzeros == problems.SIX_NEURONS_NONZEROS[gain]


def test_six_linear_neurons() -> None:
    program = six_neurons("linear").at(0.1)
    assert np.linalg.norm(program.Y) == pytest.approx(problems.SIX_NEURONS_LINEAR_NORM, rel=1e-9)
    assert_optimal(program, program.solve(tol=TOL), problems.SIX_NEURONS_LINEAR_OPTIMUM)


@pytest.mark.parametrize("gain", WIDE_AND_DEAD_OPTIMA)
def test_more_features_than_samples(gain: float) -> None:
    program = wide_and_dead().at(gain)
    solution = program.solve(tol=TOL)
    assert_optimal(program, solution, WIDE_AND_DEAD_OPTIMA[gain])
    assert not solution.weights[problems.DEAD_INPUT].any()
    assert not solution.weights[:, problems.DEAD_OUTPUT].any()


def test_the_cascade_programs() -> None:
    first, second = two_layers()
    weights = first.solve(tol=1e-9).weights
    assert np.abs(second).sum() == pytest.approx(problems.SECOND_LAYER_WEIGHTS_L1, rel=1e-5)
    golden = {
        "paper": problems.SECOND_LAYER_PAPER,
        "positive": problems.SECOND_LAYER_POSITIVE,
        "zero": problems.SECOND_LAYER_ZERO,
    }
    for slack, optimum in golden.items():
        program = second_layer(weights, slack)
        assert np.linalg.norm(program.Y) == pytest.approx(
            problems.SECOND_LAYER_OUTPUT_NORM, rel=1e-8
        )
        assert program.epsilon == pytest.approx(problems.SECOND_LAYER_EPSILON, rel=2e-6)
        solution = program.solve(tol=TOL)
        assert_optimal(program, solution, solve_conic(program).objective)
        assert solution.objective == pytest.approx(optimum, rel=2e-5)


@pytest.mark.parametrize("gain", THIRTY_NEURONS_OPTIMA)
def test_thirty_neurons(gain: float) -> None:
    program = thirty_neurons().at(gain)
    solution = program.solve(tol=TOL)
    assert solution.status == "optimal"
    assert_feasible(program, solution.weights)
    assert solution.objective == pytest.approx(THIRTY_NEURONS_OPTIMA[gain], rel=5e-5)
    assert solution.nonzeros == pytest.approx(problems.THIRTY_NEURONS_NONZEROS[gain], rel=0.01)


@pytest.mark.parametrize("program", problems.random_programs(), ids=describe)
def test_random_programs(program: Program) -> None:
    assert_optimal(program, program.solve(tol=TOL), solve_conic(program).objective)


@pytest.mark.parametrize("penalty", [0.1, problems.SIX_NEURONS_PENALTY, 20.0])
@pytest.mark.parametrize("fixture", [six_neurons, wide_and_dead])
def test_penalised_fixtures(fixture, penalty: float) -> None:
    program = fixture().penalised(penalty)
    assert_optimal(program, program.solve(tol=TOL), solve_conic(program).objective)


def test_penalised_golden_value() -> None:
    program = six_neurons().output(0).penalised(4.0)
    assert_optimal(program, program.solve(tol=1e-9), problems.SIX_NEURONS_PENALTY_4_OUTPUT_0)


def test_each_form_tells_its_counterpart() -> None:
    """The penalty that has the same solution as an epsilon, and the epsilon of a penalty."""
    constrained = six_neurons().at(0.1).solve(tol=1e-9)
    assert constrained.penalty == pytest.approx(problems.SIX_NEURONS_PENALTY, rel=1e-6)
    penalised = six_neurons().penalised(constrained.penalty).solve(tol=1e-9)
    assert penalised.epsilon == pytest.approx(constrained.epsilon, rel=1e-6)


def test_default_tolerance_and_options() -> None:
    """What a user gets who sets nothing."""
    solution = nettrim.solve_layer(
        six_neurons().X, six_neurons().Y, epsilon=0.1 * np.linalg.norm(six_neurons().Y)
    )
    assert solution.status == "optimal"
    assert abs(solution.gap) <= 1e-6
    assert_feasible(six_neurons().at(0.1), solution.weights)


@pytest.mark.parametrize("form", ["constrained", "penalised"])
def test_warm_start_from_the_answer_is_quick(form: str) -> None:
    program = six_neurons().at(0.1) if form == "constrained" else six_neurons().penalised(1.0)
    cold = program.solve(tol=TOL)
    warm = program.solve(tol=TOL, warm_start=cold)
    assert warm.status == "optimal"
    assert warm.iterations <= cold.iterations / 2
    assert warm.objective == pytest.approx(cold.objective, rel=DIGITS)


def test_warm_start_from_weights_and_from_another_program() -> None:
    program, optimum = six_neurons().at(0.1), SIX_NEURONS_OPTIMA[0.1]
    assert_optimal(program, program.solve(tol=TOL, warm_start=program.weights), optimum)
    assert_optimal(
        program, program.solve(tol=TOL, warm_start=six_neurons().at(0.3).solve()), optimum
    )
    assert_optimal(
        program, program.solve(tol=TOL, warm_start=six_neurons().penalised(1.0).solve()), optimum
    )


def test_no_iterations_is_an_honest_answer() -> None:
    solution = six_neurons().at(0.1).solve(max_iter=1)
    assert solution.status == "max_iter"
    assert not solution.converged
    assert solution.iterations == 1
    assert "max_iter" in str(solution)


@pytest.mark.parametrize("solver", ["newton", "admm"])
def test_the_time_limit_is_kept(solver: str) -> None:
    program = thirty_neurons().at(0.05)
    solution = program.solve(tol=1e-14, max_iter=10**9, time_limit=1e-3, solver=solver)
    assert solution.status == "time_limit"
    assert not solution.converged
    assert solution.seconds < 2.0
    assert_reported(program, solution)


@pytest.mark.parametrize("solver", ["newton", "admm"])
def test_a_callback_can_stop_the_solve(solver: str) -> None:
    seen = []

    def stop_at_the_third(progress: nettrim.LayerProgress) -> bool:
        seen.append(progress)
        return len(seen) == 3

    program = six_neurons().at(0.1)
    solution = program.solve(tol=1e-12, callback=stop_at_the_third, check_every=2, solver=solver)
    assert solution.status == "interrupted"
    assert not solution.converged
    assert [p.iteration for p in seen] == [2, 4, 6]
    assert solution.iterations == 6
    last = seen[-1]
    assert solution.objective == pytest.approx(last.objective, rel=1e-12)
    assert solution.residual == pytest.approx(last.residual, rel=1e-9)
    assert_reported(program, solution)


def test_an_error_in_the_callback_reaches_the_caller() -> None:
    def fail(progress: nettrim.LayerProgress) -> bool:
        raise RuntimeError(f"seen at {progress.iteration}")

    with pytest.raises(RuntimeError, match="seen at"):
        six_neurons().at(0.1).solve(callback=fail, check_every=1)


def test_an_infeasible_program_is_proved_infeasible() -> None:
    """`second_layer` with V = 0 and half the radius: the cascade can ask for the impossible."""
    first, _ = two_layers()
    program = second_layer(first.solve(tol=1e-9).weights, "zero")
    half = {**program.arguments, "epsilon": program.epsilon / 2}
    solution = nettrim.solve_layer(program.X, program.Y, **half, max_iter=100_000)
    assert solution.status == "infeasible"
    assert not solution.converged


def test_contradicting_half_spaces_are_proved_infeasible() -> None:
    """Two equal samples, of which one must be 1 and the other below -1."""
    X, Y = np.ones((2, 1)), np.array([[1.0], [0.0]])
    solution = nettrim.solve_layer(
        X, Y, epsilon=0.5, upper=np.array([[0.0], [-1.0]]), max_iter=100_000
    )
    assert solution.status == "infeasible"


def test_the_solution_is_frozen_and_prints_its_certificate() -> None:
    solution = six_neurons().at(0.1).solve()
    with pytest.raises(FrozenInstanceError):
        solution.status = "better"
    text = str(solution)
    for word in ("optimal", "gap", f"{solution.nonzeros}"):
        assert word in text
    assert len(repr(solution)) < 2000


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
@pytest.mark.parametrize("max_iter", [1, 2])
def test_multipliers_are_numbers_where_nothing_is_active(epsilon, max_iter) -> None:
    """The half-spaces alone ask for weights; the price without an active entry is infinite."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((17, 1))
    s = nettrim.solve_layer(
        X, np.zeros((17, 5)), upper=-np.abs(X), epsilon=epsilon, max_iter=max_iter, n_threads=1
    )
    assert np.isfinite(s.dual).all()
    assert np.isfinite(s.weights).all()
