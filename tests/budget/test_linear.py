"""Linear layers at a given sparsity, by alternating directions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nettrim
from nettrim.base.dispatch import core


def layer(seed=0, n_samples=400, n_features=40, n_outputs=12):
    """Correlated samples and a layer."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((n_features, n_features)) / np.arange(1, n_features + 1)[:, None]
    return rng.standard_normal((n_samples, n_features)) @ mixing, rng.standard_normal(
        (n_features, n_outputs)
    )


def solve(X, W, **options):
    return nettrim.solve_layer_budget(
        X, X @ W, weights=W, activation="linear", method="admm", **options
    )


def refitted(X, W, support, ridge):
    """The least loss on a support, by least squares."""
    scale = ridge * np.mean(np.einsum("ij,ij->j", X, X))
    rows = np.vstack([X, np.sqrt(scale) * np.eye(X.shape[1])])
    wanted = np.vstack([X @ W, np.sqrt(scale) * W])
    fitted = np.zeros_like(W)
    for k in range(W.shape[1]):
        own = support[:, k]
        fitted[own, k] = np.linalg.lstsq(rows[:, own], wanted[:, k], rcond=None)[0]
    return fitted


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from([0.3, 0.5, 0.9, 0.99]),
    st.sampled_from([None, "2:4", "1:3"]),
    st.booleans(),
)
def test_weights_are_few_and_the_best_on_their_support(seed, sparsity, pattern, with_bias):
    X, W = layer(seed, 90, 14, 5)
    keep = np.arange(14) == 13 if with_bias else None
    sparsity = max(sparsity, 0.7) if pattern else sparsity
    s = solve(X, W, sparsity=sparsity, pattern=pattern, keep=keep, ridge=0.01)
    free = slice(0, 13) if with_bias else slice(None)
    assert np.count_nonzero(s.weights[free]) <= s.budget
    if pattern:
        most, group = map(int, pattern.split(":"))
        padded = np.pad(s.weights[free] != 0, ((0, -len(s.weights[free]) % group), (0, 0)))
        assert padded.reshape(-1, group, 5).sum(axis=1).max() <= most
    if with_bias:
        assert s.weights[13].all()
    np.testing.assert_allclose(
        s.weights, refitted(X, W, s.weights != 0, 0.01), rtol=1e-6, atol=1e-8
    )


def test_conjugate_gradients_fit_as_well():
    """Where a support is too large for factors."""
    X, W = layer(1, 600, 250, 6)
    s = solve(X, W, sparsity=0.1, ridge=0.01)
    assert (s.weights != 0).sum(axis=0).min() ** 3 / 3 > 30 * 250**2
    best = refitted(X, W, s.weights != 0, 0.01)
    scale = 0.01 * np.mean(np.einsum("ij,ij->j", X, X))

    def loss(weights):
        return np.sum((X @ (weights - W)) ** 2) + scale * np.sum((weights - W) ** 2)

    assert loss(best) <= loss(s.weights) <= 1.01 * loss(best)


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_better_than_the_largest_weights_refitted(sparsity):
    X, W = layer(2)
    s = solve(X, W, sparsity=sparsity)
    sizes = np.abs(W) * np.linalg.norm(X, axis=0)[:, None]
    support = sizes >= np.sort(sizes, axis=None)[-s.budget]
    rival = refitted(X, W, support, s.ridge)
    assert s.error < 0.9 * np.linalg.norm(X @ (rival - W)) / np.linalg.norm(X @ W)


def test_the_same_call_gives_the_same_bits():
    X, W = layer(3)
    first, second = (solve(X, W, sparsity=0.7, n_threads=2) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)


@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e120])
def test_any_size(scale):
    X, W = layer(4)
    s = solve(X * scale, W, sparsity=0.6)
    np.testing.assert_allclose(s.weights, solve(X, W, sparsity=0.6).weights, rtol=1e-6)


def test_dead_features_and_zero_weights():
    X, W = layer(5)
    X[:, 7], W[:, 3] = 0, 0
    s = solve(X, W, sparsity=0.5)
    assert not s.weights[:, 3].any()
    assert s.error < 0.5


def test_time_is_up():
    X, W = layer(6)
    s = solve(X, W, sparsity=0.5, time_limit=1e-9)
    assert s.status == "time_limit"
    assert s.nonzeros <= s.budget


@pytest.mark.parametrize(
    ("shape", "pattern", "method"),
    [((40, 12), None, "surgery"), ((120, 300), None, "admm"), ((40, 12), "2:4", "admm")],
)
def test_the_engine_goes_by_shape_and_pattern(shape, pattern, method):
    X, W = layer(7, 300, *shape)
    s = nettrim.solve_layer_budget(
        X, X @ W, weights=W, activation="linear", sparsity=0.5, pattern=pattern
    )
    assert s.method == method


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4))
def test_outputs_of_several_forms_are_solved_each_with_its_own(seed, n_forms):
    """With room for all weights each output's least squares, whatever the order of the forms."""
    rng = np.random.default_rng(seed)
    rows, W = rng.standard_normal((n_forms, 30, 6)), rng.standard_normal((6, 9))
    grams = np.einsum("kij,kil->kjl", rows, rows)
    form_of = rng.integers(0, n_forms, 9).astype(np.int32)
    asked = rng.standard_normal((6, 9))
    fields = core.fit_quadratic(
        grams,
        form_of=form_of,
        correlations=asked,
        prior=W,
        ridge=0.1,
        support=np.ones((6, 9), bool),
        n_threads=1,
    )
    for k, form in enumerate(form_of):
        ridge = 0.1 * np.trace(grams[form]) / 6
        best = np.linalg.solve(grams[form] + ridge * np.eye(6), asked[:, k] + ridge * W[:, k])
        np.testing.assert_allclose(fields["weights"][:, k], best, rtol=1e-8, atol=1e-10)
