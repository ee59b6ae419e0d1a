"""Layers at a given sparsity: the greedy order, the fit behind the ReLU, budgets kept exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nettrim
from nettrim.base.dispatch import core
from nettrim.budget.optimal_brain_surgeon import (
    RELU_GRID,
    FirstRemovals,
    Regularisation,
    eliminate,
    fit,
)
from nettrim.budget.pattern import Pattern
from support.budgets import data_of, layer
from support.problems import relu


def naive_surgery(gram, weights):
    """Optimal brain surgery as its paper has it: one rank-one update for each removal."""
    inverse, u = np.linalg.inv(gram), weights.copy()
    left, order, losses = list(range(len(u))), [], []
    while left:
        prices = [u[i] ** 2 / (2 * inverse[i, i]) for i in left]
        i = left[int(np.argmin(prices))]
        order.append(i)
        losses.append(min(prices))
        u = u - inverse[:, i] * u[i] / inverse[i, i]
        inverse = inverse - np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
        left.remove(i)
    return order, losses


def loss_of(data, chosen, weights):
    """The loss as the documentation has it."""
    program, p = data.core_arguments(chosen.pull, chosen.ridge), data.X @ weights
    active = np.ones(p.shape, bool) if data.active is None else data.active
    upper = 0.0 if data.upper is None else data.upper
    misfit = (p - program["target"]) ** 2
    total = misfit[active].sum() + chosen.pull * misfit[~active].sum()
    total += (np.maximum(p - upper, 0) ** 2)[~active].sum()
    return (total + program["ridge"] * np.sum((weights - data.weights) ** 2)) / 2


@pytest.mark.parametrize("n_features", [5, 40, 90])
def test_removals_of_a_linear_layer_are_those_of_the_naive_algorithm(n_features):
    X, W, _ = layer(n_features=n_features)
    data, chosen = data_of(X, X @ W, W, "linear"), Regularisation(0.0, 1e-3)
    trace = eliminate(data, chosen, 2)
    gram = X.T @ X + 1e-3 * data.scale * np.eye(X.shape[1])
    for j, column in enumerate(W.T):
        order, losses = naive_surgery(gram, column)
        assert list(trace.order[j]) == order
        np.testing.assert_allclose(trace.losses[j], losses, rtol=1e-6)


def test_features_that_are_zero_go_in_their_turn():
    X, W, _ = layer(n_features=12)
    X[:, [0, 3, 7]] = 0
    data = data_of(X, X @ W, W, "linear")
    trace = eliminate(data, Regularisation(0.0, 1.0), 1)
    gram = X.T @ X + data.scale * np.eye(X.shape[1])
    for j, column in enumerate(W.T):
        order, losses = naive_surgery(gram, column)
        assert list(trace.order[j]) == order
        np.testing.assert_allclose(trace.losses[j], losses, rtol=1e-6)


def test_single_precision_of_a_large_layer_is_enough():
    """Losses of removals, in whatever order those of about the same loss go."""
    X, W, _ = layer(500, 160, 3)
    data, chosen = data_of(X, X @ W, W, "linear"), Regularisation(0.0, 1e-3)
    gram = X.T @ X + 1e-3 * data.scale * np.eye(X.shape[1])
    for losses, column in zip(eliminate(data, chosen, 1).losses, W.T, strict=True):
        np.testing.assert_allclose(losses, naive_surgery(gram, column)[1], rtol=1e-3)


@pytest.mark.parametrize("rough", [5, 13])
def test_removals_by_what_outputs_share_are_those_of_a_linear_layer(rough):
    X, W, _ = layer()
    data, chosen = data_of(X, X @ W, W, "linear"), Regularisation(0.0, 1.0)
    whole, ours = (eliminate(data, chosen, 1, first=FirstRemovals(n)) for n in (0, rough))
    np.testing.assert_array_equal(ours.order, whole.order)
    np.testing.assert_allclose(ours.losses, whole.losses, rtol=1e-8)


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_an_elimination_goes_on_from_the_beginning_of_another(activation):
    X, W, Y = layer(400, 140, 5)
    data = data_of(X, X @ W if activation == "linear" else Y, W, activation)
    chosen = Regularisation(0.1, 1.0)
    whole = eliminate(data, chosen, 1)
    first = FirstRemovals.from_known(whole, data.size // 2)
    ours = eliminate(data, chosen, 1, first=first)
    gone = np.arange(data.weights.shape[0]) < first.removals[:, None]
    assert gone.sum() == data.size // 2
    np.testing.assert_array_equal(ours.order[gone], whole.order[gone])
    assert not ours.losses[gone].any()
    np.testing.assert_array_equal(np.sort(ours.order, axis=1), np.sort(whole.order, axis=1))
    assert np.isfinite(ours.losses).all()
    if activation == "linear":
        np.testing.assert_allclose(ours.losses[~gone], whole.losses[~gone], rtol=1e-3)


@pytest.mark.parametrize("power", [-450, -60, 60, 450])
def test_single_precision_knows_no_size(power):
    X, W, Y = layer(200, 140, 3)
    size = np.ldexp(1.0, power)
    one = nettrim.solve_layer_budget(X, Y, weights=W, sparsity=0.8, n_threads=1)
    other = nettrim.solve_layer_budget(X * size, Y * size, weights=W, sparsity=0.8, n_threads=1)
    assert np.array_equal(other.weights, one.weights)


def test_with_all_rows_pulled_a_relu_layer_is_a_linear_one():
    X, W, Y = layer()
    chosen = Regularisation(1.0, 1e-3)
    ours = eliminate(data_of(X, Y, W), chosen, 1)
    # The first removals: later ones lift inactive rows above zero, where they count twice.
    other = eliminate(data_of(X, X @ W, W, "linear"), chosen, 1)
    np.testing.assert_array_equal(ours.order[:, 0], other.order[:, 0])
    np.testing.assert_allclose(ours.losses[:, 0], other.losses[:, 0], rtol=1e-8)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1]), st.sampled_from([1e-3, 1.0]))
def test_the_fit_is_the_least_loss_on_its_support(seed, pull, ridge):
    rng = np.random.default_rng(seed)
    X, W, Y = layer(60, 12, 4, seed)
    upper = rng.standard_normal(Y.shape) if seed % 2 else None
    data = data_of(X, Y + 0.1 * rng.standard_normal(Y.shape), W, upper=upper)
    chosen, support = Regularisation(pull, ridge), rng.random((4, 13)) < 0.4
    weights, _ = fit(data, chosen, support, 0, 1)
    assert not weights[~support.T].any()
    least = loss_of(data, chosen, weights)
    scale = loss_of(data, chosen, np.zeros_like(W))
    for i, j in zip(*np.nonzero(support.T), strict=True):
        for step in (1e-4, -1e-4):
            moved = weights.copy()
            moved[i, j] += step
            assert loss_of(data, chosen, moved) >= least - 1e-9 * scale


def test_the_loss_is_told_right():
    X, W, Y = layer()
    data, chosen = data_of(X, Y, W), Regularisation(0.05, 1e-2)
    support = np.random.default_rng(0).random(W.T.shape) < 0.5
    told = core.fit_support(
        **data.core_arguments(0.05, 1e-2),
        support=np.ascontiguousarray(support),
        rounds=0,
        n_threads=1,
    )
    assert told["loss"] == pytest.approx(loss_of(data, chosen, told["weights"].T), rel=1e-10)


def test_swaps_lower_the_loss_and_keep_the_count():
    X, W, Y = layer(300, 30, 10)
    data, chosen = data_of(X, Y, W), Regularisation(0.01, 1e-3)
    support = np.random.default_rng(0).random(W.T.shape) < 0.3
    losses, changed = [], []
    for rounds in (0, 1, 3, 30):
        weights, swaps = fit(data, chosen, support, rounds, 2)
        losses.append(loss_of(data, chosen, weights))
        changed.append(swaps)
        assert np.count_nonzero(weights) <= support.sum()
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]
    assert changed == sorted(changed)


@pytest.mark.parametrize("method", ["surgery", "admm", "reweighted"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_budgets_are_kept_and_errors_grow(method, activation):
    X, W, _ = layer(400, 25, 12)
    Y = relu(X @ W) if activation == "relu" else X @ W
    errors = []
    for sparsity in (0.0, 0.1, 0.5, 0.777, 0.95, 1.0):
        s = nettrim.solve_layer_budget(
            X, Y, weights=W, sparsity=sparsity, activation=activation, method=method
        )
        assert (
            s.nonzeros == np.count_nonzero(s.weights) <= round((1 - sparsity) * W.size) == s.budget
        )
        out = relu(X @ s.weights) if activation == "relu" else X @ s.weights
        assert s.error == pytest.approx(np.linalg.norm(out - Y) / np.linalg.norm(Y), abs=1e-12)
        errors.append(s.error)
    assert errors == sorted(errors)
    assert errors[0] == pytest.approx(0, abs=1e-12)
    assert errors[-1] == pytest.approx(1, abs=1e-12)


def test_the_ends_are_exact():
    X, W, Y = layer()
    full = nettrim.solve_layer_budget(X, Y, weights=W, sparsity=0)
    assert np.array_equal(full.weights, W)
    none = nettrim.solve_layer_budget(X, Y, weights=W, sparsity=1)
    assert not none.weights.any()


def test_better_than_what_knows_no_relu():
    """Against the best weights on the same surgery's support for the signals in front of it."""
    X, W, Y = layer(500, 40, 20)
    unaware = nettrim.solve_layer_budget(
        X, X @ W, weights=W, sparsity=0.8, activation="linear", swaps=0
    )
    error = np.linalg.norm(relu(X @ unaware.weights) - Y) / np.linalg.norm(Y)
    assert nettrim.solve_layer_budget(X, Y, weights=W, sparsity=0.8).error < error


