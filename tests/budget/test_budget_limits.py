"""Layers at a given sparsity: sizes near the limits of a double, time limits, wrong arguments."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest

import nettrim
from nettrim.budget.data import BudgetData
from nettrim.budget.optimal_brain_surgeon import Regularisation, eliminate
from support.budgets import data_of, layer


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"sparsity": None}, "sparsity"),
        ({"sparsity": 1.5}, "sparsity"),
        ({"sparsity": "half"}, "sparsity"),
        ({"weights": np.ones((3, 3))}, "weights"),
        ({"weights": np.full((21, 8), np.nan)}, "weights"),
        ({"pattern": "4:2"}, "pattern"),
        ({"pattern": "two"}, "pattern"),
        ({"pattern": "2:4", "sparsity": 0.3}, "sparsity"),
        ({"keep": np.ones(3, bool)}, "keep"),
        ({"keep": np.ones(21)}, "keep"),
        ({"method": "magic"}, "method"),
        ({"method": "reweighted", "pattern": "2:4", "sparsity": None}, "method"),
        ({"pull": -1.0}, "pull"),
        ({"ridge": 0.0}, "ridge"),
        ({"swaps": -1}, "swaps"),
        ({"n_threads": 0}, "n_threads"),
        ({"activation": "swish"}, "activation"),
        ({"held_out": (np.ones((5, 3)), np.ones((5, 8)))}, "held_out"),
    ],
)
def test_errors_name_the_argument(change, name):
    X, W, Y = layer()
    arguments = {"weights": W, "sparsity": 0.5, **change}
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        nettrim.solve_layer_budget(X, Y, **arguments)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale):
    X, W, Y = layer()
    one = nettrim.solve_layer_budget(X, Y, weights=W, sparsity=0.6)
    other = nettrim.solve_layer_budget(scale * X, scale * Y, weights=W, sparsity=0.6)
    np.testing.assert_allclose(other.weights, one.weights, rtol=1e-6, atol=1e-9)


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np, nettrim
rng = np.random.default_rng(0)
X, W = rng.standard_normal((1000, 700)), rng.standard_normal((700, 400))
network = nettrim.Network([nettrim.Dense(W), nettrim.Dense(rng.standard_normal((400, 5)))])
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.perf_counter()
if sys.argv[1] == "layer":
    try:
        nettrim.solve_layer_budget(X, np.maximum(X @ W, 0), weights=W, sparsity=0.9)
    except KeyboardInterrupt:
        print("stopped", time.perf_counter() - began < 5)
else:
    result = nettrim.trim(network, X, sparsity=0.9, progress=False)
    print("stopped" if result.interrupted else "done", time.perf_counter() - began < 5)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
@pytest.mark.parametrize("what", ["layer", "network"])
def test_interrupts_are_heard_inside_the_core(what):
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, what],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.stdout.split() == ["stopped", "True"], run.stderr


# Powers of two: inputs, and signals.
SIZES = [(-900, 0), (-1000, -1000), (1000, 1000), (0, 1000), (520, 520), (-520, -520), (500, -300)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("method", ["surgery", "admm", "reweighted"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_sizes_near_the_limits_of_a_double_change_no_bit(sizes, method, activation):
    """Inputs, outputs and weights in other units, all by powers of two."""
    X, W, Y = layer(80, 10, 5)
    Y = Y if activation == "relu" else X @ W
    options = {"sparsity": 0.6, "method": method, "activation": activation, "n_threads": 1}
    if activation == "relu":
        options["upper"] = 0.1
    one = nettrim.solve_layer_budget(
        X, Y, weights=W, held_out=(X[:20], Y[:20]), certify=True, **options
    )
    x, y = (np.ldexp(1.0, size) for size in sizes)
    if activation == "relu":
        options["upper"] = 0.1 * y
    s = nettrim.solve_layer_budget(
        X * x,
        Y * y,
        weights=np.ldexp(W, sizes[1] - sizes[0]),
        held_out=(X[:20] * x, Y[:20] * y),
        certify=True,
        **options,
    )
    assert np.array_equal(np.ldexp(s.weights, sizes[0] - sizes[1]), one.weights)
    for name in ("error", "preactivation_error", "held_out_error", "pull", "ridge", "nonzeros"):
        assert getattr(s, name) == getattr(one, name)
    assert s.certificate.converged
    assert np.ldexp(s.certificate.objective, sizes[0] - sizes[1]) == pytest.approx(
        one.certificate.objective, rel=2e-6
    )


def test_a_trace_of_any_size():
    X, W, Y = layer(80, 10, 5)
    one = nettrim.trace_budget(X, Y, weights=W)
    other = nettrim.trace_budget(np.ldexp(X, 450), np.ldexp(Y, 450), weights=W)
    np.testing.assert_array_equal(np.ldexp(other.losses, -900), one.losses)
    np.testing.assert_array_equal(other.at(0.5).weights, one.at(0.5).weights)
    with pytest.raises(ValueError, match=r"\bY\b"):
        nettrim.trace_budget(X, Y * 1e200, weights=W)
    with pytest.raises(ValueError, match=r"held_out.*large"):
        nettrim.solve_layer_budget(X, Y, weights=W, sparsity=0.5, held_out=(1e200 * X, Y))


@pytest.mark.parametrize("pattern", [None, "2:4"])
@pytest.mark.parametrize("method", ["surgery", "admm", "reweighted"])
@pytest.mark.parametrize("time_limit", [1e-9, 0.01, 0.05])
def test_a_budget_is_kept_when_time_is_up(method, pattern, time_limit):
    if method == "reweighted" and pattern:
        pytest.skip("knows no pattern")
    X, W, Y = layer(300, 40, 12)
    keep = np.zeros(41, bool)
    keep[-1] = True
    s = nettrim.solve_layer_budget(
        X,
        Y,
        weights=W,
        sparsity=0.7,
        keep=keep,
        pattern=pattern,
        method=method,
        time_limit=time_limit,
    )
    assert s.status in ("budget", "time_limit")
    assert s.status == "time_limit" or time_limit > 1e-9
    assert s.nonzeros == s.budget == round(0.3 * 40 * 12)
    assert s.weights[-1].all()
    assert 0 < s.error < 1
    if pattern:
        assert (np.count_nonzero(s.weights[:40].reshape(10, 4, 12), axis=1) <= 2).all()
    assert ("TIME WAS UP" in str(s)) == (s.status == "time_limit")


def test_time_enough_changes_nothing():
    X, W, Y = layer(200, 20, 6)
    for certify in (False, True):
        ways = [
            nettrim.solve_layer_budget(
                X, Y, weights=W, sparsity=0.7, certify=certify, time_limit=limit, n_threads=1
            )
            for limit in (None, 1e4)
        ]
        assert np.array_equal(ways[0].weights, ways[1].weights)
        assert [s.status for s in ways] == ["budget", "budget"]


def test_removals_at_once_are_the_cheapest_alone():
    """Without time to look at second derivatives: by the size of a weight's own signal."""
    X, W, _ = layer(200, 20, 6)
    data, chosen = data_of(X, X @ W, W, "linear"), Regularisation(0.0, 1e-3)
    trace = eliminate(data, chosen, 1, deadline=0.0)
    alone = W**2 * (np.sum(X**2, axis=0)[:, None] + 1e-3 * data.scale) / 2
    np.testing.assert_array_equal(trace.order, np.argsort(alone, axis=0).T)
    np.testing.assert_allclose(trace.losses, np.sort(alone, axis=0).T, rtol=1e-12)
    late = nettrim.trace_budget(X, X @ W, weights=W, activation="linear", time_limit=1e-9)
    assert late.status == late.at(0.5).status == "time_limit"


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, "soon"])
def test_time_limits_are_positive_numbers(value):
    X, W, Y = layer(20, 5, 3)
    for call in (nettrim.trace_budget, nettrim.solve_layer_budget):
        options = {} if call is nettrim.trace_budget else {"sparsity": 0.5}
        with pytest.raises((TypeError, ValueError), match="time_limit"):
            call(X, Y, weights=W, time_limit=value, **options)


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-200, 1.0, 1e200])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_errors_are_relative_at_every_size(size, activation) -> None:
    """Without weights nothing is reproduced: the error is the whole signal, however small."""
    X = np.random.default_rng(0).standard_normal((20, 4))
    Y = np.full((20, 2), size)
    options = {"weights": np.zeros((4, 2)), "activation": activation, "n_threads": 1}
    assert nettrim.solve_layer_budget(X, Y, sparsity=1.0, **options).error == pytest.approx(1.0)
    assert nettrim.trace_budget(X, Y, **options).at(1.0).error == pytest.approx(1.0)
    negative = np.where(np.arange(20) < 10, -1.0, size)[:, None] * np.ones(2)
    assert nettrim.solve_layer_budget(X, negative, sparsity=1.0, **options).error == (
        pytest.approx(1.0)
    )


