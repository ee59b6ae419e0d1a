"""ONNX models have signals of exact arithmetic whatever onnxruntime fuses; its own run is told."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import nettrim
from support.networks import trim

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from nettrim.models.adapters.onnx import view
from support.onnx_models import build, parsed, run

G = np.random.default_rng(3)
INT8 = G.integers(-30, 31, (8, 16)).astype(np.int8)
UINT8 = G.integers(90, 111, (8, 16)).astype(np.uint8)
INT4 = helper.make_tensor("", TensorProto.INT4, [8, 16], G.integers(-8, 8, 128).tolist())
V = G.standard_normal((16, 4)).astype(np.float32)
B = G.standard_normal(16).astype(np.float32)
TENTH = np.float32(0.1)

# Powers of 2: no rounding anywhere but where the model itself asks for it.
STEPS = {"s": np.float32(2**-4), "t": np.float32(2**-6), "z": np.uint8(128)}

QUANTISED = {
    "int8": ("W = DequantizeLinear(Q, s) r = MatMul(x, W)", {"Q": INT8, "s": TENTH}),
    "int8 by column": (
        "W = DequantizeLinear<axis=1>(Q, s) r = MatMul(x, W)",
        {"Q": INT8, "s": np.linspace(0.01, 0.3, 16, dtype=np.float32)},
    ),
    "uint8 in Gemm": (
        "W = DequantizeLinear(Q, s, z) r = Gemm(x, W, b)",
        {"Q": UINT8, "s": TENTH, "z": np.uint8(100), "b": B},
    ),
    "int4 in blocks": (
        "W = DequantizeLinear<axis=0, block_size=4>(Q, s) r = MatMul(x, W)",
        {"Q": INT4, "s": np.linspace(0.1, 0.5, 32, dtype=np.float32).reshape(2, 16)},
    ),
    "quantised signals": (
        """a = QuantizeLinear(x, t, z) c = DequantizeLinear(a, t, z) W = DequantizeLinear(Q, s)
           p = MatMul(c, W) q = QuantizeLinear(p, s, z) r = DequantizeLinear(q, s, z)""",
        {"Q": INT8, **STEPS},
    ),
    "quantised twice": (
        """a = QuantizeLinear(x, t, z) c = DequantizeLinear(a, t, z) d = QuantizeLinear(c, u, v)
           e = DequantizeLinear(d, u, v) r = MatMul(e, W)""",
        {"W": INT8.astype("f4"), "u": np.float32(3 * 2**-6), "v": np.uint8(120), **STEPS},
    ),
    "whole numbers": (
        """a, k, z = DynamicQuantizeLinear(x) i = MatMulInteger(a, Q, z) c = Cast<to=1>(i)
           m = Mul(k, s) r = Mul(c, m)""",
        {"Q": INT8, "s": TENTH},
    ),
}


def samples(rng: np.random.Generator, n_samples: int = 100) -> np.ndarray:
    return np.round(64 * rng.standard_normal((n_samples, 8))).astype(np.float32) / 64


@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_numbers_in_front_of_a_layer(rng: np.random.Generator, kind: str) -> None:
    text, arrays = QUANTISED[kind]
    X = samples(rng)
    expected = ReferenceEvaluator(parsed(text, outputs="float[] r", **arrays)).run(None, {"x": X})[
        0
    ]
    model = parsed(f"{text} y = MatMul(r, V)", V=V, **arrays)
    *_, arrived, left = view(model).signals(X, {})
    np.testing.assert_allclose(arrived.values, expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(left.values, arrived.values @ V.astype(float), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::nettrim.RuntimeMismatchWarning")  # here it rounds to 8 bits
@pytest.mark.parametrize("epsilon", [0.05, 1e-3])
@pytest.mark.parametrize("kind", ["int8", "int8 by column", "uint8 in Gemm", "int4 in blocks"])
def test_errors_and_bounds_behind_quantised_weights_are_true(
    rng: np.random.Generator, kind: str, epsilon: float
) -> None:
    text, arrays = QUANTISED[kind]
    X = samples(rng)
    hidden = ReferenceEvaluator(parsed(text, outputs="float[] r", **arrays)).run(None, {"x": X})[0]
    hidden = np.maximum(hidden.astype(float), 0)
    model = parsed(f"{text} h = Relu(r) c = MatMul(h, V) y = Relu(c)", V=V, **arrays)
    result = trim(model, X, epsilon=epsilon)
    (layer,) = view(result.model).prunable_layers()
    before, after = (np.maximum(hidden @ W.astype(float), 0) for W in (V, layer.affine.weights))
    true = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert true == pytest.approx(result.discrepancy, rel=1e-4)
    assert true <= result.bound * (1 + 1e-4)


LARGE = np.where(G.random((64, 16)) < 0.7, 127, -128).astype(np.int8)  # products of 2^15 each
WHOLE = {
    "MatMulInteger": ("i = MatMulInteger(a, Q, z) r = Cast<to=1>(i)", {"Q": LARGE}),
    "MatMulInteger, zero point": (
        "i = MatMulInteger(a, Q, z, v) r = Cast<to=1>(i)",
        {"Q": LARGE, "v": np.int8(3)},
    ),
    "QLinearMatMul": (
        "i = QLinearMatMul(a, t, z, Q, t, v, u, w) r = DequantizeLinear(i, u, w)",
        {"Q": LARGE, "v": np.int8(0)},
    ),
    "ConvInteger": (
        "b = Reshape(a, to) i = ConvInteger(b, Q, z) f = Flatten(i) r = Cast<to=1>(f)",
        {"Q": LARGE.reshape(16, 4, 4, 4)},
    ),
    "QLinearConv": (
        """b = Reshape(a, to) i = QLinearConv(b, t, z, Q, t, v, u, w) f = Flatten(i)
           r = DequantizeLinear(f, u, w)""",
        {"Q": LARGE.reshape(16, 4, 4, 4), "v": np.int8(0)},
    ),
    "QGemm": (
        """i = com.microsoft.QGemm<transB=0, alpha=1.0>(a, t, z, Q, t, v, c, u, w)
           r = DequantizeLinear(i, u, w)""",
        {"Q": LARGE, "v": np.int8(0), "c": np.zeros(16, np.int32)},
    ),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_sums_of_whole_numbers_are_not_cut_off(rng: np.random.Generator, kind: str) -> None:
    """As they are by processors that add products of uint8 and int8 in 16 bits."""
    text, arrays = WHOLE[kind]
    scales = {"t": np.float32(2**-6), "z": np.uint8(0), "u": np.float32(2), "w": np.uint8(100)}
    known = {**arrays, **scales, "to": np.array([-1, 4, 4, 4])}
    used = {k: v for k, v in known.items() if re.search(rf"\b{k}\b", f"t z {text}")}
    X = np.abs(np.round(64 * rng.standard_normal((20, 64))) / 64).astype("f4")
    model = parsed(
        f"a = QuantizeLinear(x, t, z) {text} y = MatMul(r, V)", "float[n,64] x", V=V, **used
    )
    arrived, _ = view(model).signals(X, {})
    steps = np.clip(64 * X, 0, 255)
    if "Conv" in kind:
        expected = steps @ LARGE.reshape(16, 64).T.astype(float)
    else:
        expected = steps @ (LARGE.astype(float) - float(used.get("v", 0)))
    if "u" in used:
        expected = np.clip(np.rint(expected / 2**13) + 100, 0, 255) * 2.0 - 200
    np.testing.assert_array_equal(arrived.values, expected)


SMOOTH = {
    "gelu": "a = Div(x, root) e = Erf(a) p = Add(e, one) q = Mul(x, p) r = Mul(q, half)",
    "gelu, tanh": """p = Mul(x, x) q = Mul(p, x) c = Mul(q, k) d = Add(x, c) e = Mul(d, w)
                     t = Tanh(e) u = Add(t, one) v = Mul(x, u) r = Mul(v, half)""",
    "gelu as an operator": 'r = Gelu<approximate="tanh">(x)',
    "normalised sum": "s = Add(x, W) r = LayerNormalization<axis=-1>(s, W)",
    "attention": """g = MatMul(x, M) t = Transpose<perm=[1, 0]>(g) s = MatMul(x, t)
                    p = Softmax<axis=-1>(s) r = MatMul(p, x)""",
}
CONSTANTS = {
    "root": np.float32(np.sqrt(2)),
    "one": np.float32(1),
    "half": np.float32(0.5),
    "k": np.float32(0.044715),
    "w": np.float32(np.sqrt(2 / np.pi)),
    "W": np.linspace(0.5, 1.5, 8, dtype=np.float32),
    "M": G.standard_normal((8, 8)).astype(np.float32),
}


@pytest.mark.parametrize("kind", SMOOTH)
def test_functions_that_are_fused(rng: np.random.Generator, kind: str) -> None:
    X = samples(rng, 20)
    used = {name: value for name, value in CONSTANTS.items() if name in SMOOTH[kind]}
    inputs = "float[20,8] x"
    expected = ReferenceEvaluator(parsed(SMOOTH[kind], inputs, "float[] r", **used))
    model = parsed(f"{SMOOTH[kind]} y = MatMul(r, V)", inputs, V=V[:8], **used)
    *_, arrived, _ = view(model).signals(X, {})
    np.testing.assert_allclose(arrived.values, expected.run(None, {"x": X})[0], atol=3e-6)


def test_half_precision_is_computed_without_its_rounding(rng: np.random.Generator) -> None:
    W, V = (rng.standard_normal(s).astype(np.float16) for s in [(6, 50), (50, 3)])
    nodes = [("MatMul", "x W", "z"), ("Relu", "z", "a"), ("MatMul", "a V", "y")]
    model = build(nodes, {"W": W, "V": V}, ["n", 6], dtype=np.float16)
    X = rng.standard_normal((300, 6)).astype(np.float16)
    _, hidden, left = view(model).signals(X, {})
    np.testing.assert_allclose(hidden.values, np.maximum(X.astype(float) @ W.astype(float), 0))
    own = view(model).run(model, X)[0]
    assert own.dtype == np.float16
    np.testing.assert_array_equal(own, run(model, X))
    assert not np.allclose(own, left.values, rtol=1e-5)


def test_half_precision_of_operators_without_float64(rng: np.random.Generator) -> None:
    K, W = (rng.standard_normal(s).astype(np.float16) for s in [(4, 3, 3, 3), (4, 5)])
    nodes = [("Conv", "x K", "z"), ("GlobalAveragePool", "z", "p"), ("Flatten", "p", "f")]
    model = build([*nodes, ("MatMul", "f W", "y")], {"K": K, "W": W}, ["n", 3, 8, 8], dtype="f2")
    X = rng.standard_normal((10, 3, 8, 8)).astype(np.float16)
    _, arrived, _ = view(model).signals(X, {})
    first = view(model).prunable_layers()[0]
    rows = first.respond(first.affine, X.astype(float))
    np.testing.assert_allclose(arrived.values, rows.reshape(10, 36, 4).mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_an_operator_that_says_late_that_it_has_no_float64(
    rng: np.random.Generator, direction: str
) -> None:
    ways = 2 if direction == "bidirectional" else 1
    shapes = {"W": (ways, 20, 8), "R": (ways, 20, 5)}
    arrays: Any = {name: rng.standard_normal(s).astype("f4") for name, s in shapes.items()}
    recurrent = f"""s = Transpose<perm=[1, 0, 2]>(x)
        a, h = LSTM<hidden_size=5, direction="{direction}">(s, W, R)
        t = Transpose<perm=[1, 0, 2]>(h) r = Flatten(t)"""
    inputs = "float[n,7,8] x"
    X = rng.standard_normal((12, 7, 8)).astype("f4")
    expected = run(parsed(recurrent, inputs, "float[] r", **arrays), X)
    model = parsed(f"{recurrent} y = MatMul(r, V)", inputs, V=V[: 5 * ways], **arrays)
    arrived, _ = view(model).signals(X, {})
    np.testing.assert_allclose(arrived.values, expected, atol=1e-6)


def test_the_models_own_run(rng: np.random.Generator) -> None:
    """In the user's settings, which round to 8 bits here; and the result tells of it."""
    text, arrays = QUANTISED["int8"]
    model = parsed(f"{text} y = MatMul(r, V)", V=V, **arrays)
    X = samples(rng)
    own = view(model).run(model, X)
    np.testing.assert_array_equal(own[0], run(model, X))
    with pytest.warns(nettrim.RuntimeMismatchWarning, match="'y'"):
        result = trim(model, X, epsilon=0.1)
    again = run(result.model, X)
    error = np.linalg.norm(again - own[0]) / np.linalg.norm(own[0])
    assert result.outputs[0].runtime_discrepancy == pytest.approx(error, rel=1e-6)
    assert result.discrepancy <= result.bound
