"""Networks: forward passes, files, and the three methods of a model view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from nettrim import Dense, Network
from nettrim.base.storage import write_npz
from nettrim.models.layer_view import Affine
from nettrim.models.model_view import Prunable
from support.networks import Scale, random_network
from support.random_chains import CHAINS, Shape, cases

# --- forward ----------------------------------------------------------------------------------


def test_predict_is_the_formula(rng: np.random.Generator) -> None:
    W1, b1 = rng.standard_normal((4, 5)), rng.standard_normal(5)
    W2 = rng.standard_normal((5, 3))
    X = rng.standard_normal((7, 4))
    net = Network([Dense(W1, b1), Dense(W2, activation="linear")])
    np.testing.assert_allclose(net.predict(X), np.maximum(X @ W1 + b1, 0) @ W2, rtol=1e-13)


def test_arithmetic_is_float64_and_weights_keep_their_precision(rng: np.random.Generator) -> None:
    net = random_network(rng, 6, 5, 2, dtype=np.float32)
    X = rng.standard_normal((9, 6)).astype(np.float32)
    wide = Network(
        [Dense(d.weights.astype(float), d.bias.astype(float), d.activation) for d in net.layers]  # type: ignore[attr-defined]
    )
    assert net.predict(X).dtype == np.float64
    np.testing.assert_array_equal(net.predict(X), wide.predict(X))
    assert {layer.affine.weights.dtype for layer in net.prunable_layers()} == {np.dtype("f4")}


def test_integers_become_float64() -> None:
    layer = Dense([[1, -1]], [0, 2])
    assert layer.weights.dtype == np.float64
    np.testing.assert_array_equal(layer.forward(np.array([[3.0]])), [[3.0, 0.0]])


def test_weights_are_copied_and_read_only(rng: np.random.Generator) -> None:
    W = rng.standard_normal((3, 2))
    layer = Dense(W)
    W[0, 0] = 99.0
    assert layer.weights[0, 0] != 99.0
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0] = 0.0


def test_dense_is_lipschitz_with_its_spectral_norm(rng: np.random.Generator) -> None:
    layer = Dense(rng.standard_normal((6, 4)), rng.standard_normal(4))
    A, B = rng.standard_normal((2, 50, 6))
    moved = np.linalg.norm(layer.forward(A) - layer.forward(B))
    assert moved <= layer.lipschitz(A.shape) * np.linalg.norm(A - B)
    assert layer.lipschitz((1, 1)) == pytest.approx(np.linalg.svd(layer.weights)[1][0])


# --- bad input --------------------------------------------------------------------------------

W = np.ones((3, 2))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.ones(3),), ValueError, ["weights", "2 dimensions", "(3,)"]),
        ((np.ones((0, 2)),), ValueError, ["weights", "empty"]),
        (([[np.nan, 1.0]],), ValueError, ["weights", "NaN"]),
        (([[1.0, 2.0], [3.0]],), ValueError, ["weights"]),
        (([["a", "b"]],), TypeError, ["weights", "real numbers"]),
        ((W * 1j,), TypeError, ["weights", "complex"]),
        ((W, np.ones(3)), ValueError, ["bias", "2", "3"]),
        ((W, [np.inf, 0.0]), ValueError, ["bias", "infinity"]),
        ((W, None, "tanh"), ValueError, ["activation", "tanh", "relu"]),
    ],
)
def test_dense_refuses(
    arguments: tuple[Any, ...], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        Dense(*arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_network_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="layers is empty"):
        Network([])
    with pytest.raises(TypeError, match=r"layers\[1\] must be a Layer, got ndarray"):
        Network([Dense(W), W])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"layers\[0\] has 2 outputs, layers\[1\] takes 3"):
        Network([Dense(W), Dense(W)])


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (np.ones((5, 4)), ValueError, ["X", "4 features", "takes 3"]),
        (np.ones(3), ValueError, ["X", "2 dimensions"]),
        (np.ones((0, 3)), ValueError, ["X", "empty"]),
        (np.full((2, 3), np.nan), ValueError, ["X", "NaN"]),
        (None, TypeError, ["X", "real numbers"]),
    ],
)
def test_predict_refuses(X: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        Network([Dense(W)]).predict(X)
    assert all(word in str(caught.value) for word in words), str(caught.value)


# --- files ------------------------------------------------------------------------------------


@given(
    weights=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    with_bias=st.booleans(),
    activation=st.sampled_from(["relu", "linear"]),
)
def test_save_and_load_give_the_same_network(
    tmp_path_factory: pytest.TempPathFactory, weights: Any, with_bias: bool, activation: str
) -> None:
    path = tmp_path_factory.mktemp("net") / "net.npz"
    bias = weights[0] if with_bias else None
    Network([Dense(weights, bias), Scale(0.5), Dense(weights.T, None, activation)]).save(path)
    first, scale, last = Network.load(path).layers
    assert isinstance(first, Dense)
    assert isinstance(last, Dense)
    assert isinstance(scale, Scale)
    assert first.weights.dtype == weights.dtype
    np.testing.assert_array_equal(first.weights, weights)
    np.testing.assert_array_equal(last.weights, weights.T)
    assert (first.bias is None) is not with_bias
    assert (first.activation, last.activation, scale.factor) == ("relu", activation, 0.5)


def test_a_file_holds_the_arrays_of_a_network(tmp_path: Path, rng: np.random.Generator) -> None:
    net = random_network(rng, 4, 3, 2)
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as saved:
        assert saved.keys() == net.to_arrays().keys()
        for name, array in net.to_arrays().items():
            np.testing.assert_array_equal(saved[name], array, strict=True)


def test_plain_file_of_dense_layers(tmp_path: Path, rng: np.random.Generator) -> None:
    W1, b1, W2 = rng.standard_normal((3, 4)), rng.standard_normal(4), rng.standard_normal((4, 2))
    np.savez(tmp_path / "plain.npz", W1=W1, b1=b1, W2=W2)
    net = Network.load(tmp_path / "plain.npz")
    X = rng.standard_normal((5, 3))
    np.testing.assert_allclose(net.predict(X), np.maximum(X @ W1 + b1, 0) @ W2, rtol=1e-13)


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    with pytest.raises(FileNotFoundError):
        Network.load(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match=r"net\.npz' is not an \.npz file"):
        Network.load(path)
    np.save(tmp_path / "single.npy", np.ones(2))
    with pytest.raises(ValueError, match="single array"):
        Network.load(tmp_path / "single.npy")
    for arrays, words in [
        ({"A": np.ones(2)}, r"neither 'format' nor 'W1' but \['A'\]"),
        ({"W2": np.ones((2, 2))}, r"neither 'format' nor 'W1' but \['W2'\]"),
        ({"W1": np.ones((2, 2)), "W3": np.ones((2, 2))}, "'W2' is missing"),
        ({"W1": np.ones((2, 2, 1, 1))}, "weights must have 2 dimensions"),
        ({"format": "other"}, "format is 'other'"),
        ({"format": "nettrim-network-1", "kinds": ["pool"]}, "unknown layer kind 'pool'"),
        ({"format": "nettrim-network-1", "kinds": ["dense"]}, "'weights' is missing"),
    ]:
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=words):
            Network.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    class Broken:
        def __array__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("disk on fire")

    path = tmp_path / "net.npz"
    write_npz(path, {"a": np.ones(1)})
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="disk on fire"):
        write_npz(path, {"a": np.ones(1000), "b": Broken()})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# --- the model view ---------------------------------------------------------------------------


def test_network_is_a_model_view(rng: np.random.Generator) -> None:
    assert isinstance(random_network(rng, 3, 2), Prunable)


def test_signals_follow_the_weights_of_the_moment(rng: np.random.Generator) -> None:
    net = Network([Dense(np.eye(3)), Scale(-2.0), Dense(np.eye(3), activation="linear")])
    X = np.abs(rng.standard_normal((4, 3)))
    weights: dict[int, Affine] = {}
    walk = net.signals(X, weights)
    first = next(walk)
    weights[0] = Affine(3.0 * np.eye(3))  # after the walk stopped before the layer
    second, end = walk
    np.testing.assert_array_equal(first.values, X)
    np.testing.assert_array_equal(second.values, -6.0 * X)
    np.testing.assert_array_equal(end.values, second.values)
    assert (first.lipschitz, second.lipschitz, end.lipschitz) == ({}, {0: 2.0}, {1: 1.0})


def test_with_weights_replaces_only_what_it_is_given(rng: np.random.Generator) -> None:
    net = Network([Scale(1.0), Dense(np.ones((2, 2))), Dense(np.ones((2, 1)), [5.0])])
    new = net.with_weights({1: Affine(np.zeros((2, 1)), np.array([7.0]))})
    np.testing.assert_array_equal(new.predict(np.ones((1, 2))), [[7.0]])
    np.testing.assert_array_equal(net.predict(np.ones((1, 2))), [[9.0]])
    assert new.layers[:2] == (net.layers[0], net.layers[1])
    assert [layer.name for layer in net.prunable_layers()] == ["dense2", "dense3"]


@pytest.mark.parametrize("shape", sorted(CHAINS), ids=str)
@given(data=st.data())
def test_outputs_for_one_set_of_weights_after_the_other(shape: Shape, data: st.DataObject) -> None:
    net, X = data.draw(cases(shape)).drawn()
    outputs = net.outputs_under(X)
    doubled = [view.affine.replaced(2 * view.affine.stacked) for view in net.prunable_layers()]
    for changed in ({}, {0}, {len(doubled) - 1}, {*range(len(doubled))}, {len(doubled) // 2}):
        weights = {k: doubled[k] for k in changed}
        (values,) = outputs(weights)
        np.testing.assert_array_equal(values, net.with_weights(weights).predict(X))


def test_affine_stacks_and_unstacks(rng: np.random.Generator) -> None:
    affine = Affine(rng.standard_normal((3, 2)).astype("f4"), rng.standard_normal(2).astype("f4"))
    again = affine.replaced(affine.stacked)
    assert again.bias is not None
    np.testing.assert_array_equal(again.weights, affine.weights)
    np.testing.assert_array_equal(again.bias, affine.bias)
    X = rng.standard_normal((5, 3))
    expected = X @ affine.weights.astype(float) + again.bias.astype(float)
    np.testing.assert_allclose(affine.inputs(X) @ affine.stacked, expected, rtol=1e-13)


def test_printing() -> None:
    net = Network(
        [Dense(np.eye(2), np.ones(2)), Scale(1.0), Dense(np.ones((2, 1)), None, "linear")]
    )
    assert repr(net).startswith("Network([Dense(2 -> 2, relu), <")
    lines = str(net).splitlines()
    assert [line.split()[0] for line in lines] == ["layer", "dense1", "scale2", "dense3", "network"]
    assert lines[1].split() == ["dense1", "dense", "2x2", "relu", "2", "50.0%", "float64"]
    assert lines[-1].split() == ["network", "4", "66.7%"]


@pytest.mark.parametrize("stray", [{"B1": np.ones(2)}, {"b3": np.ones(2)}, {"w2": np.ones((2, 2))}])
def test_arrays_that_belong_to_no_layer_are_refused(tmp_path: Path, stray: dict[str, Any]) -> None:
    path = tmp_path / "net.npz"
    layers = {"W1": np.ones((3, 2)), "W2": np.ones((2, 2)), "X": np.ones((5, 3))}
    np.savez(path, **layers)
    assert len(Network.load(path).layers) == 2
    np.savez(path, **layers, **stray)
    with pytest.raises(ValueError, match=f"{next(iter(stray))}.*belong to none"):
        Network.load(path)
