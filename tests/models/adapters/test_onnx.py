"""ONNX models: layers as onnxruntime computes them, written back, bounded; files whole or refused."""

from __future__ import annotations

import io
import math
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Network
from nettrim.models.model_view import as_view
from support.networks import random_network, trim

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from nettrim.models.adapters import onnx as adapter
from nettrim.models.adapters.onnx import files as onnx_files
from nettrim.models.adapters.onnx import model as onnx_model
from nettrim.models.adapters.onnx import session as onnx_session
from support.onnx_models import Arrays, Node, build, run


def chain(network: Network, **options: Any) -> onnx.ModelProto:
    """A network of dense layers as Gemm and Relu."""
    nodes, arrays, signal = [], {}, "x"
    for k, layer in enumerate(network.layers):
        arrays |= {f"W{k}": layer.weights, f"b{k}": layer.bias}
        nodes.append(("Gemm", f"{signal} W{k} b{k}", f"z{k}", {"name": f"fc{k}"}))
        signal = f"z{k}"
        if layer.activation == "relu":
            nodes.append(("Relu", signal, f"a{k}"))
            signal = f"a{k}"
    dtype = arrays["W0"].dtype.type
    shape = ["n", network.layers[0].n_features]
    return build(nodes, arrays, shape, [signal], dtype, **options)


def assert_sound(result: Any, X: np.ndarray, tolerance: float = 1e-5) -> None:
    """What is reported is true of the returned model, and no bound is broken."""
    onnx.checker.check_model(result.model, full_check=True)
    run(result.model, X)
    for layer in result.layers:
        assert layer.discrepancy <= layer.bound
    assert result.discrepancy <= result.bound
    reread = as_view(result.model).prunable_layers()
    for layer, after in zip(result.layers, reread, strict=True):
        assert np.count_nonzero(after.affine.weights) == layer.nonzeros_after
    before, after = (
        list(as_view(model).signals(X, {}))[-1].values for model in (result.original, result.model)
    )
    distance = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(distance, rel=tolerance)


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


# --- every kind of layer ----------------------------------------------------------------------

G = np.random.default_rng(7)
W, B = G.standard_normal((6, 5)), G.standard_normal(5)
K1, K2 = G.standard_normal((4, 3, 4)), G.standard_normal((4, 3, 3, 2))
GROUPED = G.standard_normal((6, 2, 3, 3))
BN = {
    "scale": np.array([1.5, -0.7, 0.3, 2.0, 1.0]),
    "shift": G.standard_normal(5),
    "mean": G.standard_normal(5),
    "var": np.array([0.5, 1.0, 2.0, 0.1, 3.0]),
}
BN4 = {name: value[:4] for name, value in BN.items()}
NORM = ("BatchNormalization", "z scale shift mean var", "n", {"epsilon": 1e-3})
ROWS, IMAGE = (6,), (3, 9, 8)


def conv(kernel: np.ndarray, **attributes: Any) -> tuple[list[Node], Arrays]:
    bias = np.linspace(-1, 1, len(kernel))
    return [("Conv", "x W b", "y", attributes)], {"W": kernel, "b": bias}


def same(padding: str, **attributes: Any) -> tuple[list[Node], Arrays]:
    return conv(K2, auto_pad=padding, **attributes)


