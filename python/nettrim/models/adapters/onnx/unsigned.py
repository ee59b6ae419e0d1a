"""Products of whole numbers that no processor cuts off.

A processor with AVX2 but without VNNI adds two products of uint8 by int8 in 16 bits and saturates,
so that onnxruntime computes something else there than the model says. It does not for uint8 by
uint8: weights and their zero point, both larger by 128, are the same numbers.
"""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Values, constants, has_input

__all__ = ["make_unsigned"]

# Where operators have the zero point of the signal, the weights, and the zero point of these.
PLACES = {
    "MatMulInteger": (2, 1, 3),
    "ConvInteger": (2, 1, 3),
    "QLinearMatMul": (2, 3, 5),
    "QLinearConv": (2, 3, 5),
    "QGemm": (2, 3, 5),
}


def make_unsigned(graph: onnx.GraphProto) -> None:
    """Give a graph weights of uint8 where signals of uint8 meet weights of int8."""
    stored = constants(graph)
    unsigned = {name for name, t in stored.items() if t.data_type == onnx.TensorProto.UINT8}
    unsigned |= {n.output[2] for n in graph.node if n.op_type == "DynamicQuantizeLinear"}
    shifted: dict[str, Values] = {}

    def shift(tensor: onnx.TensorProto | None, name: str) -> str:
        values = np.int8(0) if tensor is None else onnx.numpy_helper.to_array(tensor)
        shifted[f"{name} + 128"] = np.asarray(values).view(np.uint8) ^ np.uint8(128)
        return f"{name} + 128"

    for node in graph.node:
        signal, weights, zero = PLACES.get(node.op_type, (0, 0, 0))
        if not weights or not has_input(node, signal) or node.input[signal] not in unsigned:
            continue
        tensor, zeros = stored.get(node.input[weights]), None
        if has_input(node, zero):
            zeros = stored.get(node.input[zero])
            if zeros is None:
                continue
        if tensor is not None and tensor.data_type == onnx.TensorProto.INT8:
            node.input.extend([""] * (zero + 1 - len(node.input)))
            node.input[zero] = shift(zeros, node.input[zero])
            node.input[weights] = shift(tensor, node.input[weights])
    graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in shifted.items())