def test_upper_bounds_far_below_all_signals_are_refused(rng) -> None:
    X, W = rng.standard_normal((19, 8)), rng.standard_normal((8, 3))
    Y = np.maximum(X @ W, 0)
    upper = np.full(Y.shape, -1e206)
    for call in (nettrim.trace_budget, partial(nettrim.solve_layer_budget, sparsity=0.8)):
        with pytest.raises(ValueError, match=r"^upper must be of a size with Y .* got -1e\+206"):
            call(X, Y, weights=W, upper=upper)


def test_flags_are_true_or_false(rng) -> None:
    X, W = rng.standard_normal((9, 2)), rng.standard_normal((2, 2))
    for certify in (np.ones((2, 2)), 1, "yes"):
        with pytest.raises(TypeError, match=r"^certify must be True or False"):
            nettrim.solve_layer_budget(X, X @ W, weights=W, sparsity=0.5, certify=certify)


@pytest.mark.parametrize("exponent", [-30, -8, 8, 30, 60, 200])
@pytest.mark.parametrize("posed", ["relu", "linear", "gram"])
def test_a_bias_beside_inputs_of_any_size(exponent, posed):
    """What its row of weights is multiplied by is a matter of how the layer is posed."""
    X, W, _ = layer()
    keep = np.arange(len(W)) == len(W) - 1
    X = np.column_stack([X[:, :-1], np.ones(len(X))])
    answers = []
    for size in (2.0**exponent, 4.0**exponent):
        inputs = X * np.where(keep, 1.0, size)
        Y = inputs @ (W * np.where(keep, size, 1.0)[:, None])
        Y = np.maximum(Y, 0) if posed == "relu" else Y
        samples = (nettrim.Gram.of(inputs, Y),) if posed == "gram" else (inputs, Y)
        s = nettrim.solve_layer_budget(
            *samples,
            weights=W * np.where(keep, size, 1.0)[:, None],
            sparsity=0.6,
            keep=keep,
            activation="relu" if posed == "relu" else "linear",
            held_out=(inputs, Y),
        )
        assert s.held_out_error == pytest.approx(s.error, rel=1e-6)
        answers.append(s.weights / np.where(keep, size, 1.0)[:, None])
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-6, atol=1e-9)


def test_features_that_are_constant_beside_a_bias_are_like_others():
    """Held-out samples may tell them apart, as pixels at an edge."""
    X, W, _ = layer()
    X[:, -2:] = 2.0**-8, 1.0
    keep = np.arange(len(W)) == len(W) - 1
    beside_bias = BudgetData.of(X, X @ W, W, None, None, None, keep, None)
    assert beside_bias.balance is None
    alone = BudgetData.of(X[:, :-1], X @ W, W[:-1], None, None, None, None, None)
    assert np.flatnonzero(alone.balance).tolist() == [len(W) - 2]
    assert alone.balance.dtype == np.intc  # where a long integer is one, ldexp takes no other
    np.testing.assert_array_equal(alone.in_given_units(alone.weights, "weights"), W[:-1])