LAYERS: dict[str, tuple[tuple[list[Node], Arrays], tuple[int, ...]]] = {
    "gemm": (([("Gemm", "x W b", "y")], {"W": W, "b": B}), ROWS),
    "gemm, transB": (([("Gemm", "x W b", "y", {"transB": 1})], {"W": W.T, "b": B}), ROWS),
    "gemm, factors": (
        ([("Gemm", "x W b", "y", {"alpha": 0.3, "beta": -2.0})], {"W": W, "b": B}),
        ROWS,
    ),
    "gemm, no bias": (([("Gemm", "x W", "y")], {"W": W}), ROWS),
    "gemm, beta 0": (([("Gemm", "x W b", "y", {"beta": 0.0})], {"W": W, "b": B}), ROWS),
    "gemm, row": (([("Gemm", "x W b", "y")], {"W": W, "b": B[None]}), ROWS),
    "gemm, one bias": (([("Gemm", "x W b", "y")], {"W": W, "b": B[:1]}), ROWS),
    "gemm, scalar": (([("Gemm", "x W b", "y")], {"W": W, "b": B[0]}), ROWS),
    "gemm, relu": (([("Gemm", "x W b", "z"), ("Relu", "z", "y")], {"W": W, "b": B}), ROWS),
    "gemm, norm": (
        (
            [("Gemm", "x W b", "z", {"alpha": 0.5}), NORM, ("Relu", "n", "y")],
            {"W": W, "b": B, **BN},
        ),
        ROWS,
    ),
    "matmul": (([("MatMul", "x W", "y")], {"W": W}), ROWS),
    "matmul, add": (
        ([("MatMul", "x W", "z"), ("Add", "z b", "y")], {"W": W, "b": B}),
        ROWS,
    ),
    "matmul, added to": (
        ([("MatMul", "x W", "z"), ("Add", "b z", "r"), ("Relu", "r", "y")], {"W": W, "b": B}),
        ROWS,
    ),
    "matmul, sequences": (
        ([("MatMul", "x W", "z"), ("Add", "z b", "y")], {"W": W, "b": B}),
        (7, 6),
    ),
    "matmul, relu": (([("MatMul", "x W", "z"), ("Relu", "z", "y")], {"W": W}), ROWS),
    "constant node": (
        (
            [
                ("Constant", "", "V", {"value": numpy_helper.from_array(W.T, "inner")}),
                ("Identity", "V", "I"),
                ("Transpose", "I", "W"),
                ("Gemm", "x W b", "y"),
            ],
            {"b": B},
        ),
        ROWS,
    ),
    "conv, one axis": (conv(K1, strides=[2], pads=[2, 1], dilations=[2]), (3, 15)),
    "conv": (conv(K2, strides=[2, 1], pads=[1, 0, 2, 1]), IMAGE),
    "conv, valid": (same("VALID", dilations=[2, 1]), IMAGE),
    "conv, same upper": (same("SAME_UPPER", strides=[2, 3]), IMAGE),
    "conv, same lower": (same("SAME_LOWER", strides=[2, 3]), IMAGE),
    "conv, one axis, same lower": (conv(K1, auto_pad="SAME_LOWER"), (3, 15)),
    "conv, groups": (conv(GROUPED, group=2, pads=[1, 1, 1, 1]), (4, 6, 5)),
    "conv, depthwise": (conv(GROUPED[:, :1], group=6), (6, 5, 5)),
    "conv, no bias": (([("Conv", "x W", "z"), ("Relu", "z", "y")], {"W": K2}), IMAGE),
    "conv, norm": (
        (
            [("Conv", "x W", "z", {"pads": [1, 1, 1, 1]}), NORM, ("Relu", "n", "y")],
            {"W": K2, **BN4},
        ),
        IMAGE,
    ),
    "conv, kernel with axes in another order": (
        (
            [("Transpose", "V", "W", {"perm": [3, 2, 0, 1]}), ("Conv", "x W", "y")],
            {"V": K2.transpose(2, 3, 1, 0)},
        ),
        IMAGE,
    ),
}


def cast(nodes: list[Node], dtype: type) -> list[Node]:
    """The same nodes with constants of another precision."""
    changed = []
    for op, reads, writes, *rest in nodes:
        attributes = dict(rest[0]) if rest else {}
        if "value" in attributes:
            value = numpy_helper.to_array(attributes["value"]).astype(dtype)
            attributes["value"] = numpy_helper.from_array(value, "inner")
        changed.append((op, reads, writes, attributes))
    return changed


def rows_of(output: np.ndarray, kind: str) -> np.ndarray:
    """The output with one row for each that meets the weights: channels last."""
    if kind.startswith("conv"):
        output = np.moveaxis(output, 1, -1)
    return output.reshape(-1, output.shape[-1])


@pytest.mark.parametrize("kind", ["conv", "conv, groups", "conv, depthwise"])
def test_convolutions_are_trimmed(rng: np.random.Generator, kind: str) -> None:
    (nodes, arrays), shape = LAYERS[kind]
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    model = build([*nodes, ("Relu", "y", "r")], arrays, ["n", *shape], outputs=("r",))
    X = rng.standard_normal((40, *shape)).astype(np.float32)
    result = trim(model, X, epsilon=0.3)
    assert result.converged
    assert_sound(result, X)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_what_onnxruntime_computes_before_and_after(
    rng: np.random.Generator, kind: str
) -> None:
    (nodes, arrays), shape = LAYERS[kind]
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    model = build(cast(nodes, np.float32), arrays, ["n", *shape])
    X = rng.standard_normal((5, *shape)).astype(np.float32)
    view = adapter.view(model)
    (layer,) = view.prunable_layers()
    scale = np.abs(run(model, X)).max()
    arrived, left = view.signals(X, {})
    np.testing.assert_array_equal(arrived.values, X)
    rows = layer.respond(layer.affine, X)
    np.testing.assert_allclose(rows, rows_of(run(model, X), kind), atol=2e-6 * scale)
    np.testing.assert_allclose(rows_of(left.values, kind), rows, atol=2e-6 * scale)

    thinned = rng.standard_normal(layer.affine.stacked.shape)
    thinned[::2] = 0.0
    new = layer.affine.replaced(thinned)
    written = view.with_weights({0: new})
    onnx.checker.check_model(written, full_check=True)
    expected = layer.respond(new, X)
    np.testing.assert_allclose(rows_of(run(written, X), kind), expected, atol=1e-5 * scale)
    (again,) = adapter.view(written).prunable_layers()
    np.testing.assert_array_equal(again.affine.weights == 0, new.weights == 0)
    if new.fixed_bias and new.bias is not None:
        np.testing.assert_allclose(again.affine.bias, layer.affine.bias, rtol=1e-6)
    assert layer.lipschitz(layer.affine, X.shape) > 0


