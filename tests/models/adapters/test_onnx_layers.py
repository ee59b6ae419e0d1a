"""Layers of ONNX models are what onnxruntime computes, whatever words they are written in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import as_view
from support.networks import trim

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import numpy_helper

from nettrim.models.adapters import onnx as adapter
from support.onnx_models import (
    BN,
    BN4,
    GROUPED,
    IMAGE,
    K1,
    K2,
    NORM,
    ROWS,
    Arrays,
    B,
    Node,
    W,
    assert_sound,
    build,
    conv,
    run,
)


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
    left = "[(]W: .+[)]" if arrays else ""
    with pytest.raises(ValueError, match=f"^model has no prunable layer ?{left}$"):
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
