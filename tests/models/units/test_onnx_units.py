"""Units of ONNX models that can go, operator by operator."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from nettrim.models.model_view import as_view

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper

from support.onnx_models import build, parsed
from support.onnx_units import assert_units_go, outputs, unread

ROWS, SEQUENCES, IMAGES = "float[n,8] x", "float[n,5,8] x", "float[n,3,8,8] x"
TOKENS = "int64[n,5] x"
SHAPES = {ROWS: (3, 8), SEQUENCES: (3, 5, 8), IMAGES: (3, 3, 8, 8), TOKENS: (3, 5)}


class Case(NamedTuple):
    """A graph, the shapes of its constants, and how many units its signals have.

    Constants of integers are given as they are.
    """

    text: str
    inputs: str
    widths: list[int]
    constants: dict[str, Any]

    def model(self) -> onnx.ModelProto:
        rng = np.random.default_rng(5)
        arrays = {}
        for name, given in self.constants.items():
            if isinstance(given, list):
                arrays[name] = np.array(given, np.int64)
            elif isinstance(given, tuple):
                value = rng.standard_normal(given).astype(np.float32) / 2
                arrays[name] = np.abs(value) + 0.1 if name.startswith("var") else value
            else:
                arrays[name] = given
        return onnx.shape_inference.infer_shapes(parsed(self.text, self.inputs, **arrays))

    @property
    def X(self) -> np.ndarray:
        rng, shape = np.random.default_rng(6), SHAPES[self.inputs]
        if self.inputs == TOKENS:
            return rng.integers(0, 9, shape)
        return rng.standard_normal(shape).astype(np.float32)


def rows(text: str, widths: list[int], **constants: Any) -> Case:
    return Case(text, ROWS, widths, constants)


def sequences(text: str, widths: list[int], **constants: Any) -> Case:
    return Case(text, SEQUENCES, widths, constants)


def images(text: str, widths: list[int], **constants: Any) -> Case:
    return Case(text, IMAGES, widths, constants)


HEADS = """
    q = MatMul(x, Q) k = MatMul(x, K) v = MatMul(x, V)
    q4 = Reshape(q, apart) k4 = Reshape(k, apart) v4 = Reshape(v, apart)
    qt = Transpose<perm=[0,2,1,3]>(q4) kt = Transpose<perm=[0,2,3,1]>(k4)
    vt = Transpose<perm=[0,2,1,3]>(v4)
    scores = MatMul(qt, kt) p = Softmax(scores) a = MatMul(p, vt)
    at = Transpose<perm=[0,2,1,3]>(a) joined = Reshape(at, together) y = MatMul(joined, O)
"""
PACKED = """
    qkv = MatMul(x, W) five = Reshape(qkv, apart)
    front = Transpose<perm=[2,0,3,1,4]>(five)
    q = Gather<axis=0>(front, i0) k = Gather<axis=0>(front, i1) v = Gather<axis=0>(front, i2)
    kt = Transpose<perm=[0,1,3,2]>(k) scores = MatMul(q, kt) p = Softmax(scores)
    a = MatMul(p, v) at = Transpose<perm=[0,2,1,3]>(a) joined = Reshape(at, together)
    y = MatMul(joined, O)