@pytest.mark.parametrize("kind", ["gemm", "gemm, norm", "matmul, added to"])
@pytest.mark.parametrize(("dtype", "digits"), [(np.float16, 1e-2), (np.float64, 1e-13)])
def test_precisions(rng: np.random.Generator, kind: str, dtype: type, digits: float) -> None:
    (nodes, arrays), shape = LAYERS[kind]
    arrays = {name: value.astype(dtype) for name, value in arrays.items()}
    model = build(nodes, arrays, ["n", *shape], dtype=dtype)
    X = rng.standard_normal((50, *shape)).astype(dtype)
    (layer,) = as_view(model).prunable_layers()
    np.testing.assert_allclose(
        layer.respond(layer.affine, X), run(model, X), atol=digits * np.abs(run(model, X)).max()
    )
    result = trim(model, X, epsilon=0.3)
    assert_sound(result, X, tolerance=max(1e-9, digits))
    stored = {t.name: numpy_helper.to_array(t) for t in result.model.graph.initializer}
    assert {value.dtype for value in stored.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("nodes", "arrays"),
    [
        ([("Gemm", "x W b", "y", {"transA": 1})], {"W": W, "b": B}),
        ([("Gemm", "x W b", "y", {"alpha": 0.0})], {"W": W, "b": B}),
        ([("Gemm", "x W b", "y")], {"W": W, "b": np.ones((6, 5))}),
        ([("Gemm", "x x", "y")], {}),
        ([("MatMul", "W x", "y")], {"W": W.T}),
        ([("MatMul", "x x", "y")], {}),
        ([("MatMul", "x W", "y")], {"W": np.ones((1, 6, 5))}),
    ],
)
def test_what_is_no_such_layer_is_left_alone(nodes: list[Node], arrays: Arrays) -> None:
    model = build(nodes, {n: v.astype(np.float32) for n, v in arrays.items()}, [6, 6])
    assert adapter.view(model).prunable_layers() == []
    with pytest.raises(ValueError, match="model has no prunable layer"):
        trim(model, np.ones((6, 6)), epsilon=0.1)


def test_relu_belongs_to_the_layer_only_if_nothing_else_reads_it() -> None:
    nodes = [("Gemm", "x W b", "z", {"name": "fc"}), ("Relu", "z", "y")]
    arrays = {"W": W.astype("f4"), "b": B.astype("f4")}
    activations = [
        adapter.view(build([*nodes, *more], arrays, ["n", 6], outputs)).prunable_layers()[0]
        for more, outputs in [([], "y"), ([("Neg", "z", "u")], "yu"), ([], "yz")]
    ]
    assert [layer.activation for layer in activations] == ["relu", "linear", "linear"]


def test_a_normalisation_without_inverse_or_relu_is_not_folded() -> None:
    nodes = [("Gemm", "x W b", "z"), NORM]
    zero = {**BN, "scale": BN["scale"] * [0, 1, 1, 1, 1]}
    for more, norm, output in [([("Relu", "n", "y")], zero, "y"), ([], BN, "n")]:
        arrays = {n: v.astype("f4") for n, v in {"W": W, "b": B, **norm}.items()}
        (layer,) = adapter.view(
            build([*nodes, *more], arrays, ["n", 6], [output])
        ).prunable_layers()
        assert layer.activation == "linear"
        assert not layer.affine.fixed_bias
        np.testing.assert_array_equal(layer.affine.weights, arrays["W"])


def test_names_are_those_of_nodes_or_weights_and_differ() -> None:
    nodes = [
        ("MatMul", "x W", "a", {"name": "fc"}),
        ("MatMul", "a V", "b", {"name": "fc"}),
        ("MatMul", "b U", "y"),
    ]
    square = np.eye(6, dtype="f4")
    model = build(nodes, {"W": square, "V": square, "U": square}, ["n", 6])
    assert [layer.name for layer in adapter.view(model).prunable_layers()] == ["fc", "fc_2", "U"]


# --- gains ------------------------------------------------------------------------------------

