"""Networks of dense layers as ONNX models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nettrim import Network


def onnx_model(network: Network) -> Any:
    """A network of dense layers as an ONNX model, its layers called as in the network."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    nodes, tensors, signal = [], [], "input"
    for name, layer in zip(network.names, network.layers, strict=True):
        arrays = {f"{name}.W": layer.weights, f"{name}.b": layer.bias}
        tensors += [
            onnx.numpy_helper.from_array(array.astype(np.float32), key)
            for key, array in arrays.items()
        ]
        nodes.append(onnx.helper.make_node("Gemm", [signal, *arrays], [f"{name}.sum"], name))
        signal = f"{name}.sum"
        if layer.activation == "relu":
            nodes.append(onnx.helper.make_node("Relu", [signal], [f"{name}.out"]))
            signal = f"{name}.out"
    first, last = network.layers[0].n_features, network.layers[-1].n_outputs
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("input", 1, ["N", first])],
        [onnx.helper.make_tensor_value_info(signal, 1, ["N", last])],
        tensors,
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
