"""Rounds of a layer's program: each is proved at its costs, within the constraints of the first."""

from __future__ import annotations

import itertools
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.layer.data import LayerData
from nettrim.layer.reference import ReferenceProgram, certify
from nettrim.layer.reweighting import solve_in_rounds
from support.problems import Array

TOL = 1e-6


def layer(activation: str = "relu", n_outputs: int = 8) -> tuple[Array, Array]:
    """Few large weights among many small ones."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 24))
    W = rng.standard_normal((24, n_outputs))
    W = W * (rng.random(W.shape) < 0.3) + 0.1 * rng.standard_normal(W.shape)
    return X, np.maximum(X @ W, 0) if activation == "relu" else X @ W


def solve(activation: str = "relu", gain: float = 0.2, **options: Any) -> nettrim.LayerSolution:
    X, Y = layer(activation)
    epsilon = gain * float(np.linalg.norm(Y))
    return nettrim.solve_layer(X, Y, epsilon=epsilon, activation=activation, **options)


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_the_last_round_is_proved_at_its_costs(activation: str, rounds: int) -> None:
    X, Y = layer(activation)
    s = solve(activation, reweighted=rounds)
    program = ReferenceProgram.of(X, Y, epsilon=s.epsilon, activation=activation, costs=s.costs)
    proof = certify(program, s.weights, s.dual)
    assert s.converged
    assert abs(proof.gap) <= 1.1 * TOL
    assert proof.residual <= s.epsilon * (1 + TOL)
    assert proof.objective == pytest.approx(s.objective, rel=1e-9)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_fewer_weights_are_left_with_every_round(activation: str) -> None:
    plain, once, thrice = (solve(activation, reweighted=k) for k in (0, 1, 3))
    assert thrice.nonzeros < once.nonzeros < plain.nonzeros
    assert plain.first is None
    assert plain.costs is None


@pytest.mark.parametrize("form", ["epsilon", "penalty"])
def test_the_first_round_bounds_the_plain_program(form: str) -> None:
    X, Y = layer()
    plain = nettrim.solve_layer(X, Y, epsilon=0.2 * float(np.linalg.norm(Y)))
    level = {form: getattr(plain, form)}
    plain = nettrim.solve_layer(X, Y, **level)
    s = nettrim.solve_layer(X, Y, reweighted=2, **level)
    assert np.array_equal(s.first.weights, plain.weights)
    assert s.first.dual_bound == plain.dual_bound
    least = float(np.abs(s.weights).sum())
    if form == "penalty":
        least = s.residual**2 + s.penalty * least
    assert least >= plain.dual_bound


def test_costs_are_those_of_candes_wakin_and_boyd() -> None:
    """One over a weight's size before, softened; and the answer before costs what it did."""
    s = solve(reweighted=1)
    before = np.abs(s.first.weights)
    softened = before + 0.03 * before[before > 0].mean()
    np.testing.assert_allclose(s.costs * softened, (s.costs * softened)[0, 0])
    assert (s.costs * before).sum() == pytest.approx(before.sum())
    assert s.objective < s.first.objective


def test_costs_that_were_given_stay() -> None:
    X, Y = layer()
    given = np.random.default_rng(1).uniform(0.5, 2.0, (X.shape[1], Y.shape[1]))
    given[3, :4] = np.inf
    s = nettrim.solve_layer(X, Y, epsilon=0.8 * np.linalg.norm(Y), costs=given, reweighted=1)
    before = np.abs(s.first.weights)
    softened = before + 0.03 * before[before > 0].mean()
    allowed = np.isfinite(given)
    shares = s.costs[allowed] * softened[allowed] / given[allowed]
    np.testing.assert_allclose(shares, shares[0])
    assert s.converged
    assert not s.weights[~allowed].any()


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_blocks_and_workers_have_the_same_optimum(activation: str) -> None:
    whole = solve(activation, reweighted=1)
    with ThreadPoolExecutor(2) as executor:
        for options in ({"block_outputs": 3}, {"executor": executor}):
            s = solve(activation, reweighted=1, **options)
            assert s.converged
            assert s.first.objective == pytest.approx(whole.first.objective, rel=3e-6)
            assert s.objective == pytest.approx(whole.objective, rel=1e-3)  # costs differ by tol


