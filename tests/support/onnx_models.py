"""Small ONNX models, and what onnxruntime computes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper

from nettrim import Network
from nettrim.models.model_view import as_view

Arrays = Mapping[str, np.ndarray]
Node = tuple[Any, ...]  # operator, inputs, outputs and, if there are any, attributes


def build(
    nodes: Sequence[Node],
    arrays: Arrays,
    shape: Sequence[int | str | None],
    outputs: Sequence[str] = ("y",),
    dtype: type = np.float32,
    **options: Any,
) -> onnx.ModelProto:
    """A model with one input x; arrays become initializers."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    result = helper.np_dtype_to_tensor_dtype(np.dtype(options.pop("result", dtype)))
    graph = helper.make_graph(
        [
            helper.make_node(op, reads.split(), writes.split(), **(rest[0] if rest else {}))
            for op, reads, writes, *rest in nodes
        ],
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, result, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    options = {"ir_version": 8, "opset_imports": [helper.make_opsetid("", 17)], **options}
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, **options))
    del model.graph.value_info[:]
    return model


def run(model: onnx.ModelProto, X: np.ndarray, output: str | None = None) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return session.run(None if output is None else [output], {name: X})[0]


def parsed(
    text: str, inputs: str = "float[n,8] x", outputs: str = "float[] y", **arrays: Any
) -> onnx.ModelProto:
    """A model in ONNX's own words; arrays, or tensors as they are, become initializers."""
    head = '<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>'
    model = onnx.parser.parse_model(f"{head} net ({inputs}) => ({outputs}) {{ {text} }}")
    for name, value in arrays.items():
        given = isinstance(value, onnx.TensorProto)
        tensor = value if given else numpy_helper.from_array(np.asarray(value), name)
        tensor.name = name
        model.graph.initializer.append(tensor)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


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
