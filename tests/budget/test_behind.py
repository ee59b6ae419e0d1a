"""Layers in front of smooth activations."""

import numpy as np
import pytest
import scipy.special

import nettrim
from nettrim.base.dispatch import core
from nettrim.budget.activations import SMOOTH


def layer(seed=0, n_samples=2000, n_features=30, n_outputs=64):
    """Samples with a column of ones, a layer with biases that bend its signals, what stays."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((n_features, n_features)) / np.arange(1, n_features + 1)[:, None]
    X = rng.standard_normal((n_samples, n_features)) @ mixing
    X[:, -1] = 1
    W = rng.standard_normal((n_features, n_outputs)) / 4
    W[-1] = rng.uniform(-2, 1, n_outputs)
    return X, W, np.arange(n_features) == n_features - 1


def solve(X, W, keep, activation, **options):
    return nettrim.solve_layer_budget(
        X, X @ W, weights=W, keep=keep, activation=activation, **options
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_slopes_are_derivatives(name):
    value, slope, _ = SMOOTH[name]
    z = np.linspace(-5, 7, 241) + 0.0123  # beside the kinks
    step = 1e-6
    np.testing.assert_allclose(
        slope(z), (value(z + step) - value(z - step)) / (2 * step), rtol=1e-6, atol=1e-8
    )
    assert value(z.astype(np.float32)).dtype == slope(z.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(SMOOTH[name].value_and_slope(z), (value(z), slope(z)))


def test_values_are_those_of_the_field():
    torch = pytest.importorskip("torch")
    z = torch.linspace(-6, 8, 57, dtype=torch.float64)
    functions = torch.nn.functional
    wanted = {
        "gelu": functions.gelu(z),
        "gelu_tanh": functions.gelu(z, approximate="tanh"),
        "silu": functions.silu(z),
        "hardswish": functions.hardswish(z),
        "relu6": functions.relu6(z),
        "tanh": torch.tanh(z),
        "sigmoid": torch.sigmoid(z),
    }
    assert wanted.keys() == SMOOTH.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(SMOOTH[name].value(z.numpy()), values.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_less_error_behind_than_what_looks_in_front(name):
    X, W, keep = layer()
    if name in ("tanh", "sigmoid"):  # which bend small signals hardly at all
        W[:-1] *= 4
    value = SMOOTH[name].value
    aware = solve(X, W, keep, name, sparsity=0.6)
    flat = solve(X, W, keep, "linear", sparsity=0.6, method="admm")
    wanted = value(X @ W)

    def error(weights):
        return np.linalg.norm(value(X @ weights) - wanted) / np.linalg.norm(wanted)

    assert aware.error == pytest.approx(error(aware.weights), rel=1e-9)
    assert aware.error < error(flat.weights)
    assert np.count_nonzero(aware.weights[:-1]) <= aware.budget == flat.budget


def test_other_samples_gain_as_well():
    X, W, keep = layer(1, 4000, n_outputs=128)
    used, others = X[:2000], X[2000:]
    aware = solve(used, W, keep, "gelu", sparsity=0.6, held_out=(others, others @ W))
    flat = solve(used, W, keep, "linear", sparsity=0.6, method="admm")
    value = SMOOTH["gelu"].value
    misfit = value(others @ flat.weights) - value(others @ W)
    assert aware.held_out_error < np.linalg.norm(misfit) / np.linalg.norm(value(others @ W))


def test_a_pair_of_functions_is_an_activation():
    X, W, keep = layer(2)
    pair = (lambda z: z * scipy.special.expit(z), SMOOTH["silu"].slope)
    by_pair = solve(X, W, keep, pair, sparsity=0.5)
    np.testing.assert_array_equal(by_pair.weights, solve(X, W, keep, "silu", sparsity=0.5).weights)


@pytest.mark.parametrize(("precision", "atol"), [(np.float32, 3e-7), (np.float64, 1e-14)])
def test_each_precision_knows_the_normal_distribution_as_well_as_it_can(precision, atol):
    z = np.linspace(-12, 12, 100_004).astype(precision)
    values, slopes = core.gelu_and_slope(z)
    exact = z.astype(float)
    share, density = scipy.special.ndtr(exact), np.exp(-(exact**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(values / exact, share, rtol=0, atol=atol)
    np.testing.assert_allclose(slopes, share + exact * density, rtol=0, atol=2 * atol)
    np.testing.assert_array_equal(core.gelu(z), values)
    np.testing.assert_array_equal(core.gelu(np.array([0, np.inf], precision)), [0, np.inf])
    assert core.gelu_and_slope(np.zeros(1, precision))[1] == pytest.approx(0.5, abs=atol)
    assert np.isnan(core.gelu_and_slope(np.array([np.nan], precision))).all()


def test_patterns_and_rows_to_keep():
    X, W, keep = layer(3, n_features=33)
    s = solve(X, W, keep, "silu", pattern="2:4")
    groups = (s.weights[:-1] != 0).reshape(8, 4, -1).sum(axis=1)
    assert groups.max() == 2
    assert s.weights[-1].all()


def test_threads_change_nothing():
    X, W, keep = layer(4)
    one, two = (solve(X, W, keep, "gelu", sparsity=0.5, n_threads=n) for n in (1, 2))
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-4, atol=1e-6)


def test_time_is_up():
    X, W, keep = layer(5)
    s = solve(X, W, keep, "gelu", sparsity=0.5, time_limit=1e-9)
    assert s.status == "time_limit"
    assert np.count_nonzero(s.weights[:-1]) <= s.budget


@pytest.mark.parametrize(
    ("activation", "options", "message"),
    [
        ("gelu", {"method": "surgery"}, "method='surgery' knows no activation"),
        ("gelu", {"method": "reweighted"}, "method='reweighted' knows no activation"),
        ("gelu", {"upper": 0.0}, "upper"),
        ("swish", {}, "activation must be one of .*'silu'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(activation, options, message):
    X, W, keep = layer()
    with pytest.raises(ValueError, match=message):
        solve(X, W, keep, activation, sparsity=0.5, **options)


@pytest.mark.parametrize("activation", [(np.tanh,), (np.tanh, 1), (1, 2), np.tanh, [1]])
def test_pairs_hold_two_functions(activation):
    X, W, keep = layer()
    with pytest.raises(TypeError, match="activation must be a name, or a pair of functions"):
        solve(X, W, keep, activation, sparsity=0.5)


@pytest.mark.parametrize(
    "pair",
    [
        (np.log, np.reciprocal),
        (lambda z: z[:1], np.cos),
        (np.sin, lambda z: 1.0),
        (lambda z: z + 0j, np.cos),
        (lambda z: z.astype(str), np.cos),
    ],
    ids=["no number", "another shape", "a constant", "complex", "text"],
)
def test_functions_give_a_number_for_each_signal(pair):
    X, W, keep = layer()
    message = "activation must give (a number for each signal|finite numbers, .* with NaN)"
    with pytest.raises(ValueError, match=message):
        solve(X, W, keep, pair, sparsity=0.5)


def test_functions_may_write_into_their_argument():
    X, W, keep = layer()
    pure, writing = (
        solve(X, W, keep, (value, np.cos), sparsity=0.5)
        for value in (np.sin, lambda z: np.sin(z, out=z))
    )
    np.testing.assert_array_equal(writing.weights, pure.weights)


def test_where_weights_go_one_by_one_there_is_no_smooth_activation():
    X, W, _ = layer()
    with pytest.raises(ValueError, match="activation must be 'relu' or 'linear'"):
        nettrim.trace_budget(X, X @ W, weights=W, activation="gelu")
    with pytest.raises(ValueError, match="activation must be 'linear' for a Gram"):
        nettrim.solve_layer_budget(nettrim.Gram.of(X), weights=W, sparsity=0.5, activation="gelu")


def test_row_weights_of_outputs_say_what_counts():
    X, W, keep = layer(2)
    directions = np.random.default_rng(3).standard_normal(W.shape)
    gate = np.maximum(X @ directions, 0)
    plain = solve(X, W, keep, "linear", sparsity=0.5)
    gated = solve(X, W, keep, "linear", sparsity=0.5, row_weights=gate**2)

    def error(weights):
        return np.linalg.norm(gate * (X @ (weights - W))) / np.linalg.norm(gate * (X @ W))

    assert gated.error == pytest.approx(error(gated.weights), rel=1e-9)
    assert gated.preactivation_error == pytest.approx(gated.error, rel=1e-9)
    assert gated.error < 0.97 * error(plain.weights)
    assert gated.nonzeros <= plain.budget
    few = solve(X, W, keep, "linear", pattern="2:4", row_weights=gate**2)
    groups = np.add.reduceat(few.weights[:-1] != 0, np.arange(0, len(W) - 1, 4))
    assert groups.max() <= 2


def test_a_fit_with_row_weights_of_outputs_is_that_of_least_squares():
    X, W, keep = layer(4, n_outputs=16)
    weights = np.random.default_rng(5).uniform(0.1, 4, W.shape[1]) * (1 + X[:, :1] ** 2)
    ridge = 1e-6
    s = solve(X, W, keep, "linear", row_weights=weights, sparsity=0.4, ridge=ridge)
    for k in range(W.shape[1]):
        root = np.sqrt(weights[:, k : k + 1])
        support = np.flatnonzero(s.weights[:, k])
        best = np.linalg.lstsq((root * X)[:, support], (root * X) @ W[:, k], rcond=None)[0]
        np.testing.assert_allclose(s.weights[support, k], best, atol=2e-3 * np.abs(best).max())


def test_row_weights_of_samples_are_those_of_a_gram():
    X, W, keep = layer(6, n_outputs=8)
    weights = np.random.default_rng(7).uniform(0, 3, len(X))
    s = solve(X, W, keep, "linear", row_weights=weights, sparsity=0.5, certify=True)
    gram = nettrim.Gram.of(X, X @ W, row_weights=weights)
    t = nettrim.solve_layer_budget(gram, weights=W, keep=keep, sparsity=0.5)
    np.testing.assert_array_equal(s.weights != 0, t.weights != 0)
    np.testing.assert_allclose(s.weights, t.weights, atol=1e-5)
    assert s.error == pytest.approx(t.error, rel=1e-6)
    assert s.certificate.status == "optimal"


@pytest.mark.parametrize(
    ("row_weights", "options"),
    [
        (np.ones(3), {}),
        (-np.ones(2000), {}),
        (np.zeros((2000, 64)), {}),
        (np.full(2000, np.nan), {}),
        (np.ones(2000), {"activation": "gelu"}),
        (np.ones(2000), {"activation": "relu"}),
        ("heavy", {}),
    ],
)
def test_row_weights_that_make_no_sense(row_weights, options):
    X, W, keep = layer()
    with pytest.raises((ValueError, TypeError), match="row_weights"):
        solve(
            X, W, keep, **{"activation": "linear", **options}, sparsity=0.5, row_weights=row_weights
        )


@pytest.mark.parametrize("options", [{"method": "surgery"}, {"certify": True}])
def test_what_knows_no_row_weights_of_outputs_says_so(options):
    X, W, keep = layer()
    with pytest.raises(ValueError, match=r"row_weights"):
        solve(X, W, keep, "linear", sparsity=0.5, row_weights=np.ones((2000, 64)), **options)
