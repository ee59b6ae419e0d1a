"""Small ONNX models, and what onnxruntime computes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper

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