COLUMNS = np.array([0.5, -2.0, 1.0, 0.0, 1.5, -0.3], dtype="f4")
NORM6 = {
    "scale": COLUMNS,
    "shift": COLUMNS,
    "mean": COLUMNS,
    "var": np.array([0.5, 1.0, 2.0, 0.1, 3.0, 1.0], dtype="f4"),
}
MAP, LONG = (6, 5, 4), (6, 12)
POOL = {"kernel_shape": [3, 2], "strides": [2, 1]}
GAINS: dict[str, tuple[list[Node], Arrays, tuple[int, ...], float]] = {
    "relu": ([("Relu", "h", "y")], {}, (6,), 1.0),
    "sigmoid": ([("Sigmoid", "h", "y")], {}, (6,), 0.25),
    "tanh": ([("Tanh", "h", "y")], {}, (6,), 1.0),
    "softmax": ([("Softmax", "h", "y")], {}, (6,), 0.5),
    "log softmax": ([("LogSoftmax", "h", "y", {"axis": 1})], {}, (6,), math.sqrt(6)),
    "clip": ([("Clip", "h low high", "y")], {"low": -1.0, "high": 0.5}, (6,), 1.0),
    "leaky": ([("LeakyRelu", "h", "y", {"alpha": 3.0})], {}, (6,), 3.0),
    "elu": ([("Elu", "h", "y", {"alpha": 2.0})], {}, (6,), 2.0),
    "dropout": ([("Dropout", "h", "y")], {}, (6,), 1.0),
    "pad": ([("Pad", "h pads", "y")], {"pads": np.array([0, 1, 0, 2])}, (6,), 1.0),
    "flatten": ([("Flatten", "h", "y")], {}, MAP, 1.0),
    "reshape": ([("Reshape", "h to", "y")], {"to": np.array([0, 2, -1])}, MAP, 1.0),
    "reshape to a computed shape": (
        [
            ("Shape", "h", "s"),
            ("Gather", "s zero", "n", {"axis": 0}),
            ("Concat", "n rest", "to", {"axis": 0}),
            ("Reshape", "h to", "y"),
        ],
        {"zero": np.array([0]), "rest": np.array([-1])},
        MAP,
        1.0,
    ),
    "transpose": ([("Transpose", "h", "y", {"perm": [0, 3, 1, 2]})], {}, MAP, 1.0),
    "unsqueeze": (
        [("Unsqueeze", "h one", "u"), ("Squeeze", "u one", "y")],
        {"one": np.array([1])},
        (6,),
        1.0,
    ),
    "constant": ([("Add", "h c", "y")], {"c": COLUMNS}, (6,), 1.0),
    "twice": ([("Add", "h h", "y")], {}, (6,), 2.0),
    "both ways": ([("Tanh", "h", "t"), ("Sigmoid", "h", "s"), ("Sum", "s t", "y")], {}, (6,), 1.25),
    "difference": ([("Neg", "h", "m"), ("Sub", "h m", "y")], {}, (6,), 2.0),
    "joined": ([("Concat", "h h", "y", {"axis": 1})], {}, (6,), 2.0),
    "repeated": (
        [("ReduceMean", "h", "m", {"axes": [1]}), ("Add", "m wide", "y")],
        {"wide": np.ones((1, 10), dtype="f4")},
        (6,),
        math.sqrt(10 / 6),
    ),
    "factors": ([("Mul", "c h", "y")], {"c": COLUMNS}, (6,), 2.0),
    "zero": (
        [("Mul", "h c", "z"), ("Add", "z h", "y")],
        {"c": np.zeros(6, dtype="f4")},
        (6,),
        1.0,
    ),
    "quotient": ([("Div", "h c", "y")], {"c": np.array([2, -4, 4, 4, 4, 4], "f4")}, (6,), 0.5),
    "average": ([("Tanh", "h", "t"), ("Mean", "h t", "y")], {}, (6,), 1.0),
    "largest": ([("Tanh", "h", "t"), ("Max", "h t", "y")], {}, (6,), 2.0),
    "sum": ([("ReduceSum", "h one", "y")], {"one": np.array([1])}, (6,), math.sqrt(6)),
    "max pool": ([("MaxPool", "h", "y", POOL)], {}, MAP, 2.0),
    "average pool": ([("AveragePool", "h", "y", POOL)], {}, MAP, math.sqrt(4 / 6)),
    "average pool, padded": (
        [("AveragePool", "h", "y", {**POOL, "pads": [1, 0, 1, 0]})],
        {},
        MAP,
        math.sqrt(4 / 2),
    ),
    "average pool, zeros count": (
        [("AveragePool", "h", "y", {**POOL, "pads": [1, 0, 1, 0], "count_include_pad": 1})],
        {},
        MAP,
        math.sqrt(4 / 6),
    ),
    "average pool, half windows": (
        [("AveragePool", "h", "y", {"kernel_shape": [3], "strides": [2], "ceil_mode": 1})],
        {},
        LONG,
        math.sqrt(2),
    ),
    "global average": ([("GlobalAveragePool", "h", "y")], {}, MAP, 1 / math.sqrt(20)),
    "global maximum": ([("GlobalMaxPool", "h", "y")], {}, MAP, 1.0),
    "mean": ([("ReduceMean", "h", "y", {"axes": [2, 3]})], {}, MAP, 1 / math.sqrt(20)),
    "norm": (
        [("BatchNormalization", "h scale shift mean var", "y", {"epsilon": 0.0})],
        NORM6,
        MAP,
        2.0,
    ),
    "split": ([("Split", "h", "y u", {"axis": 1})], {}, (6,), 1.0),
    "slice": ([("Slice", "h from to", "y")], {"from": [0, 1], "to": [99, 3]}, (6,), 1.0),
    "double": (
        [("Cast", "h", "d", {"to": TensorProto.DOUBLE}), ("Cast", "d", "y", {"to": 1})],
        {},
        (6,),
        1.0,
    ),
    "unknown": ([("Erf", "h", "e"), ("Relu", "e", "y")], {}, (6,), math.inf),
    "product of signals": ([("Mul", "h h", "y")], {}, (6,), math.inf),
    "noise": (
        [("Dropout", "h ratio on", "y")],
        {"ratio": np.float32(0.5), "on": np.array(True)},
        (6,),
        math.inf,
    ),
}