"""
HEAD = {"Q": (8, 12), "K": (8, 12), "V": (8, 12), "O": (12, 4)}
INDICES = {f"i{k}": numpy_helper.from_array(np.array(k)) for k in range(3)}
CONV = {"K": (6, 3, 3, 3), "b": (6,), "W": (4, 6, 3, 3)}
NORM = {name: (6,) for name in ("s", "t", "m", "var")}
DENSE = {"W": (8, 6), "V": (6, 4)}

CASES = {
    "gemm": rows("h = Gemm(x, W, b) r = Relu(h) y = Gemm(r, V)", [6], b=(6,), **DENSE),
    "gemm, transB": rows(
        "h = Gemm<transB=1>(x, W, b) r = Relu(h) y = Gemm<transB=1>(r, V)",
        [6],
        W=(6, 8),
        b=(1, 6),
        V=(4, 6),
    ),
    "gemm, factors": rows(
        "h = Gemm<alpha=0.5, beta=2.0>(x, W, b) y = Gemm<alpha=3.0>(h, V)", [6], b=(6,), **DENSE
    ),
    "gemm, one bias": rows("h = Gemm(x, W, b) y = Gemm(h, V)", [6], b=(1,), **DENSE),
    "matmul, add": rows(
        "h = MatMul(x, W) s = Add(b, h) r = Relu(s) y = MatMul(r, V)", [6], b=(6,), **DENSE
    ),
    "transposed constant": rows(
        "Wt = Transpose(W) h = MatMul(x, Wt) r = Relu(h) Vt = Transpose<perm=[1,0]>(V) "
        "y = MatMul(r, Vt)",
        [6],
        W=(6, 8),
        V=(4, 6),
    ),
    "two layers": rows(
        "h = MatMul(x, W) r = Relu(h) g = MatMul(r, U) t = Tanh(g) y = MatMul(t, V)",
        [6, 7],
        W=(8, 6),
        U=(6, 7),
        V=(7, 4),
    ),
    "normalised": rows(
        "h = Gemm(x, W, b) n = BatchNormalization(h, s, t, m, var) r = Relu(n) y = Gemm(r, V)",
        [6],
        b=(6,),
        **NORM,
        **DENSE,
    ),
    "constants along units": rows(
        "h = MatMul(x, W) a = Mul(c, h) d = Div(a, one) p = PRelu(d, slopes) y = MatMul(p, V)",
        [6],
        c=(1, 6),
        one=(1,),
        slopes=(6,),
        **DENSE,
    ),
    "residual": rows(
        "h = MatMul(x, W) r = Relu(h) g = MatMul(r, A) s = Relu(g) k = MatMul(s, B) e = Add(r, k) "
        "y = MatMul(e, V)",
        [6, 5],
        A=(6, 5),
        B=(5, 6),
        **DENSE,
    ),
    "gate": rows(
        "g = MatMul(x, G) u = MatMul(x, W) s = Sigmoid(g) a = Mul(g, s) p = Mul(a, u) "
        "y = MatMul(p, V)",
        [6],
        G=(8, 6),
        **DENSE,
    ),
    "concatenated": rows(
        "a = MatMul(x, A) b = MatMul(x, B) c = Concat<axis=1>(a, x, b) r = Relu(c) "
        "y = MatMul(r, V)",
        [3, 2],
        A=(8, 3),
        B=(8, 2),
        V=(13, 4),
    ),
    "split": rows(
        "h = MatMul(x, W) a, b = Split<axis=1>(h, sizes) c = MatMul(a, A) d = MatMul(b, B) "
        "y = Add(c, d)",
        [6],
        sizes=[4, 2],
        A=(4, 4),
        B=(2, 4),
        W=(8, 6),
    ),
    "split, gated": rows(
        "h = MatMul(x, W) a, b = Split<axis=-1, num_outputs=2>(h) s = Sigmoid(b) g = Mul(a, s) "
        "y = MatMul(g, V)",
        [5],
        W=(8, 10),
        V=(5, 4),
    ),
    "split in unequal halves": rows(
        "h = MatMul(x, W) a, b = Split<axis=-1, num_outputs=2>(h) c = MatMul(a, A) "
        "d = MatMul(b, B) y = Add(c, d)",
        [7],
        W=(8, 7),
        A=(4, 4),
        B=(3, 4),
    ),
    "sliced": rows(
        "h = MatMul(x, W) a = Slice(h, zero, four, one) b = Slice(h, four, end, one) "
        "c = MatMul(a, A) d = MatMul(b, B) y = Add(c, d)",
        [6],
        zero=[0],
        one=[1],
        four=[4],
        end=[2**60],
        A=(4, 4),
        B=(2, 4),
        W=(8, 6),
    ),
    "embedded": Case(
        "e = Gather(T, x) r = Relu(e) s = ReduceMean<keepdims=0>(r, one) y = MatMul(s, V)",
        TOKENS,
        [6],
        {"T": (9, 6), "one": [1], "V": (6, 4)},
    ),
    "sequence": sequences(
        "h = MatMul(x, W) r = Gelu(h) m = ReduceMean<keepdims=0>(r, one) y = MatMul(m, V)",
        [6],
        one=[1],
        **DENSE,
    ),
    "sequence, two at once": sequences(
        "h = MatMul(x, W) r = Relu(h) f = Flatten(r) y = MatMul(f, V)", [6], W=(8, 6), V=(30, 4)
    ),
    "softmax over positions": sequences(
        "h = MatMul(x, W) p = Softmax<axis=1>(h) y = MatMul(p, V)", [6], **DENSE
    ),
    "mixed positions": sequences(
        "h = MatMul(x, W) t = Transpose<perm=[0,2,1]>(h) m = MatMul(t, M) r = Relu(m) "
        "b = Transpose<perm=[0,2,1]>(r) y = MatMul(b, V)",
        [],
        M=(5, 5),
        **DENSE,
    ),
    "heads": sequences(HEADS, [3], apart=[0, 5, 3, 4], together=[0, 5, 12], **HEAD),
    "heads, minus one": sequences(HEADS, [3], apart=[-1, 5, 3, 4], together=[0, 0, -1], **HEAD),
    "heads of the rest": sequences(HEADS, [3], apart=[0, 0, -1, 4], together=[0, 0, -1], **HEAD),
    "heads, packed": sequences(
        PACKED, [3], apart=[0, 5, 3, 3, 4], together=[0, 5, 12], W=(8, 36), O=(12, 4), **INDICES
    ),
    "conv": images("h = Conv(x, K, b) r = Relu(h) y = Conv(r, W)", [6], **CONV),
    "conv, normalised": images(
        "h = Conv(x, K, b) n = BatchNormalization(h, s, t, m, var) r = Clip(n, low, high) "
        "p = MaxPool<kernel_shape=[2,2]>(r) y = Conv(p, W)",
        [6],
        low=np.float32(0),
        high=np.float32(6),
        **CONV,
        **NORM,
    ),
    "conv, residual": images(
        "h = Conv<pads=[1,1,1,1]>(x, K, b) r = Relu(h) a = Conv<pads=[1,1,1,1]>(r, A) "
        "n = BatchNormalization(a, s, t, m, var) e = Add(n, r) q = Relu(e) y = Conv(q, W)",
        [6],
        A=(6, 6, 3, 3),
        **CONV,
        **NORM,
    ),
    "conv, instances": images(
        "h = Conv(x, K, b) n = InstanceNormalization(h, s, t) y = Conv(n, W)",
        [6],
        s=(6,),
        t=(6,),
        **CONV,
    ),
    "depthwise": images(
        "h = Conv(x, K, b) d = Conv<group=6>(h, D, c) r = HardSwish(d) y = Conv(r, W)",
        [6],
        D=(6, 1, 3, 3),
        c=(6,),
        **CONV,
    ),
    "depthwise, two of each": images(
        "h = Conv(x, K, b) d = Conv<group=6>(h, D) y = Conv(d, W)",
        [6],
        K=(6, 3, 3, 3),
        b=(6,),
        D=(12, 1, 3, 3),
        W=(4, 12, 3, 3),
    ),
    "transposed convolution": images(
        "h = Conv(x, K, b) u = ConvTranspose<strides=[2,2]>(h, T, c) r = Relu(u) y = Conv(r, W)",
        [5],
        K=(6, 3, 3, 3),
        b=(6,),
        T=(6, 5, 2, 2),
        c=(5,),
        W=(4, 5, 3, 3),
    ),
    "squeeze and excite": images(
        "h = Conv(x, K, b) g = GlobalAveragePool(h) a = Conv(g, A) r = Relu(a) e = Conv(r, E) "
        "s = Sigmoid(e) p = Mul(s, h) y = Conv(p, W)",
        [6, 3],
        A=(3, 6, 1, 1),
        E=(6, 3, 1, 1),
        **CONV,
    ),
    "flatten": images(
        "h = Conv(x, K, b) p = MaxPool<kernel_shape=[3,3], strides=[3,3]>(h) f = Flatten(p) "
        "y = Gemm(f, V)",
        [6],
        K=(6, 3, 3, 3),
        b=(6,),
        V=(24, 4),
    ),
    "reshape to fixed": images(
        "h = Conv(x, K, b) p = MaxPool<kernel_shape=[3,3], strides=[3,3]>(h) "
        "f = Reshape(p, shape) y = Gemm(f, V)",
        [6],
        K=(6, 3, 3, 3),
        b=(6,),
        V=(24, 4),
        shape=[-1, 24],
    ),
    "reshape to the rest": images(
        "h = Conv(x, K, b) p = MaxPool<kernel_shape=[3,3], strides=[3,3]>(h) "
        "f = Reshape(p, shape) y = Gemm(f, V)",
        [6],
        K=(6, 3, 3, 3),
        b=(6,),
        V=(24, 4),
        shape=[0, -1],
    ),
    "reshape, computed": images(
        "h = Conv(x, K, b) g = GlobalAveragePool(h) s = Shape<start=0, end=1>(x) "
        "t = Concat<axis=0>(s, six) f = Reshape(g, t) y = Gemm(f, V)",
        [6],
        K=(6, 3, 3, 3),
        b=(6,),
        V=(6, 4),
        six=[6],
    ),
    "expanded, as PyTorch writes it": rows(
        "h = MatMul(x, W) t = Concat<axis=0>(minus, six) q = Equal(t, minus) "
        "w = Where(q, one, t) e = Expand(h, w) y = MatMul(e, V)",
        [6],
        minus=[-1],
        six=[6],
        one=[1],
        **DENSE,
    ),
    "squeeze": images(
        "h = Conv(x, K, b) g = GlobalAveragePool(h) s = Squeeze(g, last) u = Unsqueeze(s, one) "
        "t = Squeeze(u, one) y = Gemm(t, V)",
        [6],
        K=(6, 3, 3, 3),
        b=(6,),
        V=(6, 4),
        last=[-1, 2],
        one=[1],
    ),
    "positions": images(
        'h = Conv(x, K, b) p = Pad(h, pads) z = Resize<mode="nearest">(p, , scales) '
        "s = Slice(z, start, end, axes) t = Transpose<perm=[0,2,3,1]>(s) e = Expand(t, shape) "
        "g = Gather<axis=1>(e, picked) y = MatMul(g, V)",
        [6],
        K=(6, 3, 3, 3),
        b=(6,),
        V=(6, 4),
        pads=[0, 0, 1, 1, 0, 0, 1, 1],
        scales=np.array([1, 1, 2, 2], np.float32),
        start=[1, 2],
        end=[5, 7],
        axes=[2, 3],
        shape=[1, 1, 1, 6],
        picked=[2, 0],
    ),
    "resized": images(
        "h = Conv(x, K, b) s = Shape<start=0, end=1>(h) t = Concat<axis=0>(s, sizes) "
        'z = Resize<mode="nearest">(h, , , t) y = Conv(z, W)',
        [6],
        sizes=[6, 9, 9],
        **CONV,
    ),
    "depth to space": images(
        "h = Conv(x, K) d = DepthToSpace<blocksize=2>(h) y = Conv(d, W)",
        [3],
        K=(12, 3, 3, 3),
        W=(4, 3, 3, 3),
    ),
    "pixel shuffle": images(
        'h = Conv(x, K) d = DepthToSpace<blocksize=2, mode="CRD">(h) y = Conv(d, W)',
        [3],
        K=(12, 3, 3, 3),
        W=(4, 3, 3, 3),
    ),
    "space to depth": images(
        "h = Conv(x, K, b) d = SpaceToDepth<blocksize=2>(h) y = Conv(d, W)",
        [6],
        K=(6, 3, 3, 3),
        b=(6,),
        W=(4, 24, 3, 3),
    ),
    "channel shuffle": images(
        "h = Conv(x, K, b) f = Reshape(h, apart) t = Transpose<perm=[0,2,1,3,4]>(f) "
        "g = Reshape(t, together) y = Conv(g, W)",
        [3],
        apart=[0, 2, 3, 6, 6],
        together=[0, 6, 6, 6],
        **CONV,
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_units_go(case: Case, rng: np.random.Generator) -> None:
    units = assert_units_go(case.model(), case.X, rng)
    assert sorted(len(signal.units) for signal in units.signals) == sorted(case.widths)


STAYS = {
    "output": (
        rows("h = MatMul(x, W) y = Relu(h)", [], W=(8, 6)),
        {"W": "they are the model's output"},
    ),
    "softmax": (
        rows("h = MatMul(x, W) p = Softmax(h) y = MatMul(p, V)", [], **DENSE),
        {"W": "Softmax takes all of them together"},
    ),
    "normalised over units": (
        rows("h = MatMul(x, W) n = LayerNormalization(h, s) y = MatMul(n, V)", [], s=(6,), **DENSE),
        {"W": "LayerNormalization takes all of them together"},
    ),
    "mean over units": (
        rows(
            "h = MatMul(x, W) m = ReduceMean(h, one) s = Sub(h, m) y = MatMul(s, V)",
            [],
            one=[1],
            **DENSE,
        ),
        {"W": "ReduceMean takes all of them together"},
    ),
    "added to the input": (
        rows("h = MatMul(x, W) a = Add(h, x) y = MatMul(a, V)", [], W=(8, 8), V=(8, 4)),
        {"W": "it is combined with signals that stay"},
    ),
    "products summed": (
        rows(
            "h = MatMul(x, W) u = Unsqueeze(h, one) t = Transpose<perm=[0,2,1]>(u) "
            "m = MatMul(u, t) s = Squeeze(m, two) a = Mul(h, s) y = MatMul(a, V)",
            [],
            one=[1],
            two=[2],
            **DENSE,
        ),
        {"W": "m adds up products of them"},
    ),
    "unknown": (
        rows("h = MatMul(x, W) c = CumSum(h, one) y = MatMul(c, V)", [], one=[1], **DENSE),
        {"W": "what CumSum does with them is not known"},
    ),
    "custom": (
        rows(
            "h = MatMul(x, W) c = com.microsoft.QuickGelu(h) f = Cast<to=1>(c) "
            "r = Reshape(f, shape) y = MatMul(r, V)",
            [],
            shape=[-1, 6],
            **DENSE,
        ),
        {"W": "what QuickGelu does with them is not known"},
    ),
    "quantised": (
        rows(
            "h = MatMul(x, W) q = QuantizeLinear(h, s, z) d = DequantizeLinear(q, s, z) "
            "y = MatMul(d, V)",
            [],
            s=np.float32(0.1),
            z=np.uint8(9),
            **DENSE,
        ),
        {"W": "what QuantizeLinear does with them is not known"},
    ),
    "in a body": (
        rows(
            "h = MatMul(x, W) s = ReduceMax<keepdims=0>(x) c = Greater(s, zero) "
            "b = If(c) <then_branch = g () => (float[] o) { o = Relu(h) }, "
            "else_branch = f () => (float[] o) { o = Neg(h) }> y = MatMul(b, V)",
            [],
            zero=np.float32(0),
            **DENSE,
        ),
        {"W": "what If does with them is not known"},
    ),
    "a number that is multiplied with": (
        rows(
            "h = MatMul(x, W) s = Shape<start=1>(h) f = Cast<to=1>(s) a = Mul(h, f) "
            "y = MatMul(a, V)",
            [],
            **DENSE,
        ),
        {"W": "the graph needs their number"},
    ),
    "read in groups": (
        images(
            "h = Conv(x, K, b) g = Conv<group=3>(h, G) y = Conv(g, W)",
            [],
            K=(6, 3, 3, 3),
            b=(6,),
            G=(6, 2, 3, 3),
            W=(4, 6, 3, 3),
        ),
        {"K": "G reads them in groups", "G": "they are made in groups"},
    ),
    "transposed convolution": (
        images(
            "h = Conv(x, K, b) y = ConvTranspose(h, T)",
            [],
            K=(6, 3, 3, 3),
            b=(6,),
            T=(6, 5, 2, 2),
        ),
        {"K": "y reads them, which cannot be pruned", "y": "they are the model's output"},
    ),
    "one unit": (
        rows("h = MatMul(x, W) r = Relu(h) y = MatMul(r, V)", [], W=(8, 1), V=(1, 4)),
        {"W": "there is only one"},
    ),
}


@pytest.mark.parametrize(
    ("case", "reasons"), [pytest.param(*value, id=name) for name, value in STAYS.items()]
)
def test_units_stay(case: Case, reasons: dict[str, str], rng: np.random.Generator) -> None:
    units = assert_units_go(case.model(), case.X, rng)
    assert units.n_units == 0
    assert reasons.items() <= units.left_out.items()


def test_only_signals_at_fault_stay(rng: np.random.Generator) -> None:
    case = rows(
        "h = MatMul(x, W) r = Relu(h) g = MatMul(r, U) s = Shape<start=1>(g) f = Cast<to=1>(s) "
        "a = Mul(g, f) k = MatMul(a, B) t = Tanh(k) y = MatMul(t, V)",
        [5, 6],
        W=(8, 6),
        U=(6, 7),
        B=(7, 5),
        V=(5, 4),
    )
    units = assert_units_go(case.model(), case.X, rng)
    assert sorted(len(signal.units) for signal in units.signals) == case.widths
    assert units.left_out == {
        "U": "the graph needs their number",
        "V": "they are the model's output",
    }


def test_outputs_inside_stay(rng: np.random.Generator) -> None:
    case = rows(
        "h = MatMul(x, W) r = Relu(h) g = MatMul(r, U) y = MatMul(g, V)",
        [],
        W=(8, 6),
        U=(6, 5),
        V=(5, 4),
    )
    model = case.model()
    model.graph.output.append(helper.make_tensor_value_info("r", 1, ["n", 6]))
    units = assert_units_go(model, case.X, rng)
    assert [signal.name for signal in units.signals] == ["U"]


SHARED = {
    "scale of two signals": (
        (
            "h = MatMul(x, W) g = MatMul(x, U) a = Mul(h, c) b = Mul(g, c) k = Tanh(b) "
            "d = MatMul(a, V) e = MatMul(k, V2) y = Add(d, e)"
        ),
        {"W": (8, 6), "U": (8, 6), "c": (6,), "V": (6, 4), "V2": (6, 4)},
        [6, 6],
        {},
    ),
    "scale of a signal that stays": (
        (
            "h = MatMul(x, W) a = Mul(h, c) b = Mul(x, c) d = MatMul(a, V) e = MatMul(b, U) "
            "y = Add(d, e)"
        ),
        {"W": (8, 8), "c": (8,), "V": (8, 4), "U": (8, 4)},
        [8],
        {},
    ),
    "scale that is an output": (
        "h = MatMul(x, W) a = Mul(h, c) z = Identity(c) y = MatMul(a, V)",
        {"W": (8, 6), "c": (6,), "V": (6, 4)},
        [6],
        {},
    ),
    "map of a signal that stays": (
        (
            "h = MatMul(x, W) u = Unsqueeze(h, one) a = Mul(u, c) v = Unsqueeze(x, one) "
            "b = Mul(v, c) d = MatMul(a, V) e = MatMul(b, U) y = Add(d, e)"
        ),
        {"W": (8, 8), "c": (3, 8), "V": (8, 4), "U": (8, 4), "one": [1]},
        [],
        {"W": "c is read elsewhere too"},
    ),
    "map of two signals": (
        (
            "h = MatMul(x, W) u = Unsqueeze(h, one) a = Mul(u, c) g = MatMul(x, U) r = Relu(g) "
            "v = Unsqueeze(r, one) b = Mul(v, c) d = MatMul(a, V) e = MatMul(b, V2) y = Add(d, e)"
        ),
        {"W": (8, 6), "c": (3, 6), "V": (6, 4), "V2": (6, 4), "U": (8, 6), "one": [1]},
        [6],
        {},
    ),
    "weights that two layers write with": (
        (
            "u = Tanh(x) h = MatMul(x, W) g = MatMul(u, W) r = Relu(g) a = MatMul(h, V) "
            "b = MatMul(r, U) y = Add(a, b)"
        ),
        {"W": (8, 6), "V": (6, 4), "U": (6, 4)},
        [6],
        {},
    ),
    "weights that two layers read with": (
        "h = MatMul(x, W) r = Relu(h) a = MatMul(h, V) b = MatMul(r, V) y = Add(a, b)",
        {"W": (8, 6), "V": (6, 4)},
        [],
        {"W": "V reads them, which cannot be pruned"},
    ),
}


@pytest.mark.filterwarnings("ignore:.*read elsewhere too:UserWarning")
@pytest.mark.parametrize(
    ("text", "constants", "widths", "reasons"),
    [pytest.param(*value, id=name) for name, value in SHARED.items()],
)
def test_shared_constants_are_cut_once(
    text: str,
    constants: dict[str, Any],
    widths: list[int],
    reasons: dict[str, str],
    rng: np.random.Generator,
) -> None:
    case = rows(text, widths, **constants)
    model = case.model()
    if "z = " in text:
        model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
        model = onnx.shape_inference.infer_shapes(model)
    units = assert_units_go(model, case.X, rng)
    assert [len(signal.units) for signal in units.signals] == widths
    assert reasons.items() <= units.left_out.items()


SHAPES_OF_TWO = {
    "constant": "a = Reshape(h, shape) r = Relu(a) g = MatMul(r, U) b = Reshape(g, shape)",
    "computed": (
        "n = Shape<start=0, end=1>(x) s = Concat<axis=0>(n, six) a = Reshape(h, s) r = Relu(a) "
        "g = MatMul(r, U) b = Reshape(g, s)"
    ),
}


@pytest.mark.parametrize("shapes", SHAPES_OF_TWO.values(), ids=[*SHAPES_OF_TWO])
def test_shapes_that_two_nodes_read(shapes: str, rng: np.random.Generator) -> None:
    case = rows(
        f"h = MatMul(x, W) {shapes} k = Tanh(b) y = MatMul(k, V)",
        [6, 6],
        W=(8, 6),
        U=(6, 6),
        V=(6, 4),
        shape=[-1, 6],
        six=[6],
    )
    units = assert_units_go(case.model(), case.X, rng)
    assert [len(signal.units) for signal in units.signals] == case.widths


def test_all_units_stay() -> None:
    case = CASES["reshape, computed"]
    model = case.model()
    view = as_view(model)
    units = view.find_units(case.X)
    assert units is not None
    assert view.keep_units(model, units, np.ones(units.n_units, dtype=bool)) == model


OLDER = {
    "split": (
        [
            ("Conv", "x K", "h"),
            ("Split", "h", "a b", {"axis": 1, "split": [4, 2]}),
            ("Relu", "a", "r"),
            ("Conv", "r A", "c"),
            ("Conv", "b B", "d"),
            ("Add", "c d", "y"),
        ],
        {"K": (6, 3, 3, 3), "A": (5, 4, 3, 3), "B": (5, 2, 3, 3)},
        11,
    ),
    "equal parts": (
        [
            ("Conv", "x K", "h"),
            ("Split", "h", "a b", {"axis": 1}),
            ("Relu", "a", "r"),
            ("Conv", "r A", "c"),
            ("Conv", "b B", "d"),
            ("Add", "c d", "y"),
        ],
        {"K": (6, 3, 3, 3), "A": (5, 3, 3, 3), "B": (5, 3, 3, 3)},
        17,
    ),
    "slice": (
        [
            ("Conv", "x K", "h"),
            ("Slice", "h", "a", {"axes": [1, 2], "starts": [2, 1], "ends": [5, 4]}),
            ("Conv", "a A", "y"),
        ],
        {"K": (6, 3, 3, 3), "A": (5, 3, 3, 3)},
        9,
    ),
    "squeezed": (
        [
            ("Conv", "x K", "h"),
            ("ReduceMean", "h", "m", {"axes": [2, -1]}),
            ("Squeeze", "m", "s", {"axes": [2, 3]}),
            ("Unsqueeze", "s", "u", {"axes": [1]}),
            ("ReduceMean", "u", "t", {"axes": [1], "keepdims": 0}),
            ("MatMul", "t V", "y"),
        ],
        {"K": (6, 3, 3, 3), "V": (6, 4)},
        11,
    ),
    "softmax of the last": (
        [
            ("Conv", "x K", "h"),
            ("Softmax", "h", "p", {"axis": 2}),
            ("Conv", "p A", "y"),
        ],
        {"K": (6, 3, 3, 3), "A": (5, 6, 3, 3)},
        11,
    ),
    "upsampled": (
        [("Conv", "x K", "h"), ("Upsample", "h scales", "u"), ("Conv", "u A", "y")],
        {"K": (6, 3, 3, 3), "A": (5, 6, 3, 3), "scales": [1, 1, 2, 2]},
        9,
    ),
}


@pytest.mark.parametrize(
    ("nodes", "shapes", "opset"), [pytest.param(*value, id=name) for name, value in OLDER.items()]
)
def test_older_operators(
    nodes: list[Any], shapes: dict[str, Any], opset: int, rng: np.random.Generator
) -> None:
    arrays = {
        name: np.float32(given) if isinstance(given, list) else np.float32(rng.normal(size=given))
        for name, given in shapes.items()
    }
    options = {"opset_imports": [helper.make_opsetid("", opset)]}
    model = build(nodes, arrays, ["n", 3, 8, 8], ["y"], **options)
    units = assert_units_go(model, rng.normal(size=(3, 3, 8, 8)).astype(np.float32), rng)
    assert sum(len(signal.units) for signal in units.signals) in (3, 6)


def test_constants_that_may_be_given_are_declared_smaller(rng: np.random.Generator) -> None:
    model = CASES["gemm"].model()
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer
    )
    view = as_view(model)
    units = view.find_units(CASES["gemm"].X)
    assert units is not None
    kept = np.arange(6) != 2
    smaller = view.keep_units(model, units, kept)
    declared = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in smaller.graph.input
    }
    assert declared | {"W": [8, 5], "b": [5], "V": [5, 4]} == declared
    onnx.checker.check_model(smaller, full_check=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_precisions(dtype: type, rng: np.random.Generator) -> None:
    nodes = [("MatMul", "x W", "h"), ("Relu", "h", "r"), ("MatMul", "r V", "y")]
    arrays = {
        "W": rng.normal(size=(8, 6)).astype(dtype),
        "V": rng.normal(size=(6, 4)).astype(dtype),
    }
    model = build(nodes, arrays, ["n", 8], ["y"], dtype)
    X = rng.normal(size=(3, 8)).astype(dtype)
    units = assert_units_go(model, X, rng, {np.float64: 1e-14, np.float16: 1e-2}[dtype])
    assert units.n_units == 6


@pytest.mark.parametrize("batch", [1, 4])
def test_heads_beside_samples(batch: int, rng: np.random.Generator) -> None:
    case = Case(
        "q = MatMul(x, Q) k = MatMul(x, K) v = MatMul(x, V) qm = Reshape(q, merged) "
        "km = Reshape(k, merged) vm = Reshape(v, merged) qt = Transpose<perm=[1,0,2]>(qm) "
        "kt = Transpose<perm=[1,2,0]>(km) vt = Transpose<perm=[1,0,2]>(vm) s = MatMul(qt, kt) "
        "p = Softmax(s) a = MatMul(p, vt) b = Reshape(a, apart) t = Transpose<perm=[2,0,1,3]>(b) "
        "j = Reshape(t, together) y = MatMul(j, O)",
        f"float[5,{batch},8] x",
        [3],
        {
            **HEAD,
            "merged": [5, 3 * batch, 4],
            "apart": [batch, 3, 5, 4],
            "together": [5, batch, 12],
        },
    )
    X = rng.normal(size=(5, batch, 8)).astype(np.float32)
    units = assert_units_go(case.model(), X, rng)
    assert [len(signal.units) for signal in units.signals] == case.widths


def test_units_merged_with_all_that_lies_around(rng: np.random.Generator) -> None:
    case = Case(
        "h = MatMul(x, W) u = Unsqueeze(h, last) e = Expand(u, twice) f = Reshape(e, flat) "
        "b = Reshape(f, back) y = MatMul(b, V)",
        "float[4,5,8] x",
        [6],
        {
            "W": (8, 6),
            "V": (12, 3),
            "last": [3],
            "twice": [1, 1, 1, 2],
            "flat": [240],
            "back": [4, 5, 12],
        },
    )
    units = assert_units_go(case.model(), rng.normal(size=(4, 5, 8)).astype(np.float32), rng)
    assert [len(signal.units) for signal in units.signals] == case.widths


@pytest.mark.parametrize("batch", [1, 4])
def test_models_of_a_fixed_number_of_samples(batch: int, rng: np.random.Generator) -> None:
    case = CASES["reshape to fixed"]._replace(inputs=f"float[{batch},3,8,8] x")
    case = case._replace(constants={**case.constants, "shape": [batch, 24]})
    X = rng.normal(size=(batch, 3, 8, 8)).astype(np.float32)
    units = assert_units_go(case.model(), X, rng)
    assert units.n_units == 6


def test_operations_are_multiplications_of_a_sample() -> None:
    case = CASES["conv"]
    view = as_view(case.model())
    units = view.find_units(case.X)
    assert units is not None
    kept = np.arange(6) < 4
    # 6 x 6 positions of 3 x 3 x 3 weights for each channel, 4 x 4 of 3 x 3 for each pair of them
    assert units.operations(kept) == 36 * 27 * 4 + 16 * 9 * 4 * 4


def test_a_model_is_not_changed() -> None:
    case = CASES["heads"]
    model = case.model()
    before = model.SerializeToString()
    view = as_view(model)
    units = view.find_units(case.X)
    assert units is not None
    kept = np.arange(3) > 0
    view.keep_units(unread(view, units, kept), units, kept)
    assert model.SerializeToString() == before


def test_models_of_several_inputs(rng: np.random.Generator) -> None:
    arrays = {"W": (8, 6), "U": (4, 6), "V": (6, 3)}
    model = parsed(
        "h = MatMul(x, W) g = MatMul(z, U) a = Add(h, g) r = Relu(a) y = MatMul(r, V)",
        "float[n,8] x, float[n,4] z",
        **{name: rng.normal(size=shape).astype(np.float32) for name, shape in arrays.items()},
    )
    feed = {
        name: rng.normal(size=(3, size)).astype(np.float32) for name, size in (("x", 8), ("z", 4))
    }
    view = as_view(model)
    units = view.find_units(view.calibration(feed, "X"))
    assert units is not None
    kept = np.arange(6) != 4
    whole = unread(view, units, kept)
    smaller = view.keep_units(whole, units, kept)
    assert [tuple(t.dims) for t in smaller.graph.initializer] == [(8, 5), (4, 5), (5, 3)]
    one, other = (
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, feed
        )[0]
        for m in (smaller, whole)
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * np.abs(other).max())


def test_models_without_layers_have_no_units(rng: np.random.Generator) -> None:
    view = as_view(parsed("y = Relu(x)"))
    units = view.find_units(rng.normal(size=(3, 8)))
    assert units is not None
    assert units.n_units == 0


def test_constants_read_in_a_body_stay(rng: np.random.Generator) -> None:
    case = rows(
        "h = MatMul(x, W) a = Mul(h, c) s = ReduceMax<keepdims=0>(x) p = Greater(s, zero) "
        "b = If(p) <then_branch = g () => (float[] o) { o = ReduceSum(c) }, "
        "else_branch = f () => (float[] o) { o = ReduceMax(c) }> d = MatMul(a, V) y = Add(d, b)",
        [],
        zero=np.float32(0),
        c=(6,),
        **DENSE,
    )
    model = parsed(case.text, case.inputs, **{t.name: t for t in case.model().graph.initializer})
    view = as_view(model)
    units = view.find_units(case.X)
    assert units is not None
    kept = np.arange(units.n_units) > 0
    whole = unread(view, units, kept)
    np.testing.assert_allclose(
        *(outputs(m, case.X)[0] for m in (view.keep_units(whole, units, kept), whole)), rtol=1e-5
    )
