"""ONNX models are trimmed like networks of our own, in batches of any size, along any axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import as_view
from support.networks import random_network, trim

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


from nettrim.models.adapters import onnx as adapter
from nettrim.models.adapters.onnx import model as onnx_model
from nettrim.models.adapters.onnx import session as onnx_session
from support.onnx_models import IMAGE, K2, B, W, assert_sound, build, chain, conv, run

# --- the same as a network of our own ---------------------------------------------------------


@pytest.mark.parametrize("scheme", ["parallel", "cascade"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_trimmed_like_the_same_network(rng: np.random.Generator, scheme: str, dtype: type) -> None:
    network = random_network(rng, 10, 16, 12, 4, dtype=dtype)
    X = rng.standard_normal((300, 10)).astype(dtype)
    options = {"epsilon": 0.2, "scheme": scheme, "tol": 1e-8}
    result = trim(chain(network), X, **options)
    expected = trim(network, X, **options)
    assert isinstance(result.model, onnx.ModelProto)
    assert [layer.name for layer in result.layers] == ["fc0", "fc1", "fc2"]
    assert result.sparsity > 0.05
    for layer, dense in zip(
        as_view(result.model).prunable_layers(), expected.model.layers, strict=True
    ):
        assert layer.affine.weights.dtype == dtype
        np.testing.assert_allclose(layer.affine.weights, dense.weights, atol=1e-5)
        np.testing.assert_allclose(layer.affine.bias, dense.bias, atol=1e-5)
    assert result.discrepancy == pytest.approx(expected.discrepancy, rel=1e-4)
    assert_sound(result, X)


def test_a_layer_that_is_left_alone_moves_nothing(rng: np.random.Generator) -> None:
    model = chain(random_network(rng, 6, 8, 8, 3, dtype=np.float32))
    X = rng.standard_normal((100, 6)).astype(np.float32)
    result = trim(model, X, epsilon=0.1, layers=["fc2"])
    assert [layer.bound for layer in result.layers[:2]] == [0.0, 0.0]
    assert [layer.discrepancy for layer in result.layers[:2]] == [0.0, 0.0]
    assert_sound(result, X)


# --- the walk ---------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 1 << 29])
def test_a_walk_goes_on_with_the_weights_of_the_moment(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr(onnx_model, "BUDGET", budget)
    model = chain(random_network(rng, 5, 7, 6, 3, dtype=np.float32))
    X = rng.standard_normal((40, 5)).astype(np.float32)
    view, weights = adapter.view(model), {}
    walk = view.signals(X, weights)
    for position, layer in enumerate(view.prunable_layers()):
        here = list(adapter.view(view.with_weights(weights)).signals(X, {}))[position]
        signal = next(walk)
        np.testing.assert_allclose(signal.values, here.values, atol=1e-6)
        weights[position] = layer.affine.replaced(0.5 * layer.affine.stacked)
    expected = run(view.with_weights(weights), X)
    np.testing.assert_allclose(next(walk).values, expected, atol=1e-6)
    assert next(walk, None) is None


@pytest.mark.parametrize(("budget", "runs"), [(1, 4), (8 * 40 * (5 + 7), 2), (1 << 29, 1)])
def test_signals_are_computed_ahead_as_far_as_there_is_room(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, budget: int, runs: int
) -> None:
    network = random_network(rng, 5, 7, 6, 3, last="relu", dtype=np.float32)
    model = chain(network)
    model.graph.node.add(op_type="Tanh", input=["a2"], output=["y"])
    model.graph.output[0].name = "y"
    asked = []

    def counted(self: Any, X: np.ndarray, names: list[str], *rest: Any) -> Any:
        asked.append(names)
        return run_all(self, X, names, *rest)

    run_all = onnx_session.Session.run
    monkeypatch.setattr(onnx_session.Session, "run", counted)
    monkeypatch.setattr(onnx_model, "BUDGET", budget)
    assert len(list(adapter.view(model).signals(np.ones((40, 5)), {}))) == 4
    assert len(asked) == runs
    assert [name for names in asked for name in names] == ["x", "a0", "a1", "y"]


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")  # what is computed counts
@pytest.mark.parametrize("n_samples", [1, 6, 11])
@pytest.mark.parametrize("batch", [1, 4])
def test_fixed_batches(rng: np.random.Generator, batch: int, n_samples: int) -> None:
    model = chain(random_network(rng, 6, 8, 3, dtype=np.float32))
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    X = rng.standard_normal((n_samples, 6)).astype(np.float32)
    for one, other in zip(
        as_view(fixed).signals(X, {}), as_view(model).signals(X, {}), strict=True
    ):
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)
    assert trim(fixed, X, epsilon=0.3).model.graph.input == fixed.graph.input


def test_small_batches_are_the_same(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, arrays = conv(K2.astype("f4"), pads=[1, 1, 1, 1])
    arrays = {name: value.astype("f4") for name, value in arrays.items()}
    model = build(nodes, arrays, ["n", *IMAGE])
    X = rng.standard_normal((10, *IMAGE)).astype("f4")
    whole = [signal.values for signal in adapter.view(model).signals(X, {})]
    monkeypatch.setattr(onnx_session, "BATCH", 1500)
    pieces = [signal.values for signal in adapter.view(model).signals(X, {})]
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_samples_may_lie_along_any_axis(rng: np.random.Generator) -> None:
    nodes = [
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        ("MatMul", "t W", "h"),
        ("Tanh", "h", "y"),
    ]
    model = build(nodes, {"W": W.astype("f4")}, ["n", 7, 6])
    X = rng.standard_normal((5, 7, 6)).astype("f4")
    arrived, left = adapter.view(model).signals(X, {})
    np.testing.assert_array_equal(arrived.values, X)
    np.testing.assert_allclose(left.values, run(model, X).swapaxes(0, 1), atol=1e-6)


def test_samples_must_have_an_axis(rng: np.random.Generator) -> None:
    nodes = [("ReduceSum", "x axis", "s", {"keepdims": 0}), ("MatMul", "s W", "y")]
    model = build(nodes, {"W": W.astype("f4"), "axis": np.array([0])}, ["n", 7, 6])
    with pytest.raises(ValueError, match="model: tensor 'y' has no axis of samples"):
        trim(model, rng.standard_normal((5, 7, 6)), epsilon=0.1)


def test_a_product_of_constants_is_no_layer(rng: np.random.Generator) -> None:
    nodes = [("MatMul", "C W", "c"), ("MatMul", "x W2", "h", {"name": "fc"}), ("Add", "h c", "y")]
    arrays = {"C": np.ones((1, 6), "f4"), "W": W.astype("f4"), "W2": W.astype("f4")}
    model = build(nodes, arrays, ["n", 6])
    X = rng.standard_normal((50, 6)).astype("f4")
    result = trim(model, X, epsilon=0.2)
    assert [layer.name for layer in result.layers] == ["fc"]
    assert_sound(result, X)


def test_shapes_must_not_depend_on_the_data() -> None:
    nodes = [
        ("ReduceMax", "x", "m", {"axes": [1], "keepdims": 0}),
        ("Greater", "m zero", "keep"),
        ("Compress", "x keep", "c", {"axis": 0}),
        ("MatMul", "c W", "y"),
    ]
    model = build(nodes, {"W": W.astype("f4"), "zero": np.float32(0.0)}, ["n", 6])
    X = np.ones((5, 6))
    X[3] = -1.0
    with pytest.raises(ValueError, match=r"tensor 'y' has shape \(4, 5\) for 5 samples"):
        trim(model, X, epsilon=0.1)


def test_fixed_batches_that_mix_their_samples_must_be_full(rng: np.random.Generator) -> None:
    """Sequences are put end to end step by step, so a sample's rows are not together."""
    nodes = [
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        ("Reshape", "t rows", "r"),
        ("MatMul", "r W", "y"),
    ]
    model = build(nodes, {"W": W.astype("f4"), "rows": np.array([-1, 6])}, [4, 7, 6])
    X = rng.standard_normal((12, 7, 6)).astype("f4")
    assert len(next(adapter.view(model).signals(X, {})).values) == 12 * 7
    with pytest.raises(ValueError, match="X must have a multiple of 4 samples, got 3 too many"):
        trim(model, X[:11], epsilon=0.1)