@pytest.mark.parametrize("kind", GAINS)
def test_gains_bound_what_onnxruntime_computes(rng: np.random.Generator, kind: str) -> None:
    nodes, arrays, shape, gain = GAINS[kind]
    arrays = {
        n: np.float32(v) if isinstance(v, float) else np.asarray(v) for n, v in arrays.items()
    }
    width = shape[-1]
    product = ("MatMul", "x W", "h", {"name": "fc"})
    model = build(
        [product, *nodes], {"W": np.eye(width, dtype="f4"), **arrays}, ["n", *shape], ["y"]
    )
    A, B = rng.standard_normal((2, 40, *shape)).astype("f4")
    _, last = adapter.view(model).signals(A, {})
    assert last.gains.get(0, 0.0) == pytest.approx(gain, rel=1e-6)
    for scale in (1e-2, 1.0, 10.0):
        C = A + np.float32(scale) * B
        moved = np.linalg.norm(run(model, C, "y") - run(model, A, "y"))
        assert moved <= gain * np.linalg.norm(C - A) * (1 + 1e-5) or math.isinf(gain)


def test_gains_of_a_residual_sum(rng: np.random.Generator) -> None:
    nodes = [
        ("MatMul", "x W", "p", {"name": "stem"}),
        ("MatMul", "p V", "z", {"name": "body"}),
        ("Relu", "z", "b"),
        ("Add", "b p", "s"),
        ("MatMul", "s U", "y", {"name": "head"}),
    ]
    arrays = {name: rng.standard_normal((6, 6)).astype("f4") for name in "WVU"}
    model = build(nodes, arrays, ["n", 6])
    X = rng.standard_normal((200, 6)).astype("f4")
    signals = list(adapter.view(model).signals(X, {}))
    assert [signal.gains for signal in signals] == [{}, {0: 1.0}, {0: 1.0, 1: 1.0}, {2: 1.0}]
    for scheme in ("parallel", "cascade"):
        assert_sound(trim(model, X, epsilon=0.2, scheme=scheme), X)


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
    with pytest.raises(ValueError, match="model: tensor 's' has no axis of samples"):
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
    with pytest.raises(ValueError, match=r"tensor 'c' has shape \(4, 6\) for 5 samples"):
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
    assert left.gains == {0: 1.0}
    assert_sound(trim(model, X, epsilon=0.2), X)


# --- input and output -------------------------------------------------------------------------


def embedding(rng: np.random.Generator) -> onnx.ModelProto:
    nodes = [
        ("Gather", "table x", "e"),
        ("ReduceMean", "e", "m", {"axes": [1], "keepdims": 0}),
        ("Gemm", "m W b", "y"),
    ]
    table = rng.standard_normal((30, 6)).astype("f4")
    arrays = {"table": table, "W": W.astype("f4"), "b": B.astype("f4")}
    return build(nodes, arrays, ["n", 4], dtype=np.int64, result=np.float32)


def test_integers_stay_integers(rng: np.random.Generator) -> None:
    model, ids = embedding(rng), rng.integers(0, 30, (80, 4))
    result = trim(model, ids, epsilon=0.1)
    assert_sound(result, ids)
    with pytest.raises(ValueError, match="X must hold whole numbers for the model's int64 input"):
        trim(model, ids + 0.5, epsilon=0.1)


@pytest.mark.parametrize(
    ("shape", "X", "words"),
    [
        (
            ["n", 6],
            np.ones((5, 7)),
            "X must have samples of shape (6) for the model's input 'x', got (7,)",
        ),
        (
            ["n", 3, 2],
            np.ones((5, 6)),
            "samples of shape (3, 2) for the model's input 'x', got (6,)",
        ),
        (["n", "k", 6], np.ones((5, 6)), "samples of shape (k, 6)"),
    ],
)
def test_samples_of_another_shape(shape: list[Any], X: np.ndarray, words: str) -> None:
    model = build([("MatMul", "x W", "y")], {"W": np.eye(shape[-1], dtype="f4")}, shape)
    with pytest.raises(ValueError, match=re.escape(words)):
        trim(model, X, epsilon=0.1)


def test_held_out_samples_of_another_shape() -> None:
    model = build([("MatMul", "x W", "y")], {"W": W.astype("f4")}, ["n", 6])
    with pytest.raises(ValueError, match="held_out must have samples of shape"):
        trim(model, np.ones((5, 6)), epsilon=0.1, held_out=np.ones((5, 7)))


def test_samples_that_half_precision_cannot_hold() -> None:
    model = build([("MatMul", "x W", "y")], {"W": W.astype("f2")}, ["n", 6], dtype=np.float16)
    with pytest.raises(ValueError, match=r"X must fit the model's input, .* no float16"):
        trim(model, 1e6 * np.ones((5, 6)), epsilon=0.1)


def test_the_output_is_the_first_one_of_floats_that_depends_on_a_layer() -> None:
    nodes = [
        ("Sigmoid", "x", "early"),
        ("MatMul", "x W", "z", {"name": "fc"}),
        ("ArgMax", "z", "label", {"axis": 1}),
        ("Tanh", "z", "t"),
    ]
    X = np.ones((4, 6), dtype="f4")
    model = build(nodes, {"W": W.astype("f4")}, ["n", 6], ["early", "t"])
    *_, last = adapter.view(model).signals(X, {})
    np.testing.assert_allclose(last.values, run(model, X, "t"), atol=1e-7)
    model = build(nodes, {"W": W.astype("f4")}, ["n", 6], ["label"], result=np.int64)
    *_, last = adapter.view(model).signals(X, {})
    np.testing.assert_allclose(last.values, X @ W, rtol=1e-6)
    assert last.gains == {0: 1.0}


