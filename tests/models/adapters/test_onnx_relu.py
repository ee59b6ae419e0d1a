"""ReLUs of ONNX models in other words, and what only looks like one; precision behind factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.networks import trim

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper

from nettrim.models.adapters.onnx import view
from support.onnx_models import Arrays, Node, build, run

ZERO, SIX, LARGEST = np.float32(0), np.float32(6), np.finfo(np.float32).max

RELUS: dict[str, tuple[Node, Arrays]] = {
    "relu": (("Relu", "z", "y"), {}),
    "clip from 0": (("Clip", "z low", "y"), {"low": ZERO}),
    "clip to the largest": (("Clip", "z low high", "y"), {"low": ZERO, "high": LARGEST}),
    "clip to infinity": (("Clip", "z low high", "y"), {"low": ZERO, "high": np.float32(np.inf)}),
    "maximum": (("Max", "z low", "y"), {"low": ZERO}),
    "maximum, the other way": (("Max", "low z", "y"), {"low": np.zeros((1, 1), "f4")}),
    "leaky": (("LeakyRelu", "z", "y", {"alpha": 0.0}), {}),
    "elu": (("Elu", "z", "y", {"alpha": 0.0}), {}),
    "threshold": (("ThresholdedRelu", "z", "y", {"alpha": 0.0}), {}),
    "slopes": (("PRelu", "z low", "y"), {"low": np.zeros(4, "f4")}),
}
OTHERS: dict[str, tuple[Node, Arrays]] = {
    "clip to 6": (("Clip", "z low high", "y"), {"low": ZERO, "high": SIX}),
    "clip from below": (("Clip", "z low", "y"), {"low": -SIX}),
    "clip from above": (("Clip", "z  high", "y"), {"high": SIX}),
    "clip of nothing": (("Clip", "z", "y"), {}),
    "maximum with 6": (("Max", "z low", "y"), {"low": SIX}),
    "maximum of three": (("Max", "z low high", "y"), {"low": ZERO, "high": SIX}),
    "maximum with more axes": (("Max", "z low", "y"), {"low": np.zeros((2, 1, 1), "f4")}),
    "leaky": (("LeakyRelu", "z", "y"), {}),
    "elu": (("Elu", "z", "y"), {}),
    "threshold": (("ThresholdedRelu", "z", "y", {"alpha": 0.5}), {}),
    "slopes": (("PRelu", "z low", "y"), {"low": np.array([0, 0, 0.1, 0], "f4")}),
}


def behind_a_layer(rng: np.random.Generator, node: Node, arrays: Arrays) -> Any:
    operator, reads, *rest = node
    W = rng.standard_normal((6, 4)).astype("f4")
    nodes = [("MatMul", "x W", "z"), (operator, reads, *rest)]
    if operator == "Clip" and "  " in reads:  # an input that is left out in the middle
        model = build([nodes[0], (operator, "z zz high", *rest)], {"W": W, **arrays}, ["n", 6])
        model.graph.node[1].input[1] = ""
        return model
    return build(nodes, {"W": W, **arrays}, ["n", 6])


@pytest.mark.parametrize("kind", RELUS)
def test_a_relu_in_any_words(rng: np.random.Generator, kind: str) -> None:
    model = behind_a_layer(rng, *RELUS[kind])
    X = rng.standard_normal((50, 6)).astype("f4")
    (layer,) = view(model).prunable_layers()
    assert layer.activation == "relu"
    np.testing.assert_allclose(layer.respond(layer.affine, X), run(model, X), atol=1e-5)
    result = trim(model, X, epsilon=0.2)
    assert result.outputs[0].runtime_discrepancy == pytest.approx(result.discrepancy, rel=1e-4)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_relu(rng: np.random.Generator, kind: str) -> None:
    model = behind_a_layer(rng, *OTHERS[kind])
    (layer,) = view(model).prunable_layers()
    assert layer.activation == "linear"


@pytest.mark.parametrize(
    "options", [{"min": 0.0}, {"min": 0.0, "max": float(LARGEST)}, {"max": 6.0}]
)
def test_bounds_of_old_versions(rng: np.random.Generator, options: dict[str, float]) -> None:
    W = rng.standard_normal((6, 4)).astype("f4")
    nodes = [("MatMul", "x W", "z"), ("Clip", "z", "y", options)]
    opset = [helper.make_opsetid("", 10)]
    model = build(nodes, {"W": W}, ["n", 6], opset_imports=opset)
    (layer,) = view(model).prunable_layers()
    assert layer.activation == ("relu" if "min" in options else "linear")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("kind", ["conv and norm", "gemm with a factor"])
def test_factors_leave_the_precision_of_the_weights(
    rng: np.random.Generator, kind: str, dtype: type
) -> None:
    norm = {name: rng.random(4).astype(dtype) + dtype(0.5) for name in ("s", "b", "m", "v")}
    if kind == "conv and norm":
        W, shape = rng.standard_normal((4, 2, 3)).astype(dtype), (2, 9)
        nodes = [("Conv", "x W", "c"), ("BatchNormalization", "c s b m v", "n"), ("Relu", "n", "y")]
    else:
        W, shape = rng.standard_normal((6, 4)).astype(dtype), (6,)
        nodes = [("Gemm", "x W b", "y", {"alpha": 0.3})]
        norm = {"b": norm["b"]}
    model = build(nodes, {"W": W, **norm}, ["n", *shape], dtype=dtype)
    X = rng.standard_normal((60, *shape))
    own = view(model)
    (layer,) = own.prunable_layers()
    assert layer.affine.precision.name == np.dtype(dtype).name
    # An answer is what the model can store: written and read again it is the same.
    answer = layer.affine.replaced(layer.affine.stacked * rng.random(layer.affine.stacked.shape))
    assert answer.precision == layer.affine.precision
    (again,) = view(own.with_weights({0: answer})).prunable_layers()
    np.testing.assert_allclose(again.affine.weights, answer.weights, rtol=1e-14)
    result = trim(model, X, epsilon=0.1)
    assert result.discrepancy <= result.bound
