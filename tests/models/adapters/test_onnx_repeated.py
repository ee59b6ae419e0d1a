"""Dense layers that several nodes of an ONNX model compute are pruned on what all of these meet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim.models.model_view import as_view
from support.networks import trim

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from nettrim.models.adapters.onnx.layers import find_prunable
from nettrim.models.adapters.onnx.model import OnnxView
from support.onnx_models import assert_sound, parsed, run

G = np.random.default_rng(3)
ARRAYS = {
    "W": G.standard_normal((4, 4)),
    "b": G.standard_normal(4),
    "c": G.standard_normal(4),
    "V": G.standard_normal((8, 3)),
}
HALVES = "l, r = Split<axis=-1, num_outputs=2>(x)"
END = "j = Concat<axis=-1>(p, q) y = MatMul(j, V)"
RELUS = "p = Relu(f) q = Relu(g)"

SHARED = {
    "Gemm": f"{HALVES} f = Gemm(l, W, b) g = Gemm(r, W, b) {RELUS} {END}",
    "MatMul": f"{HALVES} f = MatMul(l, W) g = MatMul(r, W) {RELUS} {END}",
    "MatMul and Add": f"""{HALVES} m = MatMul(l, W) f = Add(m, b) n = MatMul(r, W) g = Add(n, b)
        {RELUS} {END}""",
    "transposed": f"""t = Transpose(W) {HALVES} f = Gemm(l, t, b) g = Gemm(r, t, b)
        {RELUS} {END}""",
    "transposed twice": f"""t = Transpose(W) u = Transpose(W) {HALVES} f = Gemm(l, t, b)
        g = Gemm(r, u, b) {RELUS} {END}""",
    "one ReLU": f"{HALVES} f = Gemm(l, W, b) g = Gemm(r, W, b) p = Relu(f) q = Tanh(g) {END}",
    "chain": """l, r = Split<axis=-1, num_outputs=2>(x) f = Gemm(l, W, b) p = Relu(f)
        g = Gemm(p, W, b) q = Relu(g) j = Concat<axis=-1>(q, r) y = MatMul(j, V)""",
    "other biases": f"{HALVES} f = Gemm(l, W, b) g = Gemm(r, W, c) {RELUS} {END}",
    "a bias and none": f"{HALVES} f = Gemm(l, W, b) g = MatMul(r, W) {RELUS} {END}",
    "other biases, added": f"""{HALVES} m = MatMul(l, W) f = Add(m, b) n = MatMul(r, W)
        g = Add(n, c) {RELUS} {END}""",
    "another factor of the bias": f"""{HALVES} f = Gemm(l, W, b) g = Gemm<beta=2.0>(r, W, b)
        {RELUS} {END}""",
    "a bias that others read": f"""{HALVES} s = Add(l, b) f = Gemm(s, W, b) g = Gemm(r, W, b)
        {RELUS} {END}""",
}


def model_of(text: str, **arrays: Any) -> onnx.ModelProto:
    used = {name: value for name, value in {**ARRAYS, **arrays}.items() if name in text}
    return onnx.shape_inference.infer_shapes(parsed(text, "double[n,8] x", "double[] y", **used))


def samples(n_samples: int = 60) -> Any:
    return np.random.default_rng(4).standard_normal((n_samples, 8))


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_what_is_reported_is_so_of_the_result(kind: str, scheme: str) -> None:
    model, X = model_of(SHARED[kind]), samples()
    for goal in ({"epsilon": 0.1}, {"sparsity": 0.5}):
        result = trim(model, X, scheme=scheme, **goal)
        assert len(result.layers) == 2
        assert_sound(result, X)
        before, after = run(model, X), run(result.model, X)
        moved = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert result.discrepancy == pytest.approx(moved, rel=1e-6)
        assert not result.untouched
    assert [layer.shape for layer in result.layers] == [(4, 4), (8, 3)]
    assert result.sparsity == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("kind", ["Gemm", "MatMul and Add", "transposed", "transposed twice"])
def test_the_program_is_that_of_all_calls_together(kind: str) -> None:
    model, X = model_of(SHARED[kind]), samples()
    result = trim(model, X, epsilon=0.2, layers=[0], tol=1e-8)
    rows = np.column_stack([X.reshape(-1, 4), np.ones(120)])
    matrix = ARRAYS["W"].T if "transposed" in kind else ARRAYS["W"]
    Y = np.maximum(rows @ np.vstack([matrix, ARRAYS["b"]]), 0.0)
    alone = nettrim.solve_layer(rows, Y, epsilon=0.2 * float(np.linalg.norm(Y)), tol=1e-8)
    (new, *_) = as_view(result.model).prunable_layers()
    np.testing.assert_allclose(new.affine.stacked, alone.weights, atol=1e-6)
    assert result.layers[0].n_rows == 120


def test_what_follows_only_some_calls_is_no_part_of_the_layer() -> None:
    (layer, *_) = as_view(model_of(SHARED["one ReLU"])).prunable_layers()
    assert layer.activation == "linear"
    (layer, *_) = as_view(model_of(SHARED["Gemm"])).prunable_layers()
    assert layer.activation == "relu"
    assert not layer.affine.fixed_bias
    (layer, *_) = as_view(model_of(SHARED["a bias that others read"])).prunable_layers()
    assert layer.affine.fixed_bias


def test_the_program_of_calls_with_other_biases_is_that_without_any() -> None:
    model, X = model_of(SHARED["other biases"]), samples()
    result = trim(model, X, epsilon=0.2, layers=[0], tol=1e-8)
    rows = X.reshape(-1, 4)
    Y = rows @ ARRAYS["W"]
    epsilon = 0.2 * float(np.linalg.norm(Y))
    alone = nettrim.solve_layer(rows, Y, epsilon=epsilon, activation="linear", tol=1e-8)
    (new, *_) = as_view(result.model).prunable_layers()
    assert new.affine.bias is None
    np.testing.assert_allclose(new.affine.weights, alone.weights, atol=1e-6)
    for name in "bc":
        (kept,) = (t for t in result.model.graph.initializer if t.name == name)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(kept), ARRAYS[name])


KERNELS = {
    "K": G.standard_normal((4, 2, 3, 3)),
    "k": G.standard_normal(4),
    "o": G.standard_normal(4),
    "D": G.standard_normal((4, 1, 3, 3)),
    "V": G.standard_normal((4, 2)),
}
POOLED = "p = GlobalAveragePool(r) q = GlobalAveragePool(s) a = Add(p, q) z = Flatten(a) y = MatMul"
POOLED += "(z, V)"
CONVOLUTIONS = {
    "of two sizes": f"""h = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) f = Conv(x, K, k)
        g = Conv<pads=[1,1,1,1]>(h, K, k) r = Relu(f) s = Relu(g) {POOLED}""",
    "other biases": f"""h = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) f = Conv(x, K, k)
        g = Conv<pads=[1,1,1,1]>(h, K, o) r = Relu(f) s = Relu(g) {POOLED}""",
    "a bias and none, strides": f"""f = Conv<strides=[2,2]>(x, K, k) g = Conv<dilations=[2,2]>(x, K)
        r = Relu(f) s = Relu(g) {POOLED}""",
    "groups": f"""h = Concat<axis=1>(x, x) f = Conv<group=4>(h, D, k) g = Conv<group=4>(f, D, o)
        r = Relu(f) s = Relu(g) {POOLED}""",
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("goal", [{"epsilon": 0.1}, {"sparsity": 0.5}])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_convolutions_of_one_kernel(kind: str, goal: dict[str, float], scheme: str) -> None:
    text = CONVOLUTIONS[kind]
    used = {name: value.astype(np.float32) for name, value in KERNELS.items() if name in text}
    model = onnx.shape_inference.infer_shapes(parsed(text, "float[n,2,8,8] x", "float[] y", **used))
    X = np.random.default_rng(5).standard_normal((12, 2, 8, 8), dtype=np.float32)
    result = trim(model, X, scheme=scheme, **goal)
    names = {"D" if kind == "groups" else "K", "V"}
    assert {layer.name for layer in result.layers} == names
    assert not result.untouched
    assert_sound(result, X)
    before, after = run(model, X), run(result.model, X)
    moved = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(moved, rel=1e-4)  # of float32
    rows = {"of two sizes": 36 + 16, "other biases": 36 + 16, "groups": 36 + 16}
    assert result.layers[0].n_rows == 12 * rows.get(kind, 9 + 16)
    layer = as_view(model).prunable_layers()[0]
    assert layer.activation == ("relu" if kind == "of two sizes" else "linear")


def test_the_output_of_a_layer_with_a_bias_of_its_own() -> None:
    text = "l, r = Split<axis=-1, num_outputs=2>(x) f = Gemm(l, W, b) y = Gemm(f, W, c)"
    model, X = model_of(text), samples()
    result = trim(model, X, epsilon=0.1)
    before, after = run(model, X), run(result.model, X)
    np.testing.assert_allclose(before, [*as_view(model).signals(X, {})][-1].values, rtol=1e-12)
    moved = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(moved, rel=1e-6)


def test_how_far_signals_follow_a_layer_of_two_calls() -> None:
    shared, last, _ = as_view(model_of(SHARED["Gemm"])).signals(samples(), {})
    assert shared.values.shape == (60, 2, 4)
    assert shared.lipschitz == {}
    assert last.lipschitz == {0: pytest.approx(2.0)}
    text = f"h = MatMul(x, H) {SHARED['Gemm'].replace('(x)', '(h)')}"
    _, shared, *_ = as_view(model_of(text, H=np.eye(8))).signals(samples(), {})
    assert shared.lipschitz == {0: pytest.approx(math.sqrt(2))}
    shared, last, _ = as_view(model_of(SHARED["chain"])).signals(samples(), {})
    assert shared.lipschitz == {0: math.inf, 1: math.inf}
    assert last.lipschitz[0] == math.inf


def test_a_layer_meets_its_own_new_outputs() -> None:
    model, X = model_of(SHARED["chain"]), samples()
    view = as_view(model)
    halved = view.prunable_layers()[0].affine
    halved = halved.replaced(halved.stacked / 2)
    first, *_ = view.signals(X, {0: halved})
    expected = np.maximum(X[:, :4] @ ARRAYS["W"] / 2 + ARRAYS["b"] / 2, 0.0)
    np.testing.assert_allclose(first.values[:, 1], expected, atol=1e-12)


def test_calls_on_different_numbers_of_rows() -> None:
    text = """s = Reshape(x, many) r = Slice(x, zero, four, one) k = MatMul(r, W) f = Add(k, b)
        m = MatMul(s, W) a = Add(m, b) t = Reshape(a, few) j = Concat<axis=-1>(t, f)
        y = MatMul(j, V)"""
    numbers = {"many": [-1, 2, 4], "few": [-1, 8], "zero": [0], "four": [4], "one": [1]}
    arrays = {name: np.array(value) for name, value in numbers.items()}
    model = model_of(text, **arrays, V=G.standard_normal((12, 3)))
    (signal, *_) = as_view(model).signals(samples(), {})
    assert signal.values.shape == (60, 3, 4)
    result = trim(model, samples(), sparsity=0.5)
    assert len(result.layers) == 2
    assert result.layers[0].n_rows == 180


LEFT = {
    "the other way round": f"""{HALVES} f = Gemm(l, W, b) g = Gemm<transB=1>(r, W, b)
        {RELUS} {END}""",
    "added as well": f"""{HALVES} f = Gemm(l, W, b) g = Gemm(r, W, b) o = ReduceSum(W)
        k = Add(g, o) p = Relu(f) q = Relu(k) {END}""",
    "another factor": f"""{HALVES} f = Gemm<alpha=2.0>(l, W, b) g = Gemm(r, W, b) {RELUS}
        {END}""",
    "no data": f"""{HALVES} f = Gemm(l, W, b) k = Gemm(C, W, b) g = Add(r, k) {RELUS} {END}""",
}


@pytest.mark.parametrize("kind", LEFT)
def test_calls_that_are_not_alike_are_named_and_left_alone(kind: str) -> None:
    model = model_of(LEFT[kind], C=G.standard_normal((1, 4)))
    names = [layer.name for layer in find_prunable(OnnxView(model)._graph)][:2]
    moving = names[:1] if kind == "no data" else names
    with pytest.warns(UserWarning, match=f"the weights of {', '.join(moving)} are read elsewhere"):
        result = trim(model, samples(), epsilon=0.1)
    assert len(result.layers) == 1
    assert {weight.name for weight in result.untouched} >= {"W"}
    assert result.model.graph.initializer[0] == model.graph.initializer[0]


def test_units_of_repeated_layers_stay() -> None:
    units = as_view(model_of(SHARED["Gemm"])).find_units(samples())
    assert units is not None
    assert {layer.layer for layer in units.layers} <= {"V"}
