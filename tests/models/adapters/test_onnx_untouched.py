"""Weights of ONNX models that no layer holds are named, with their size and the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nettrim import Untouched
from support.networks import trim

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from nettrim.models.adapters.onnx import view
from support.onnx_models import build, parsed, run

G = np.random.default_rng(2)


def array(*shape: int) -> np.ndarray:
    return G.standard_normal(shape).astype("f4")


def sparse(values: np.ndarray, name: str, linear: bool = False) -> onnx.SparseTensorProto:
    where = np.flatnonzero(values)[:, None] if linear else np.argwhere(values)
    entries = numpy_helper.from_array(values[values != 0], name)
    indices = numpy_helper.from_array(where.squeeze(1) if linear else where)
    return helper.make_sparse_tensor(entries, indices, values.shape)


Q = np.arange(-64, 64, dtype=np.int8).reshape(8, 16)
UQ = (Q.astype(int) + 128).astype(np.uint8)
HALF, W = array(8, 16).astype("f2"), array(8, 16)
STEP = np.float32(0.1)
INT4 = helper.make_tensor("", TensorProto.INT4, [8, 16], np.arange(-8, 8).repeat(8).tolist())

# A text, its constants, and what is told of which of them: entries that are no zero, the reason.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, tuple[int, str]]]] = {
    "nothing": ("r = MatMul(x, W)", {"W": W}, {}),
    "recurrent": (
        "u = Unsqueeze(x, one) a, h = LSTM<hidden_size=4>(u, W, R, B) r = Squeeze(h, zero)",
        {
            "W": array(1, 16, 8),
            "R": array(1, 16, 4),
            "B": array(1, 32),
            "one": np.array([0]),
            "zero": np.array([0]),
        },
        {"W": (128, "recurrent layer (LSTM)"), "R": (64, "recurrent layer (LSTM)")},
    ),
    "embedding": (
        "i = Cast<to=7>(x) e = Gather(T, i) r = ReduceSum<keepdims=0>(e, axes)",
        {"T": array(50, 16), "axes": np.array([1])},
        {"T": (800, "embedding (Gather)")},
    ),
    "transposed convolution": (
        "s = Unsqueeze(x, at) c = ConvTranspose(s, K) r = Flatten(c)",
        {"K": array(1, 2, 3), "at": np.array([1])},
        {"K": (6, "transposed convolution (ConvTranspose)")},
    ),
    "three axes": (
        "s = Reshape(x, to) c = Conv(s, K) r = Flatten(c)",
        {"K": array(2, 1, 2, 2, 2), "to": np.array([-1, 1, 2, 2, 2])},
        {"K": (16, "convolution along 3 axes (Conv)")},
    ),
    "experts": (
        "s = Unsqueeze(x, at) e = MatMul(s, E) r = ReduceSum<keepdims=0>(e, at)",
        {"E": array(5, 8, 16), "at": np.array([0])},
        {"E": (640, "batched product (MatMul)")},
    ),
    "on the left": (
        "t = Transpose(x) l = MatMul(W, t) r = Transpose(l)",
        {"W": array(5, 8)},
        {"W": (40, "on the left of a product (MatMul)")},
    ),
    "int8": (
        "w = DequantizeLinear(Q, s) r = MatMul(x, w)",
        {"Q": Q, "s": STEP},
        {"Q": (127, "quantised (DequantizeLinear)")},
    ),
    "uint8 with zero points": (
        "w = DequantizeLinear<axis=0>(Q, s, z) r = MatMul(x, w)",
        {"Q": UQ, "s": np.full(8, STEP), "z": UQ[:, 3]},
        {"Q": (120, "quantised (DequantizeLinear)")},
    ),
    "int4 in blocks": (
        "w = DequantizeLinear<axis=0, block_size=4>(Q, s, z) r = MatMul(x, w)",
        {
            "Q": INT4,
            "s": np.full((2, 16), STEP),
            "z": helper.make_tensor("", TensorProto.INT4, [2, 16], [-8] * 16 + [1] * 16),
        },
        {"Q": (112, "quantised (DequantizeLinear)")},
    ),
    "int4": (
        "w = DequantizeLinear(Q, s) r = MatMul(x, w)",
        {"Q": INT4, "s": STEP},
        {"Q": (120, "quantised (DequantizeLinear)")},
    ),
    "whole numbers": (
        "q, k, z = DynamicQuantizeLinear(x) i = MatMulInteger(q, Q, z, v) r = Cast<to=1>(i)",
        {"Q": UQ, "v": np.uint8(129)},
        {"Q": (127, "quantised (MatMulInteger)")},
    ),
    "half precision": (
        "w = Cast<to=1>(H) r = MatMul(x, w)",
        {"H": HALF},
        {"H": (128, "float16 behind a Cast")},
    ),
    "read twice": (
        "a = MatMul(x, W) t = Transpose(W) b = MatMul(a, t) r = MatMul(b, V)",
        {"W": W, "V": array(8, 16)},
        {"W": (128, "its weights are read elsewhere too")},
    ),
    "an offset, and what nothing reads": (
        "p = Add(x, P) r = MatMul(p, W)",
        {"W": W, "P": array(1, 8), "unused": np.ones((2, 2), "f4")},
        {"unused": (4, "nothing reads it")},
    ),
    "positions and a mask": (
        """s = Reshape(x, to) p = Add(s, P) m = Add(p, M) v = Mul(m, S) f = Flatten(v)
           r = MatMul(f, W)""",
        {
            "W": W,
            "to": np.array([-1, 4, 2]),
            "P": array(1, 4, 2),
            "M": np.where(np.tri(4, 2) > 0, 0, -1e9).astype("f4"),
            "S": array(4, 1),
        },
        {"P": (8, "added to a signal (Add)")},
    ),
    "attention": (
        """s = Unsqueeze(x, one) a = com.microsoft.Attention<num_heads=2>(s, W, b)
           r = Flatten(a)""",
        {"W": array(8, 24), "b": array(24), "one": np.array([1])},
        {"W": (192, "attention (Attention)")},
    ),
    "a product without data": (
        "w = MatMul(A, W) r = MatMul(x, w)",
        {"A": array(8, 8), "W": W},
        {
            "A": (64, "no data meet it"),
            "W": (128, "no data meet it"),
        },
    ),
}


@pytest.mark.filterwarnings("ignore:model. the weights of .* are read elsewhere too")
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_no_layer_holds(kind: str) -> None:
    text, arrays, expected = KINDS[kind]
    model = parsed(f"{text} y = Relu(r)", **arrays)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    assert view(model).untouched() == [
        Untouched(k, shapes[k], *told) for k, told in expected.items()
    ]


def test_weights_of_few_bits_side_by_side() -> None:
    """Two of 4 bits in a byte: 5 outputs of 40 inputs, the last block not full."""
    numbers = G.integers(0, 16, (5, 48))
    packed = (numbers[:, ::2] | numbers[:, 1::2] << 4).astype(np.uint8).reshape(5, 3, 8)
    text = "y = com.microsoft.MatMulNBits<K=40, N=5, bits=4, block_size=16>(x, Q, s)"
    model = parsed(text, "float[n,40] x", Q=packed, s=np.full((5, 3), STEP))
    X = np.eye(40, dtype="f4")
    count = int(np.count_nonzero(np.abs(run(model, X)) > STEP / 2))
    assert count == np.count_nonzero(numbers[:, :40] != 8)
    assert view(model).untouched() == [Untouched("Q", (40, 5), count, "quantised (MatMulNBits)")]


def test_weights_in_bodies_and_functions() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "own": 1]>
        net (float[n,2] x, bool b) => (float[n,2] y)
        <float[2,2] W = {1,0,2,3}, float[2,2] V = {1,0,0,1}, float[2,2] U = {1,1,1,1}> {
            h = MatMul(x, U)
            i = If (b) <
                then_branch = yes () => (t) <float[2,2] T = {1,1,1,0}> {
                    s = MatMul(h, T) t = MatMul(s, W) },
                else_branch = no () => (e) { e = Identity(h) }>
            y = own.scaled(i, V)
        }
        <domain: "own", opset_import: ["": 21]>
        scaled (a, V) => (c) {
            K = Constant <value = float[2,2] {0,0,0,1}> ()
            b = MatMul(a, K)
            c = MatMul(b, V)
        }"""
    )
    own = view(model)
    assert [layer.name for layer in own.prunable_layers()] == ["U"]
    assert own.untouched() == [
        Untouched("W", (2, 2), 3, "read in the body of If"),
        Untouched("V", (2, 2), 2, "read in the local function scaled"),
        Untouched("T", (2, 2), 3, "in the body of If"),
        Untouched("scaled/K", (2, 2), 1, "in the local function scaled"),
    ]


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("place", ["initializer", "node"])
def test_sparse_constants_are_layers(rng: np.random.Generator, place: str, linear: bool) -> None:
    W, V = (rng.standard_normal(s).astype("f4") for s in [(6, 10), (10, 3)])
    W[rng.random(W.shape) < 0.5] = 0
    nodes: list[Any] = [("MatMul", "x W", "z", {"name": "first"}), ("Relu", "z", "a")]
    nodes += [("MatMul", "a V", "y", {"name": "second"})]
    if place == "node":
        value = {"sparse_value": sparse(W, "inner", linear)}
        model = build([("Constant", "", "W", value), *nodes], {"V": V}, ["n", 6])
    else:
        model = build(nodes, {"V": V}, ["n", 6])
        model.graph.sparse_initializer.append(sparse(W, "W", linear))
        model.graph.output[0].CopyFrom(
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
        )
    X = rng.standard_normal((100, 6)).astype("f4")
    own = view(model)
    assert own.untouched() == []
    np.testing.assert_array_equal(own.prunable_layers()[0].affine.weights, W)
    expected = np.maximum(X @ W, 0) @ V
    np.testing.assert_allclose(own.run(model, X)[0], expected, atol=1e-5)
    result = trim(model, X, epsilon=0.2)
    assert result.layers[0].nonzeros_after < result.layers[0].nonzeros_before
    before, after = np.asarray(expected, float), run(result.model, X)
    error = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(error, rel=1e-4)
    onnx.checker.check_model(result.model, full_check=True)
