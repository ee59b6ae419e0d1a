"""Linear layers posed by sums over their samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nettrim


def samples(seed, n_samples=200, n_features=12, n_outputs=5, rank=None):
    """X and Y; of a lower rank if it is given, and Y not quite in the range of X."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    if rank is not None:
        X = X[:, :rank] @ rng.standard_normal((rank, n_features))
    Y = X @ rng.standard_normal((n_features, n_outputs))
    return X, Y + 0.1 * rng.standard_normal(Y.shape)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5), st.booleans())
def test_streamed_merged_and_whole_sums_agree(seed, parts, weighted):
    X, Y = samples(seed, 150)
    row_weights = np.random.default_rng(seed).uniform(0, 2, len(X)) if weighted else None
    whole = nettrim.Gram.of(X, Y, row_weights=row_weights)
    streamed, merged = nettrim.Gram(12, 5), nettrim.Gram(12, 5)
    for part in np.array_split(np.arange(len(X)), parts):
        own = None if row_weights is None else row_weights[part]
        streamed.update(X[part], Y[part], row_weights=own)
        merged = merged + nettrim.Gram.of(X[part], Y[part], row_weights=own)
    D = np.ones(len(X)) if row_weights is None else row_weights
    for gram in (whole, streamed, merged):
        assert gram.n_samples == 150
        np.testing.assert_allclose(gram.XX, X.T * D @ X, rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(gram.XY, X.T * D @ Y, rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(gram.YY, D @ Y**2, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.sampled_from([None, 1, 4, 11]), st.sampled_from([1.0, 1e-40, 1e40]))
def test_rows_have_the_same_sums(seed, rank, scale):
    X, Y = samples(seed, rank=rank)
    X[:, 3] = 0  # dead
    X *= scale
    gram = nettrim.Gram.of(X, Y)
    rows = gram.rows()
    assert len(rows.X) <= (rank or 11) + 1
    np.testing.assert_allclose(rows.X.T @ rows.X, gram.XX, rtol=1e-10, atol=1e-10 * scale**2)
    np.testing.assert_allclose(rows.X.T @ rows.Y, gram.XY, rtol=1e-6, atol=1e-8 * scale)
    np.testing.assert_allclose((rows.Y**2).sum(axis=0), gram.YY, rtol=1e-10)


@pytest.mark.parametrize("n_samples", [8, 12, 13, 300])
@pytest.mark.parametrize("form", ["epsilon", "penalty"])
def test_sums_and_samples_have_one_answer(n_samples, form):
    X, Y = samples(1, n_samples)
    level = {form: 0.3 * float(np.linalg.norm(Y))}
    by_sums = nettrim.solve_layer(nettrim.Gram.of(X, Y), **level)
    by_samples = nettrim.solve_layer(X, Y, activation="linear", **level)
    assert by_sums.status == by_samples.status == "optimal"
    assert by_sums.objective == pytest.approx(by_samples.objective, rel=3e-6)
    assert by_sums.residual == pytest.approx(by_samples.residual, rel=1e-5)


def test_multipliers_of_sums_prove_the_bound():
    """By plain arithmetic: a multiple of the residual, which the sums know all about."""
    X, Y = samples(2)
    gram = nettrim.Gram.of(X, Y)
    s = nettrim.solve_layer(gram, epsilon=0.2 * float(np.linalg.norm(Y)))
    assert s.dual.shape == s.weights.shape
    assert np.abs(s.dual).max() <= 1 + 1e-9
    residual = gram.XY - gram.XX @ s.weights
    scale = float((s.dual * residual).sum() / (residual**2).sum())
    size = np.sqrt(
        gram.YY.sum() - 2 * (s.weights * gram.XY).sum() + (s.weights * (gram.XX @ s.weights)).sum()
    )
    with_Y = gram.YY.sum() - (s.weights * gram.XY).sum()
    assert abs(scale) * (with_Y - s.epsilon * size) == pytest.approx(s.dual_bound, rel=1e-5)


def test_a_path_of_sums():
    X, Y = samples(3)
    epsilons = np.linalg.norm(Y) * np.array([0.1, 0.2, 0.4])
    by_sums = nettrim.trace(nettrim.Gram.of(X, Y), epsilons=epsilons)
    by_samples = nettrim.trace(X, Y, epsilons=epsilons, activation="linear")
    np.testing.assert_allclose(by_sums.objectives, by_samples.objectives, rtol=3e-6)
    assert by_sums.converged


@pytest.mark.parametrize("method", ["surgery", "admm"])
@pytest.mark.parametrize("pattern", [None, "2:4"])
def test_budgets_of_sums_and_samples_have_one_answer(method, pattern):
    X, _ = samples(4, 300, 16)
    W = np.random.default_rng(4).standard_normal((16, 6))
    options = {"weights": W, "sparsity": 0.6, "method": method, "pattern": pattern}
    by_samples = nettrim.solve_layer_budget(X, X @ W, activation="linear", **options)
    by_sums = nettrim.solve_layer_budget(nettrim.Gram.of(X, X @ W), **options)
    without_outputs = nettrim.solve_layer_budget(nettrim.Gram.of(X), **options)
    for s in (by_sums, without_outputs):
        np.testing.assert_allclose(s.weights, by_samples.weights, rtol=1e-5, atol=1e-6)
        assert s.error == pytest.approx(by_samples.error, rel=1e-6)


def test_traces_of_sums():
    X, _ = samples(5)
    W = np.random.default_rng(5).standard_normal((12, 4))
    trace = nettrim.trace_budget(nettrim.Gram.of(X), weights=W)
    whole = nettrim.trace_budget(X, X @ W, weights=W, activation="linear")
    np.testing.assert_allclose(trace.losses, whole.losses, rtol=1e-6, atol=1e-9)


def test_samples_of_any_float_type_are_added_in_float64():
    X, Y = samples(6, 9000)
    low = nettrim.Gram.of(X.astype(np.float32), Y.astype(np.float32))
    np.testing.assert_allclose(low.XX, nettrim.Gram.of(X, Y).XX, rtol=1e-5, atol=1e-2)
    assert low.XX.dtype == np.float64


def test_a_failed_update_adds_nothing():
    gram = nettrim.Gram(2)
    X = np.ones((9000, 2))
    X[-1] = np.nan
    with pytest.raises(ValueError, match="X holds NaN"):
        gram.update(X)
    assert gram.n_samples == 0
    assert not gram.XX.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g, X, Y: g.update(X[:, :3], Y), r"X must have shape \(n_samples, 12\)"),
        (lambda g, X, Y: g.update(X), "Y must be given"),
        (lambda g, X, Y: nettrim.Gram(12).update(X, Y), "Y must be left out"),
        (lambda g, X, Y: g.update(X, Y[:3]), "same number of rows"),
        (lambda g, X, Y: g.update(X, Y, row_weights=-np.ones(len(X))), "row_weights"),
        (lambda g, X, Y: g + nettrim.Gram(3), "different shapes"),
        (lambda g, X, Y: nettrim.solve_layer(g, epsilon=1.0), "X has no samples"),
        (lambda g, X, Y: nettrim.solve_layer(g, Y, epsilon=1.0), "Y must be left out"),
        (lambda g, X, Y: nettrim.solve_layer(X, epsilon=1.0), "Y is needed"),
        (lambda g, X, Y: nettrim.solve_layer(nettrim.Gram.of(X), epsilon=1.0), "Y is needed"),
        (
            lambda g, X, Y: nettrim.trace_budget(g, weights=np.ones((12, 5)), activation="relu"),
            "activation",
        ),
        (
            lambda g, X, Y: nettrim.solve_layer(nettrim.Gram.of(X, Y), epsilon=1.0, upper=0.0),
            "upper",
        ),
        (lambda g, X, Y: nettrim.Gram(0), "n_features"),
        (lambda g, X, Y: nettrim.Gram.of(X).with_weights(np.ones((3, 2))), "weights"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(call, message):
    X, Y = samples(7)
    with pytest.raises(ValueError, match=message):
        call(nettrim.Gram(12, 5), X, Y)


def test_sums_that_no_samples_have_are_refused():
    X, Y = samples(8)
    gram = nettrim.Gram.of(X, Y)
    gram.YY = gram.YY / 2
    with pytest.raises(ValueError, match="not those of any samples"):
        nettrim.solve_layer(gram, epsilon=1.0)