def test_a_batch_in_the_middle_of_the_model_is_reported_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    nodes = [("Reshape", "x to", "r"), ("MatMul", "r W", "y")]
    model = build(nodes, {"W": W.astype("f4"), "to": np.array([1, 6])}, ["n", 2, 3])
    with pytest.raises(ValueError, match="model: onnxruntime cannot run it on 2 samples at a time"):
        list(adapter.view(model).signals(np.ones((5, 2, 3)), {}))
    assert capfd.readouterr() == ("", "")


def test_samples_may_become_rows(rng: np.random.Generator) -> None:
    """Sequences that are put end to end, and an output that is only reshaped."""
    nodes = [
        ("Reshape", "x rows", "r"),
        ("Gemm", "r W b", "g"),
        ("Reshape", "g back", "y"),
    ]
    arrays = {"W": W.astype("f4"), "b": B.astype("f4")}
    shapes = {"rows": np.array([-1, 6]), "back": np.array([-1, 7, 5])}
    model = build(nodes, {**arrays, **shapes}, ["n", 7, 6])
    X = rng.standard_normal((20, 7, 6)).astype("f4")
    arrived, left = adapter.view(model).signals(X, {})
    np.testing.assert_array_equal(arrived.values, X.reshape(-1, 6))
    np.testing.assert_allclose(left.values.reshape(20, 7, 5), run(model, X), atol=1e-5)
    assert left.lipschitz == {0: 1.0}
    assert_sound(trim(model, X, epsilon=0.2), X)
