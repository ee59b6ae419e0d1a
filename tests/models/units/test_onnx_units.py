"""Units of ONNX models that can go, operator by operator."""

from __future__ import annotations

import numpy as np
import pytest

from nettrim.models.model_view import as_view

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import helper

from support.onnx_unit_cases import (
    CONV,
    DENSE,
    HEAD,
    HEADS,
    INDICES,
    NORM,
    PACKED,
    TOKENS,
    Case,
    images,
    rows,
    sequences,
)
from support.onnx_units import assert_units_go, unread

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


def test_all_units_stay() -> None:
    case = CASES["reshape, computed"]
    model = case.model()
    view = as_view(model)
    units = view.find_units(case.X)
    assert units is not None
    assert view.keep_units(model, units, np.ones(units.n_units, dtype=bool)) == model


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