def test_one_trace_serves_every_sparsity():
    X, W, Y = layer(300, 30, 10)
    trace = nettrim.trace_budget(X, Y, weights=W, pull=0.01, ridge=1e-3)
    for sparsity in (0.2, 0.9):
        alone = nettrim.solve_layer_budget(
            X, Y, weights=W, sparsity=sparsity, pull=0.01, ridge=1e-3
        )
        np.testing.assert_array_equal(trace.at(sparsity).weights, alone.weights)
    assert len(trace.losses) == W.size + 1


def test_chosen_regularisation_is_of_the_samples_that_it_serves():
    """Three quarters of the samples choose, and all of them need three quarters of it."""
    X, W, Y = layer(200)
    chosen = nettrim.trace_budget(X, Y, weights=W).regularisation
    assert (chosen.pull, chosen.ridge) in {(0.75 * p, 0.75 * r) for p, r in RELU_GRID}
    given = nettrim.trace_budget(X, Y, weights=W, pull=0.2).regularisation
    assert given.pull == 0.2
    assert given.ridge in {0.75 * r for _, r in RELU_GRID}
    both = nettrim.trace_budget(X, Y, weights=W, pull=0.2, ridge=0.004).regularisation
    assert both == Regularisation(0.2, 0.004)


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:8"])
@pytest.mark.parametrize("sparsity", [None, 0.85])
@pytest.mark.parametrize("method", ["surgery", "admm"])
def test_patterns(pattern, sparsity, method):
    X, W, Y = layer(200, 30, 6)
    keep = np.zeros(31, bool)
    keep[-1] = True
    s = nettrim.solve_layer_budget(
        X, Y, weights=W, sparsity=sparsity, pattern=pattern, keep=keep, method=method
    )
    most, group = map(int, pattern.split(":"))
    for first in range(0, 30, group):
        assert (np.count_nonzero(s.weights[first : min(first + group, 30)], axis=0) <= most).all()
    assert s.weights[-1].all()
    full, rest = divmod(30, group)
    left = (full * most + min(rest, most)) * 6
    assert s.nonzeros == s.budget == (left if sparsity is None else round(0.15 * 30 * 6))