def two_inputs() -> onnx.ModelProto:
    model = build([("Relu", "x", "y")], {}, ["n", 6])
    model.graph.input.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, ["n", 6]))
    return model


def not_loaded() -> onnx.ModelProto:
    model = build([("MatMul", "x W", "y")], {"W": W.astype("f4")}, ["n", 6])
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "elsewhere")
    return model


def with_nan() -> onnx.ModelProto:
    return build([("MatMul", "x W", "y")], {"W": np.full((6, 5), np.nan, "f4")}, ["n", 6])


def unknown_type() -> onnx.ModelProto:
    model = build([("Identity", "x", "y")], {}, ["n"])
    model.graph.input[0].type.tensor_type.elem_type = 97
    return model


def strings() -> onnx.ModelProto:
    model = build([("Identity", "x", "y")], {}, ["n"])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.STRING
    return model


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (
            two_inputs(),
            ValueError,
            "X must be a mapping from the names of the model's inputs ['x', 'u'] to arrays",
        ),
        (not_loaded(), ValueError, "model has external data that is not loaded"),
        (with_nan(), ValueError, "model: MatMul 'y': weights holds NaN or infinity"),
        (
            unknown_type(),
            ValueError,
            "model must take a tensor of numbers, its input 'x' is none",
        ),
        (strings(), ValueError, "model must take a tensor of numbers, its input 'x' is none"),
        (onnx.ModelProto(), ValueError, "model is not valid: "),
        (onnx.GraphProto(), TypeError, "model must be an onnx.ModelProto, got GraphProto"),
        (
            build([("Relu", "x", "y")], {}, ["n"], opset_imports=[helper.make_opsetid("", 6)]),
            ValueError,
            "model has operators of version 6, at least 7",
        ),
    ],
)
def test_models_that_are_refused(model: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        trim(model, np.ones((3, 6)), epsilon=0.1)
    assert str(caught.value).startswith(words)


def test_a_model_onnxruntime_cannot_run(rng: np.random.Generator) -> None:
    nodes, arrays = conv(K2)
    model = build(nodes, arrays, ["n", *IMAGE], dtype=np.float64)
    with pytest.raises(ValueError, match=r"model: onnxruntime refuses it: .*Conv"):
        trim(model, rng.standard_normal((4, *IMAGE)), epsilon=0.1)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build([("MatMul", "x W", "y")], {"W": W.astype("f4")}, ["n", 6])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ImportError, match=r"onnxruntime is missing.*nettrim\[onnx\]"):
            trim(model, np.ones((3, 6)), epsilon=0.1)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "nettrim.models.adapters.onnx")
    with pytest.raises(ImportError, match=r"onnx is missing.*nettrim\[onnx\]"):
        as_view(model)


# --- what is replaced and what is not ---------------------------------------------------------


def test_all_but_the_weights_stays(rng: np.random.Generator) -> None:
    network = random_network(rng, 6, 8, 3, dtype=np.float32)
    model = chain(network, producer_name="tests", doc_string="a model")
    model.metadata_props.add(key="author", value="us")
    model.graph.initializer[0].doc_string = "the first weights"
    model.graph.initializer.append(numpy_helper.from_array(np.arange(3), "unused"))
    before = model.SerializeToString(deterministic=True)
    X = rng.standard_normal((60, 6)).astype(np.float32)
    result = trim(model, X, epsilon=0.2, layers=["fc1"])
    assert model.SerializeToString(deterministic=True) == before
    restored = onnx.ModelProto()
    restored.CopyFrom(result.model)
    changed = []
    for tensor, original in zip(restored.graph.initializer, model.graph.initializer, strict=True):
        if tensor != original:
            changed.append(tensor.name)
            tensor.raw_data = original.raw_data
    assert changed == ["W1", "b1"]
    assert restored.SerializeToString(deterministic=True) == before


def test_shared_weights_are_left_alone(rng: np.random.Generator) -> None:
    nodes = [
        ("MatMul", "x W", "a", {"name": "one"}),
        ("Relu", "a", "r"),
        ("MatMul", "r W", "b", {"name": "two"}),
        ("MatMul", "b V", "y", {"name": "three"}),
    ]
    arrays = {"W": rng.standard_normal((6, 6)).astype("f4"), "V": W.astype("f4")}
    model = build(nodes, arrays, ["n", 6])
    X = rng.standard_normal((50, 6)).astype("f4")
    with pytest.warns(UserWarning, match="the weights of one, two are read elsewhere too"):
        result = trim(model, X, epsilon=0.2)
    assert [layer.name for layer in result.layers] == ["three"]
    assert result.discrepancy <= result.bound


def test_a_shared_layer_behind_a_pruned_one_has_its_gain(rng: np.random.Generator) -> None:
    nodes = [
        ("MatMul", "x V", "a", {"name": "first"}),
        ("MatMul", "a W", "b"),
        ("MatMul", "b W", "y"),
    ]
    arrays = {name: rng.standard_normal((6, 6)).astype("f4") for name in "VW"}
    with pytest.warns(UserWarning, match="read elsewhere"):
        view = adapter.view(build(nodes, arrays, ["n", 6]))
    *_, last = view.signals(np.ones((3, 6)), {})
    assert last.gains == {0: pytest.approx(np.linalg.norm(arrays["W"], 2) ** 2)}