def test_a_worker_solves_a_layer_in_rounds() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        s = solve(reweighted=1, executor=executor)
    here = solve(reweighted=1, n_threads=1)
    np.testing.assert_array_equal(s.weights, here.weights)
    np.testing.assert_array_equal(s.costs, here.costs)


def test_sums_and_samples_have_one_answer() -> None:
    X, Y = layer("linear")
    epsilon = 0.2 * float(np.linalg.norm(Y))
    by_sums = nettrim.solve_layer(nettrim.Gram.of(X, Y), epsilon=epsilon, reweighted=1)
    by_samples = solve("linear", reweighted=1)
    assert by_sums.objective == pytest.approx(by_samples.objective, rel=1e-4)
    assert by_sums.dual.shape == by_sums.first.dual.shape == by_sums.weights.shape
    assert (np.abs(by_sums.dual) <= (1 + 1e-9) * by_sums.costs).all()


def test_drawn_weights_are_reweighted_within_their_ball() -> None:
    rng = np.random.default_rng(2)
    X, W = rng.standard_normal((30, 20)), rng.standard_normal((20, 5)) / 4
    Y = np.maximum(X @ W, 0)
    epsilon = 0.1 * float(np.linalg.norm(Y))
    drawn = {"ridge": 0.01, "pull": 0.1, "original": W}
    plain = nettrim.solve_layer(X, Y, epsilon=epsilon, **drawn)
    s = nettrim.solve_layer(X, Y, epsilon=epsilon, reweighted=1, **drawn)
    assert s.converged
    assert s.nonzeros < plain.nonzeros
    assert s.residual <= epsilon * (1 + TOL)


def test_progress_counts_on() -> None:
    told: list[nettrim.LayerProgress] = []
    s = solve(reweighted=2, callback=told.append)
    for one, other in itertools.pairwise(told):
        assert other.iteration >= one.iteration
        assert other.seconds >= one.seconds
    assert told[-1].iteration == s.iterations
    assert s.seconds >= s.first.seconds


def test_a_stop_leaves_the_answer_there_was() -> None:
    plain = solve()
    s = solve(reweighted=3, callback=lambda told: told.iteration > plain.iterations)
    assert s.status == "interrupted"
    assert s.iterations > plain.iterations
    assert np.array_equal(s.weights, plain.weights)
    assert s.dual_bound == plain.dual_bound


@pytest.mark.parametrize("status", ["time_limit", "max_iter", "numerical", "infeasible"])
def test_a_round_without_proof_leaves_the_answer_there_was(status: str) -> None:
    X, Y = layer()
    data, plain = LayerData.of(X, Y, "relu", None, None, np.dtype(float)), solve()
    unproved = replace(plain, status=status, weights=0 * plain.weights)
    answers = iter([plain, replace(plain, objective=1.0), unproved])
    s = solve_in_rounds(lambda *_: next(answers), data, 5, None)
    assert s.status == "optimal"
    assert s.objective == 1.0
    assert s.first is plain
    assert np.array_equal(s.weights, plain.weights)
    assert s.seconds == pytest.approx(3 * plain.seconds)


def test_no_weights_are_not_reweighted() -> None:
    s = solve(gain=1.5, reweighted=2)
    assert s.converged
    assert s.nonzeros == 0
    assert s.first is None


def test_a_report_tells_of_the_first_round() -> None:
    s = solve(reweighted=1)
    assert f"reweighted, from {s.first.nonzeros:,} kept" in str(s)
    assert "reweighted" not in str(s.first)


@pytest.mark.parametrize("value", [-1, 0.5, True, "once"])
def test_rounds_are_a_whole_number(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="reweighted"):
        solve(reweighted=value)