def test_what_is_to_be_kept_is_kept():
    X, W, Y = layer()
    keep = np.zeros(21, bool)
    keep[[0, 20]] = True
    for sparsity in (0.5, 1.0):
        s = nettrim.solve_layer_budget(X, Y, weights=W, sparsity=sparsity, keep=keep)
        assert s.weights[keep].all()
        assert s.budget == round((1 - sparsity) * 19 * 8)
        assert np.count_nonzero(s.weights[~keep]) == s.nonzeros <= s.budget


def degenerate():
    rng = np.random.default_rng(0)
    X, W, _ = layer(100, 12, 5)
    dead = X.copy()
    dead[:, [0, 3]] = 0
    twice = X.copy()
    twice[:, 5] = twice[:, 6]
    few = X[:4]
    off = W.copy()
    off[-1, 0] = -100.0  # never active
    return {
        "dead inputs": (dead, W),
        "duplicated features": (twice, W),
        "fewer samples than features": (few, W),
        "one sample": (X[:1], W),
        "dead outputs": (X, off),
        "zeros already": (X, np.where(rng.random(W.shape) < 0.6, W, 0)),
        "no weights": (X, np.zeros_like(W)),
        "no inputs": (np.zeros_like(X), W),
        "tied losses": (np.ones_like(X), np.ones_like(W)),
        "tiny": (1e-9 * X, W),
        "huge": (1e9 * X, W),
        "features of unequal size": (X * np.geomspace(1e-4, 1e4, 13), W),
    }


