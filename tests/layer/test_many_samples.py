"""Layers of many samples: a start from some of them, and Gram matrices that begin as estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.layer import data
from nettrim.layer.reference import ReferenceProgram, certify

Array = np.ndarray[Any, np.dtype[np.float64]]

TOL = 1e-6


def layer(n_samples: int = 9000, n_features: int = 12, n_outputs: int = 4) -> tuple[Array, Array]:
    """Half of the inputs are zero, the rare feature 0 nearly always."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.standard_normal((n_samples, n_features)), 0)
    X[:, 0] *= rng.random(n_samples) < 0.002
    X[:, -1] = 1
    W = rng.standard_normal((n_features, n_outputs)) * (rng.random((n_features, n_outputs)) < 0.5)
    return X, np.maximum(X @ W / np.sqrt(n_features) - 0.3, 0)


def assert_proved(program: ReferenceProgram, answer: nettrim.LayerSolution, tol: float) -> None:
    """From the arrays of all samples, in NumPy."""
    assert answer.status == "optimal"
    proof = certify(program, answer.weights, answer.dual)
    assert abs(proof.gap) <= tol * (1 + 1e-6) + 1e-9
    assert proof.violation <= tol * np.abs(program.target).max() * (1 + 1e-6)
    if program.epsilon is not None:
        assert proof.residual <= program.epsilon * (1 + tol * (1 + 1e-6))


@pytest.mark.parametrize("solver", ["newton", "admm"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_samples_that_are_mostly_zero(solver: Any, dtype: Any) -> None:
    """As images are: all engines pass over the zeros, and the proof stays what it is."""
    rng = np.random.default_rng(1)
    X = rng.random((600, 40)) * (rng.random((600, 40)) < 0.1)
    X[:, -1] = 1
    Y = np.maximum(X @ rng.standard_normal((40, 90)), 0)
    epsilon = 0.2 * float(np.linalg.norm(Y))
    tol = 1e-5 if dtype == np.float64 else 1e-3
    answer = nettrim.solve_layer(
        X.astype(dtype), Y.astype(dtype), epsilon=epsilon, tol=tol, solver=solver
    )
    assert_proved(ReferenceProgram.of(X, Y, epsilon=epsilon), answer, tol)


@pytest.mark.parametrize("order", ["mixed", "sorted"])
def test_an_answer_is_proved_on_all_samples(order: str) -> None:
    """Sorted, neighbours are alike."""
    X, Y = layer()
    if order == "sorted":
        rank = np.argsort(Y[:, 0])
        X, Y = X[rank], Y[rank]
    epsilon = 0.1 * float(np.linalg.norm(Y))
    answer = nettrim.solve_layer(X, Y, epsilon=epsilon, tol=TOL)
    assert_proved(ReferenceProgram.of(X, Y, epsilon=epsilon), answer, TOL)


def test_a_penalised_layer_begins_on_some_samples_too() -> None:
    X, Y = layer()
    answer = nettrim.solve_layer(X, Y, penalty=40.0, tol=TOL)
    assert_proved(ReferenceProgram.of(X, Y, penalty=40.0), answer, TOL)


def test_bounds_and_masks_go_with_their_samples() -> None:
    X, _ = layer()
    rng = np.random.default_rng(1)
    Y = X @ rng.standard_normal((12, 4))
    active = rng.random(Y.shape) < 0.4
    upper = Y + rng.uniform(0.05, 0.2, Y.shape)
    epsilon = 0.1 * float(np.linalg.norm(Y[active]))
    answer = nettrim.solve_layer(X, Y, epsilon=epsilon, upper=upper, active=active, tol=TOL)
    program = ReferenceProgram(X, np.where(active, Y, upper), active, epsilon=epsilon)
    assert_proved(program, answer, TOL)


def test_what_begins_with_estimates_ends_with_a_proof() -> None:
    """Large enough for Gram matrices in single precision, which are estimated at first."""
    X, Y = layer(9000, 101, 200)
    epsilon = 0.5 * float(np.linalg.norm(Y))
    answer = nettrim.solve_layer(X, Y, epsilon=epsilon, tol=1e-4)
    assert_proved(ReferenceProgram.of(X, Y, epsilon=epsilon), answer, 1e-4)


def test_weights_to_begin_with_are_read_on_some_samples() -> None:
    X, Y = layer()
    epsilon = 0.1 * float(np.linalg.norm(Y))
    cold = nettrim.solve_layer(X, Y, epsilon=epsilon, tol=TOL)
    warm = nettrim.solve_layer(X, Y, epsilon=0.9 * epsilon, tol=TOL, warm_start=cold.weights)
    assert_proved(ReferenceProgram.of(X, Y, epsilon=0.9 * epsilon), warm, TOL)


def test_a_start_on_some_samples_keeps_to_its_limits() -> None:
    X, Y = layer()
    epsilon = 0.1 * float(np.linalg.norm(Y))
    few = nettrim.solve_layer(X, Y, epsilon=epsilon, tol=TOL, max_iter=3)
    assert (few.status, few.iterations) == ("max_iter", 3)
    assert np.isfinite(few.gap)
    late = nettrim.solve_layer(X, Y, epsilon=epsilon, tol=TOL, time_limit=1e-9)
    assert late.status == "time_limit"


def test_equal_solves_of_many_samples_give_equal_bits() -> None:
    X, Y = layer()
    epsilon = 0.1 * float(np.linalg.norm(Y))
    first, second = (nettrim.solve_layer(X, Y, epsilon=epsilon, n_threads=2) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(first.dual, second.dual)


def test_few_dead_features_of_a_large_layer_are_not_worth_a_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, Y = layer(300)
    X[:, 3] = 0
    epsilon = 0.1 * float(np.linalg.norm(Y))
    wanted = nettrim.solve_layer(X, Y, epsilon=epsilon, tol=TOL)
    monkeypatch.setattr(data, "LARGE", 0)
    taken = data.LayerData.of(X, Y, "relu", None, None, np.dtype(float))
    assert np.shares_memory(taken.X, X)
    answer = nettrim.solve_layer(X, Y, epsilon=epsilon, tol=TOL)
    assert answer.status == "optimal"
    assert (answer.weights[3] == 0).all()
    assert answer.objective == pytest.approx(wanted.objective, rel=2 * TOL)
