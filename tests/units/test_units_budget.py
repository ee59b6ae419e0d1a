"""Readers of a signal with a given number of units: against least squares and brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nettrim
from nettrim.units.readers import Readers
from nettrim.units.surgery import Forms
from support.budgets import layer
from support.problems import relu

RIDGE = 0.02


def signal(rng, sizes, n_samples=80, n_outputs=5):
    """Correlated inputs in groups of some sizes, shuffled, and a column of ones."""
    groups = rng.permutation(np.append(np.repeat(np.arange(len(sizes)), sizes), -1))
    mixing = rng.standard_normal((len(groups), len(groups))) + np.eye(len(groups))
    X = rng.standard_normal((n_samples, len(groups))) @ mixing
    X[:, groups == -1] = 1.0
    return X, rng.standard_normal((len(groups), n_outputs)), groups


def least_loss(X, Y, W, features, ridge):
    """That of ridge regression on some features, found by an orthogonal factorisation."""
    root = np.sqrt(ridge * np.mean(np.sum(X**2, axis=0)))
    tall = np.vstack([X, root * np.eye(X.shape[1])])[:, features]
    asked = np.vstack([Y, root * W])
    fitted = tall @ np.linalg.lstsq(tall, asked, rcond=None)[0]
    return 0.5 * float(np.sum((fitted - asked) ** 2))


def loss_of_readers(readers, kept, ridge=RIDGE):
    """Each over the square of its outputs."""
    total = 0.0
    for X, Y, W, groups in readers:
        features = (groups == -1) | kept[groups]
        total += least_loss(X, Y, W, features, ridge) / np.sum(Y**2)
    return total


def without(n_units, gone):
    kept = np.ones(n_units, bool)
    kept[list(gone)] = False
    return kept


@given(st.integers(0, 10**6), st.lists(st.integers(1, 4), min_size=2, max_size=6))
def test_losses_are_those_of_least_squares_and_every_step_is_the_cheapest(seed, sizes):
    rng = np.random.default_rng(seed)
    X, W, groups = signal(rng, sizes)
    Y = X @ W + rng.standard_normal((len(X), W.shape[1]))
    trace = nettrim.trace_units_budget(
        X, Y, weights=W, groups=groups, activation="linear", ridge=RIDGE
    )
    readers, n_units = [(X, Y, W, groups)], len(sizes)
    start = loss_of_readers(readers, np.ones(n_units, bool))
    gone: list[int] = []
    for step, unit in enumerate(trace.order):
        rest = [u for u in range(n_units) if u not in gone]
        losses = [loss_of_readers(readers, without(n_units, [*gone, u])) for u in rest]
        np.testing.assert_allclose(trace.losses[step + 1], min(losses) - start, rtol=1e-7)
        assert losses[rest.index(unit)] <= min(losses) * (1 + 1e-9)
        gone.append(int(unit))


def test_losses_of_a_wide_signal_are_those_of_least_squares(rng):
    """More features than the matrices are let follow at once."""
    sizes = rng.integers(1, 6, 90)
    X, W, groups = signal(rng, sizes, n_samples=400)
    Y = X @ W
    trace = nettrim.trace_units_budget(
        X, Y, weights=W, groups=groups, activation="linear", ridge=RIDGE
    )
    assert sorted(trace.order) == list(range(90))
    assert np.all(np.diff(trace.losses) >= 0)
    for count in (10, 45, 80, 90):
        kept = without(90, trace.order[:count])
        expected = loss_of_readers([(X, Y, W, groups)], kept)
        np.testing.assert_allclose(trace.losses[count], expected, rtol=1e-7)


def test_a_unit_costs_what_it_costs_all_readers(rng):
    """Different samples, features and outputs; the second reader has nothing of some units."""
    X, W, groups = signal(rng, [1, 2, 3, 2, 1])
    other, V, others = signal(rng, [2, 2, 1], n_samples=50, n_outputs=3)
    readers = [(X, X @ W, W, groups), (other, other @ V, V, others)]
    trace = nettrim.trace_units_budget(
        [X, other],
        [X @ W, other @ V],
        weights=[W, V],
        groups=[groups, others],
        activation="linear",
        ridge=RIDGE,
    )
    for count in range(6):
        expected = loss_of_readers(readers, without(5, trace.order[:count]))
        np.testing.assert_allclose(trace.losses[count], expected, rtol=1e-7, atol=1e-12)


def test_readers_of_the_same_samples_are_one_of_more_outputs(rng):
    X, W, groups = signal(rng, [2, 1, 3, 1], n_outputs=6)
    Y = X @ W
    halves = [Y[:, :3], Y[:, 3:]]
    together = nettrim.trace_units_budget(X, Y, weights=W, groups=groups, activation="linear")
    apart = nettrim.trace_units_budget(
        [X, X],
        halves,
        weights=[W[:, :3], W[:, 3:]],
        groups=[groups, groups],
        activation="linear",
        importance=[float(np.sum(half**2)) for half in halves],
    )
    assert len(apart.forms.grams) == 1
    np.testing.assert_array_equal(apart.order, together.order)
    np.testing.assert_allclose(apart.losses, np.sum(Y**2) * together.losses, rtol=1e-9)


def test_exchanges_end_where_no_pair_of_units_gains(rng):
    X, W, groups = signal(rng, [1, 2, 1, 3, 1, 1, 2, 1], n_outputs=3)
    other, V, others = signal(rng, [1, 1, 2, 1, 2, 1, 1, 1], n_samples=60)
    readers = [(X, X @ W, W, groups), (other, other @ V, V, others)]
    given_readers = Readers.of(*map(list, zip(*readers, strict=True)), activation="linear")
    forms = Forms.of(given_readers, RIDGE)
    sets = [without(8, gone) for gone in combinations(range(8), 5)]
    start = max(sets, key=lambda kept: loss_of_readers(readers, kept))
    exchange = forms.exchange(start, 100, 0.0, 1, None)
    assert exchange.swaps > 0
    assert exchange.kept.sum() == 3
    reached = loss_of_readers(readers, exchange.kept)
    assert reached < loss_of_readers(readers, start)
    for goes in np.flatnonzero(exchange.kept):
        for comes in np.flatnonzero(~exchange.kept):
            pair = exchange.kept.copy()
            pair[[goes, comes]] = False, True
            assert loss_of_readers(readers, pair) >= reached * (1 - 1e-9)


def test_one_exchange_is_the_best_of_all_pairs(rng):
    X, W, groups = signal(rng, [2] * 7)
    readers = [(X, X @ W, W, groups)]
    forms = Forms.of(Readers.of(*readers[0], activation="linear"), RIDGE)
    start = without(7, [0, 1, 2])
    pairs = []
    for goes in (3, 4, 5, 6):
        for comes in (0, 1, 2):
            pair = start.copy()
            pair[[goes, comes]] = False, True
            pairs.append(pair)
    best = min(pairs, key=lambda kept: loss_of_readers(readers, kept))
    exchange = forms.exchange(start, 1, 0.0, 1, None)
    assert loss_of_readers(readers, best) < loss_of_readers(readers, start)
    np.testing.assert_array_equal(exchange.kept, best)


def test_weights_of_a_linear_reader_are_those_of_least_squares(rng):
    X, W, groups = signal(rng, [2, 1, 3, 1, 2])
    s = nettrim.solve_units_budget(
        X, X @ W, weights=W, groups=groups, n_units=3, activation="linear", ridge=RIDGE
    )
    features = (groups == -1) | s.kept[groups]
    assert not s.weights[~features].any()
    root = np.sqrt(RIDGE * np.mean(np.sum(X**2, axis=0)))
    loss = 0.5 * (np.sum((X @ (s.weights - W)) ** 2) + root**2 * np.sum((s.weights - W) ** 2))
    np.testing.assert_allclose(loss, least_loss(X, X @ W, W, features, RIDGE), rtol=1e-9)


def test_weights_behind_a_relu_are_fitted_there():
    """No worse than a fit in front of the ReLU, and better than the weights that were left."""
    X, W, Y = layer()
    groups = np.append(np.arange(20), -1)
    s = nettrim.solve_units_budget(X, Y, weights=W, groups=groups, n_units=12, pull=0, ridge=1e-9)
    features = (groups == -1) | s.kept[groups]
    linear = np.zeros_like(W)
    linear[features] = np.linalg.lstsq(X[:, features], X @ W, rcond=None)[0]
    errors = [np.linalg.norm(relu(X @ U) - Y) for U in (s.weights, linear, W * features[:, None])]
    assert errors[0] < errors[1] < errors[2]
    np.testing.assert_allclose(s.error, errors[0] / np.linalg.norm(Y))


@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_readers_behind_smooth_activations(activation):
    X, W, _ = layer()
    groups = np.append(np.repeat(np.arange(10), 2), -1)
    s = nettrim.solve_units_budget(
        X, X @ W, weights=W, groups=groups, n_units=7, activation=activation
    )
    features = (groups == -1) | s.kept[groups]
    assert s.n_units == 7
    assert not s.weights[~features].any()
    data = Readers.of(X, X @ W, W, groups, activation=activation).each[0].data
    assert s.error < 0.9 * data.error(W * features[:, None])


def test_a_gram_matrix_does_for_linear_readers(rng):
    X, W, groups = signal(rng, [2, 1, 3, 1, 2])
    arguments = {"weights": W, "groups": groups, "n_units": 2, "ridge": RIDGE}
    by_gram = nettrim.solve_units_budget(nettrim.Gram.of(X), **arguments)
    by_samples = nettrim.solve_units_budget(X, X @ W, activation="linear", **arguments)
    np.testing.assert_array_equal(by_gram.kept, by_samples.kept)
    np.testing.assert_allclose(by_gram.weights, by_samples.weights, atol=1e-9)
    np.testing.assert_allclose(by_gram.error, by_samples.error, rtol=1e-9)


def test_units_to_keep_stay_and_come_last(rng):
    X, W, groups = signal(rng, [1] * 12)
    keep = np.zeros(12, bool)
    cheapest = nettrim.trace_units_budget(X, relu(X @ W), weights=W, groups=groups).order[:3]
    keep[cheapest] = True
    trace = nettrim.trace_units_budget(X, relu(X @ W), weights=W, groups=groups, keep=keep)
    assert sorted(trace.order) == sorted(set(range(12)) - set(cheapest.tolist()))
    for n_units in (3, 5):
        kept = trace.at(n_units).kept
        assert kept[keep].all()
        assert kept.sum() == n_units
    with pytest.raises(ValueError, match=r"^n_units must be at least 3"):
        trace.at(2)


def test_units_that_are_always_zero_go_first_and_cost_nothing(rng):
    X, W, groups = signal(rng, [1, 2, 1, 2, 1])
    X[:, (groups == 1) | (groups == 4)] = 0
    W[groups == 4] *= 1e3
    trace = nettrim.trace_units_budget(X, relu(X @ W), weights=W, groups=groups)
    assert sorted(trace.order[:2]) == [1, 4]
    np.testing.assert_allclose(trace.losses[:3], 0, atol=1e-12)
    assert trace.losses[3] > 1e-3
    assert trace.at(3).error < 1e-6


def test_ends_of_the_curve():
    X, W, Y = layer()
    trace = nettrim.trace_units_budget(X, Y, weights=W, groups=np.append(np.arange(20), -1))
    whole, none = trace.at(20), trace.at(0)
    np.testing.assert_array_equal(whole.weights, W)
    assert whole.error < 1e-12
    assert not none.weights[:-1].any()
    assert none.weights[-1].any()
    alone = nettrim.solve_units_budget(
        X[:, :-1], Y, weights=W[:-1], groups=np.arange(20), n_units=0
    )
    assert not alone.weights.any()
    np.testing.assert_allclose(alone.error, 1)


def test_threads_give_the_same(rng):
    X, W, groups = signal(rng, rng.integers(1, 4, 60), n_samples=300, n_outputs=20)
    one, two = (
        nettrim.solve_units_budget(
            X, relu(X @ W), weights=W, groups=groups, n_units=20, n_threads=n_threads
        )
        for n_threads in (1, 2)
    )
    np.testing.assert_array_equal(one.kept, two.kept)
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1e150])
def test_units_of_measurement_do_not_matter(scale):
    X, W, Y = layer()
    groups = np.append(np.repeat(np.arange(10), 2), -1)
    one = nettrim.solve_units_budget(X, Y, weights=W, groups=groups, n_units=5)
    other = nettrim.solve_units_budget(scale * X, scale * Y, weights=W, groups=groups, n_units=5)
    np.testing.assert_array_equal(other.kept, one.kept)
    np.testing.assert_allclose(other.weights, one.weights, rtol=1e-6, atol=1e-9)


def test_held_out_samples_judge_every_reader(rng):
    X, W, groups = signal(rng, [1, 2, 1, 2])
    other, V, others = signal(rng, [1, 1, 1, 1], n_samples=60)
    Y, Z = relu(X @ W), other @ V
    s = nettrim.solve_units_budget(
        [X, other],
        [Y, Z],
        weights=[W, V],
        groups=[groups, others],
        n_units=2,
        activation=["relu", "linear"],
        importance=[3, 1],
        held_out=([X, other], [Y, Z]),
    )
    np.testing.assert_allclose(s.held_out_errors, s.errors)
    wanted = [np.linalg.norm(relu(X @ s.weights[0]) - Y) / np.linalg.norm(Y)]
    wanted.append(np.linalg.norm(other @ s.weights[1] - Z) / np.linalg.norm(Z))
    np.testing.assert_allclose(s.errors, wanted)
    np.testing.assert_allclose(s.error, np.sqrt((3 * wanted[0] ** 2 + wanted[1] ** 2) / 4))
    assert "2 units" in str(s)


def test_a_time_limit_is_told_and_the_number_of_units_kept():
    X, W, Y = layer()
    groups = np.append(np.arange(20), -1)
    s = nettrim.solve_units_budget(X, Y, weights=W, groups=groups, n_units=7, time_limit=1e-9)
    assert s.status == "time_limit"
    assert s.n_units == 7
    assert "TIME WAS UP" in str(s)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"n_units": 21}, "n_units"),
        ({"n_units": -1}, "n_units"),
        ({"n_units": 0.5}, "n_units"),
        ({"swaps": -1}, "swaps"),
        ({"ridge": 0.0}, "ridge"),
        ({"pull": -1}, "pull"),
        ({"time_limit": 0}, "time_limit"),
        ({"n_threads": 0}, "n_threads"),
        ({"groups": np.arange(21) + 1}, "groups"),
        ({"held_out": (np.ones((5, 3)), np.ones((5, 8)))}, "held_out"),
    ],
)
def test_errors_name_the_argument(change, name):
    X, W, Y = layer()
    arguments = {"weights": W, "groups": np.append(np.arange(20), -1), "n_units": 5, **change}
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        nettrim.solve_units_budget(X, Y, **arguments)