@pytest.mark.parametrize("case", list(degenerate()))
@pytest.mark.parametrize("method", ["surgery", "admm"])
def test_degenerate_layers(case, method):
    X, W = degenerate()[case]
    for sparsity in (0.3, 0.9):
        twice = [
            nettrim.solve_layer_budget(
                X, relu(X @ W), weights=W, sparsity=sparsity, method=method, n_threads=2
            )
            for _ in range(2)
        ]
        assert np.array_equal(twice[0].weights, twice[1].weights)
        assert np.isfinite(twice[0].weights).all()
        assert twice[0].nonzeros <= round((1 - sparsity) * W.size)
        assert twice[0].error <= 1.0 + 1e-9


def test_threads_do_not_matter():
    X, W, Y = layer(300, 30, 40)
    answers = [
        nettrim.solve_layer_budget(X, Y, weights=W, sparsity=0.8, n_threads=n).weights
        for n in (1, 2, 3)
    ]
    for one, other in itertools.pairwise(answers):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)


def test_inputs_of_a_trimmed_network():
    """Targets from the original inputs: the weights follow the change of the inputs."""
    X, W, Y = layer(400, 25, 10)
    rng = np.random.default_rng(1)
    changed = X + 0.3 * np.column_stack([rng.standard_normal((400, 25)), np.zeros(400)])
    s = nettrim.solve_layer_budget(changed, Y, weights=W, sparsity=0.3)
    unaware = nettrim.solve_layer_budget(X, Y, weights=W, sparsity=0.3)
    assert s.error < np.linalg.norm(relu(changed @ unaware.weights) - Y) / np.linalg.norm(Y)


def test_held_out_data_and_the_certificate():
    X, W, _ = layer(400, 15, 6)
    seen, unseen = X[:200], X[200:]
    s = nettrim.solve_layer_budget(
        seen,
        relu(seen @ W),
        weights=W,
        sparsity=0.6,
        held_out=(unseen, relu(unseen @ W)),
        certify=True,
    )
    wanted = relu(unseen @ W)
    error = np.linalg.norm(relu(unseen @ s.weights) - wanted) / np.linalg.norm(wanted)
    assert s.held_out_error == pytest.approx(error)
    front = np.linalg.norm(unseen @ (s.weights - W)) / np.linalg.norm(unseen @ W)
    assert s.held_out_preactivation_error == pytest.approx(front)
    assert s.certificate.converged
    assert s.certificate.dual_bound <= s.l1 * (1 + 1e-9)
    assert "proved" in str(s)


@pytest.mark.parametrize("activation", ["relu", "linear", "gelu"])
@pytest.mark.parametrize("terms", [{"sparsity": 0.5}, {"pattern": "2:5"}])
def test_a_layer_that_is_sparse_enough_stays_as_it_is(activation, terms):
    """More weights would fit rounding errors."""
    X, W, _ = layer()
    W = np.where(np.arange(len(W))[:, None] % 5 < 2, W, 0.0)
    Y = relu(X @ W) if activation == "relu" else X @ W
    terms = {"weights": W, "activation": activation, **terms}
    s = nettrim.solve_layer_budget(X, Y, **terms)
    np.testing.assert_array_equal(s.weights, W)
    changed = nettrim.solve_layer_budget(X, Y * 1.001, **terms)
    assert not np.array_equal(changed.weights, W)


def test_a_sparse_layer_that_is_posed_by_sums_stays_as_it_is():
    X, W, _ = layer()
    W = np.where(np.arange(W.size).reshape(W.shape) % 3, 0.0, W)
    s = nettrim.solve_layer_budget(nettrim.Gram.of(X, X @ W), weights=W, sparsity=0.5)
    np.testing.assert_array_equal(s.weights, W)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 5))
@settings(max_examples=50)
def test_what_a_pattern_admits(seed, n_features, group):
    rng = np.random.default_rng(seed)
    most, keep = int(rng.integers(1, group)), rng.random(n_features) < 0.2
    weights = rng.standard_normal((n_features, 2)) * (rng.random((n_features, 2)) < 0.5)
    free = weights[~keep]
    rows = [free[i : i + group] for i in range(0, len(free), group)]
    admitted = all((np.count_nonzero(row, axis=0) <= most).all() for row in rows)
    assert Pattern.of(keep, f"{most}:{group}", n_features).admits(weights) == admitted