def test_a_shared_bias_stays(rng: np.random.Generator) -> None:
    nodes = [
        ("Gemm", "x W b", "a", {"name": "one"}),
        ("Relu", "a", "r"),
        ("Gemm", "r V b", "y", {"name": "two"}),
    ]
    arrays = {name: rng.standard_normal((6, 6)).astype("f4") for name in "WV"}
    model = build(nodes, {**arrays, "b": np.linspace(-1, 1, 6, dtype="f4")}, ["n", 6])
    X = rng.standard_normal((100, 6)).astype("f4")
    result = trim(model, X, epsilon=0.2)
    assert_sound(result, X)
    assert all(layer.affine.fixed_bias for layer in as_view(model).prunable_layers())
    assert result.model.graph.initializer[2] == model.graph.initializer[2]
    assert result.sparsity > 0


def test_subgraphs_are_left_alone(rng: np.random.Generator) -> None:
    """Weights that a branch reads are shared; a product inside a branch is no layer."""
    branch = {
        key: helper.make_graph(
            [helper.make_node(op, ["h", "V"], [f"{key}_out"])],
            key,
            [],
            [helper.make_tensor_value_info(f"{key}_out", TensorProto.FLOAT, None)],
        )
        for key, op in {"then_branch": "MatMul", "else_branch": "Add"}.items()
    }
    nodes = [
        ("MatMul", "x W", "h", {"name": "fc"}),
        ("If", "on", "c", branch),
        ("MatMul", "c V", "y", {"name": "last"}),
    ]
    arrays = {name: rng.standard_normal((6, 6)).astype("f4") for name in "WV"}
    model = build(nodes, {**arrays, "on": np.array(True)}, ["n", 6])
    with pytest.warns(UserWarning, match="the weights of last are read elsewhere"):
        result = trim(model, rng.standard_normal((50, 6)), epsilon=0.2)
    assert [layer.name for layer in result.layers] == ["fc"]
    assert result.bound == math.inf
    assert result.model.graph.node[1] == model.graph.node[1]


def test_weights_that_are_inputs_as_in_old_versions(rng: np.random.Generator) -> None:
    network = random_network(rng, 6, 8, 3, dtype=np.float32)
    model = chain(network, opset_imports=[helper.make_opsetid("", 8)])
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    X = rng.standard_normal((50, 6)).astype(np.float32)
    result = trim(model, X, epsilon=0.2)
    assert_sound(result, X)
    assert result.model.graph.input == model.graph.input


