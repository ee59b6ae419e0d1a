"""Dense layers that leave zeros out answer as if they did not."""

from __future__ import annotations

import copy
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import nettrim
from nettrim import Dense, Network
from nettrim.models.network import dense
from support.networks import Array, random_network


def layer_with(n_nonzeros: int, rng: np.random.Generator, dtype: type = np.float64) -> Dense:
    weights = np.zeros(20 * 10)
    weights[rng.permutation(200)[:n_nonzeros]] = rng.standard_normal(n_nonzeros)
    return Dense(weights.reshape(20, 10).astype(dtype), rng.standard_normal(10).astype(dtype))


def formula(layer: Dense, X: Array) -> Array:
    result: Array = X @ layer.weights.astype(float) + (0.0 if layer.bias is None else layer.bias)
    return np.maximum(result, 0.0) if layer.activation == "relu" else result


@pytest.mark.parametrize(("n_nonzeros", "leaves_out"), [(0, True), (20, True), (21, False)])
def test_a_tenth_of_nonzeros_decides(
    rng: np.random.Generator,
    n_nonzeros: int,
    leaves_out: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    products = []
    product = dense._multiply_sparse
    monkeypatch.setattr(
        dense, "_multiply_sparse", lambda *args: products.append(1) or product(*args)
    )
    layer = layer_with(n_nonzeros, rng)
    X = rng.standard_normal((7, 20))
    np.testing.assert_allclose(layer.forward(X), formula(layer, X), rtol=1e-12, atol=1e-12)
    assert bool(products) == leaves_out


@given(
    n_samples=st.sampled_from([1, 2, dense.BLOCK - 1, dense.BLOCK, dense.BLOCK + 1, 300]),
    n_nonzeros=st.integers(0, 20),
    dtype=st.sampled_from([np.float64, np.float32]),
    activation=st.sampled_from(["relu", "linear"]),
    has_bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_answers_agree(
    n_samples: int,
    n_nonzeros: int,
    dtype: type,
    activation: str,
    has_bias: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    made = layer_with(n_nonzeros, rng, dtype)
    layer = Dense(made.weights, made.bias if has_bias else None, activation)
    X = rng.standard_normal((n_samples, 20))
    found = layer.forward(X)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, formula(layer, X), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(layer.forward(X), found)


def test_sequences_are_rows(rng: np.random.Generator) -> None:
    layer = layer_with(15, rng)
    X = rng.standard_normal((3, 50, 20))
    np.testing.assert_allclose(layer.forward(X), formula(layer, X), rtol=1e-12, atol=1e-12)


def test_single_precision_data_are_widened(rng: np.random.Generator) -> None:
    for n_nonzeros in (15, 150):
        layer = layer_with(n_nonzeros, rng, np.float32)
        X = rng.standard_normal((4, 20)).astype(np.float32)
        np.testing.assert_array_equal(layer.forward(X), layer.forward(X.astype(float)))


def test_networks_that_have_predicted_are_copied_and_trimmed_like_others(
    rng: np.random.Generator,
) -> None:
    """What a layer remembers is no part of it."""
    network, X = random_network(rng, 20, 40, 3), rng.standard_normal((100, 20))
    result = nettrim.trim(network, X, epsilon=0.5, progress=False)
    expected = result.model.predict(X)
    for copied in (copy.deepcopy(result.model), pickle.loads(pickle.dumps(result.model))):
        np.testing.assert_array_equal(copied.predict(X), expected)
    sparse = Network([layer_with(15, rng)])
    sparse.predict(X)
    again = nettrim.trim(sparse, X, epsilon=0.1, progress=False)
    fresh = nettrim.trim(
        Network([Dense(*sparse.layers[0].affine[:2])]), X, epsilon=0.1, progress=False
    )  # type: ignore[attr-defined]
    np.testing.assert_array_equal(again.model.predict(X), fresh.model.predict(X))
    assert again.discrepancy <= again.bound