# --- what exporters write ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")  # what is computed counts
@pytest.mark.parametrize("dynamo", [False, True])
def test_torch_export(rng: np.random.Generator, dynamo: bool) -> None:
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 8),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(8, 3),
    ).eval()
    X = rng.standard_normal((40, 1, 8, 8)).astype(np.float32)
    example = torch.from_numpy(X[:2])
    file = io.BytesIO()
    shapes = (
        {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
        if dynamo
        else {
            "input_names": ["x"],
            "dynamic_axes": {"x": {0: "n"}},
        }
    )
    with warnings.catch_warnings():  # the exporters use what torch itself calls out of date
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(module, (example,), file, dynamo=dynamo, verbose=False, **shapes)
    model = onnx.load_model_from_string(file.getvalue())
    view = adapter.view(model)
    assert [layer.shape for layer in view.prunable_layers()] == [(9, 4), (36, 6), (6, 8), (8, 3)]
    assert [layer.activation for layer in view.prunable_layers()] == ["relu"] * 3 + ["linear"]
    *_, last = view.signals(X, {})
    with torch.no_grad():
        np.testing.assert_allclose(last.values, module(torch.from_numpy(X)).numpy(), atol=1e-5)
    for scheme in ("parallel", "cascade"):
        result = trim(model, X, epsilon=0.1, scheme=scheme)
        assert_sound(result, X)
        assert 0 < result.bound < math.inf
        assert result.sparsity > 0.1


@pytest.mark.parametrize("zipmap", [True, False])
def test_scikit_learn_export(zipmap: bool) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    X, labels = datasets.load_digits(return_X_y=True)
    X = (X[:300] / 16).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = MLPClassifier((24, 16), max_iter=20, random_state=0).fit(X, labels[:300])
    model = skl2onnx.to_onnx(fitted, X[:1], options={"zipmap": zipmap})
    view = adapter.view(model)
    assert [layer.shape for layer in view.prunable_layers()] == [(64, 24), (24, 16), (16, 10)]
    assert [layer.activation for layer in view.prunable_layers()] == ["relu", "relu", "linear"]
    *_, last = view.signals(X, {})
    if zipmap:  # the probabilities are no tensor: the logits stand for them
        assert last.gains == {2: 1.0}
        odds = np.exp(last.values - last.values.max(axis=1, keepdims=True))
        probabilities = odds / odds.sum(axis=1, keepdims=True)
    else:
        assert last.gains == {2: 0.5}
        probabilities = last.values
    np.testing.assert_allclose(probabilities, fitted.predict_proba(X), atol=1e-5)
    result = trim(model, X, epsilon=0.1)
    assert_sound(result, X)
    assert result.sparsity > 0.2


# --- files ------------------------------------------------------------------------------------


@pytest.fixture
def model(rng: np.random.Generator) -> onnx.ModelProto:
    return chain(random_network(rng, 30, 20, 4, dtype=np.float32))


def test_a_file_comes_back_as_it_was(tmp_path: Path, model: onnx.ModelProto) -> None:
    path = tmp_path / "model.onnx"
    adapter.write(model, path)
    adapter.write(model, str(path))
    assert adapter.read(path) == model
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")  # what is computed counts
def test_external_data_stays_external(
    tmp_path: Path,
    model: onnx.ModelProto,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save_model(
        onnx.ModelProto.FromString(model.SerializeToString()),
        tmp_path / "in.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    X = rng.standard_normal((50, 30)).astype(np.float32)
    result = trim(adapter.read("in.onnx"), X, epsilon=0.2)
    assert_sound(result, X)
    (tmp_path / "out").mkdir()
    path = Path("out", "trimmed.onnx")
    adapter.write(result.model, path)
    adapter.write(result.model, path)
    assert sorted(f.name for f in path.parent.iterdir()) == ["trimmed.onnx", "trimmed.onnx.data"]
    np.testing.assert_array_equal(run(adapter.read(path), X), run(result.model, X))
    onnx.checker.check_model(str(path), full_check=True)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], run(result.model, X))


def test_large_models_have_their_data_beside_them(
    tmp_path: Path,
    model: onnx.ModelProto,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_files, "LIMIT", 2000)
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor)
    tensor.ClearField("raw_data")
    tensor.float_data.extend(values.ravel())
    path = tmp_path / "model.onnx"
    adapter.write(model, path)
    assert (tmp_path / "model.onnx.data").stat().st_size == values.nbytes
    assert path.stat().st_size < values.nbytes
    np.testing.assert_array_equal(
        numpy_helper.to_array(adapter.read(path).graph.initializer[0]), values
    )
    X = rng.standard_normal((50, 30)).astype(np.float32)
    table = build(
        [("MatMul", "x W", "h"), ("Add", "h x", "s"), ("Add", "s big", "y")],
        {"W": np.eye(30, dtype="f4"), "big": rng.standard_normal((1, 30)).astype("f4")},
        ["n", 30],
    )
    assert_sound(trim(table, X, epsilon=0.2), X)


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    adapter.write(model, path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(onnx_files.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        adapter.write(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_refused(tmp_path: Path, model: onnx.ModelProto) -> None:
    path = tmp_path / "model.onnx"
    whole = model.SerializeToString()
    damaged = [b"", b"not a model at all\n" * 9, whole[:-7], whole[: len(whole) // 2], whole[9:]]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.onnx' does not hold a valid ONNX model"):
            adapter.read(path)
    with pytest.raises(FileNotFoundError):
        adapter.read(tmp_path / "missing.onnx")


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as stream:
        stream.truncate(1 << 31)  # takes no room
    with pytest.raises(ValueError, match=r"large\.onnx' has 2,147,483,648 bytes"):
        adapter.read(path)


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ({"location": "../outside.bin"}, "outside the directory"),
        ({"location": "/etc/hostname"}, "absolute path"),
        ({"location": "missing.bin"}, "not regular file"),
        ({"location": "link.bin"}, "link.bin"),
        ({"location": "data.bin", "offset": "-8"}, "non-negative"),
        ({"location": "data.bin", "length": "99999999999"}, "exceeds available data"),
        ({"location": "data.bin", "length": "16"}, "too small"),
    ],
)
def test_external_data_that_is_refused(
    tmp_path: Path, model: onnx.ModelProto, note: dict[str, str], words: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(2400))
    (folder / "data.bin").write_bytes(bytes(2400))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in note.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"bad\.onnx' does not hold a valid ONNX model") as caught:
        adapter.read(folder / "bad.onnx")
    assert words in str(caught.value)


def test_other_constants_are_another_model(rng: np.random.Generator, tmp_path: Path) -> None:
    nodes = [
        ("Gemm", "x W1 b1", "z"),
        ("Relu", "z", "a"),
        ("Mul", "a scale", "s"),
        ("MatMul", "s W2", "y"),
    ]
    arrays = {
        "W1": rng.standard_normal((6, 5)),
        "b1": rng.standard_normal(5),
        "scale": np.ones(5),
        "W2": rng.standard_normal((5, 3)),
    }
    X = rng.standard_normal((40, 6))
    one, other = (
        build(nodes, {**arrays, "scale": np.full(5, scale)}, ["n", 6], dtype=np.float64)
        for scale in (1.0, 1.1)
    )
    trim(one, X, epsilon=0.2, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="was made with a different weights of the model; delete"):
        trim(other, X, epsilon=0.2, checkpoint=tmp_path)


@pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning")  # what is computed counts
def test_a_checkpoint_resumes_with_the_same_bits(
    tmp_path: Path, model: onnx.ModelProto, rng: np.random.Generator
) -> None:
    X = rng.standard_normal((60, 30))
    first = trim(model, X, epsilon=0.1, checkpoint=tmp_path)
    again = nettrim.trim(model, X, epsilon=0.1, checkpoint=tmp_path, progress=False)
    assert again.model == first.model
    assert again.discrepancy == first.discrepancy
