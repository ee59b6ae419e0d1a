"""Weights of an ONNX model that no prunable layer holds: which they are, how large, and why."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import onnx

from ...layer_view import Untouched
from .graph import (
    OnnxGraph,
    Values,
    attributes,
    constants,
    has_input,
    is_standard,
    subgraphs,
    to_dense,
)

__all__ = ["list_untouched"]

_TYPES = onnx.TensorProto.DataType
FLOATING = {kind for name, kind in _TYPES.items() if "FLOAT" in name or name == "DOUBLE"}
QUANTISED = {kind for name, kind in _TYPES.items() if name.lstrip("U") in ("INT2", "INT4", "INT8")}

SEEN_THROUGH = ("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")
BY_ENTRY = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu", "Where")
RECURRENT = ("LSTM", "GRU", "RNN")
KINDS = {
    **dict.fromkeys(RECURRENT, "recurrent layer"),
    "Gather": "embedding",
    "ConvTranspose": "transposed convolution",
    **dict.fromkeys(["Attention", "MultiHeadAttention", "GroupQueryAttention"], "attention"),
    **dict.fromkeys(["LayerNormalization", "RMSNormalization"], "normalisation"),
    "Add": "added to a signal",
    "Mul": "multiplied into a signal",
}
# Where readers of quantised numbers have them, the zero point to each, and the axis it belongs to.
ZERO_POINTS = {
    "DequantizeLinear": {0: (2, 1)},
    "QLinearMatMul": {0: (2, 0), 3: (5, 1)},
    "MatMulInteger": {0: (2, 0), 1: (3, 1)},
    "QLinearConv": {3: (5, 0)},
    "ConvInteger": {1: (3, 0)},
}
# Where operators read weights that read other things of two dimensions as well: states, scales,
# biases.
WEIGHTS = {
    **{op_type: tuple(places) for op_type, places in ZERO_POINTS.items()},
    **dict.fromkeys(RECURRENT, (1, 2)),
    "QuantizeLinear": (0,),
    "MatMulNBits": (1,),
    "GatherBlockQuantized": (0,),
}


class _Use(NamedTuple):
    """A node that reads a constant, maybe in another order or type.

    Attributes
    ----------
    node : onnx.NodeProto or None
        None stands for the outputs of the model.
    position : int
        Of the input, -1 if it is read in a body that the node has.
    is_cast : bool
    """

    node: onnx.NodeProto | None
    position: int
    is_cast: bool


def list_untouched(graph: OnnxGraph, held: Container[str], moving: set[str]) -> list[Untouched]:
    """Return the weights of two or more dimensions that layers do not hold, in the model's order.

    Weights are floats, unless they belong to single features or are masks, and whole numbers that a
    quantised operator reads.

    Parameters
    ----------
    graph : OnnxGraph
    held : container of str
        Names of the stored tensors of layers.
    moving : set of str
        The tensors that depend on data.
    """
    found = []
    for name, tensor in constants(graph.model.graph).items():
        uses = list(_uses(graph, name))
        if name not in held and len(tensor.dims) > 1 and _is_weight(tensor, uses):
            found.append(_describe(graph, name, tensor, uses, moving))
    for reason, name, tensor in _inside(graph.model):
        if len(tensor.dims) > 1 and tensor.data_type in FLOATING | QUANTISED:
            count = int(np.count_nonzero(_numbers(tensor)))
            found.append(Untouched(name, tuple(tensor.dims), count, reason))
    return found


def _uses(graph: OnnxGraph, name: str, is_cast: bool = False) -> Iterator[_Use]:
    """Yield what reads a tensor, behind nodes that change only its shape or type."""
    for node in {id(node): node for node in graph.readers.get(name, [])}.values():
        if node is None:
            yield _Use(None, 0, is_cast)
        elif is_standard(node, *SEEN_THROUGH) and node.input[0] == name:
            yield from _uses(graph, node.output[0], is_cast or node.op_type == "Cast")
        else:
            places = [k for k, read in enumerate(node.input) if read == name] or [-1]
            yield from (_Use(node, position, is_cast) for position in places)


def _is_weight(tensor: onnx.TensorProto, uses: list[_Use]) -> bool:
    if uses and not any(map(_is_place_of_weights, uses)):
        return False
    if tensor.data_type in QUANTISED:
        return any(use.node is not None and _reads_quantised(use.node) for use in uses)
    if tensor.data_type not in FLOATING or np.prod(tensor.dims) <= 1:
        return False
    if not uses or not all(_is_by_entry(use) for use in uses):
        return True
    is_vector = sum(length > 1 for length in tensor.dims) < 2
    return not is_vector and len(np.unique(_numbers(tensor))) > 2  # a mask says yes or no


def _reads_quantised(node: onnx.NodeProto) -> bool:
    return not is_standard(node, node.op_type) or node.op_type in ZERO_POINTS


def _is_place_of_weights(use: _Use) -> bool:
    return use.node is None or use.position in WEIGHTS.get(use.node.op_type, (use.position,))


def _is_by_entry(use: _Use) -> bool:
    if use.node is None:
        return False
    return is_standard(use.node, *BY_ENTRY) or (is_standard(use.node, "Gemm") and use.position == 2)


def _describe(
    graph: OnnxGraph, name: str, tensor: onnx.TensorProto, uses: list[_Use], moving: set[str]
) -> Untouched:
    reason = _reason(graph, tensor, uses, moving)
    packed = [
        use.node for use in uses if use.node is not None and use.node.op_type == "MatMulNBits"
    ]
    if packed:
        values, zeros = _unpack_nbits(graph, packed[0], tensor)
    else:
        values, zeros = _numbers(tensor), _zeros(graph, tensor, uses)
    return Untouched(name, values.shape, int(np.count_nonzero(values != zeros)), reason)


def _reason(graph: OnnxGraph, tensor: onnx.TensorProto, uses: list[_Use], moving: set[str]) -> str:
    if not uses:
        return "nothing reads it"
    node, position, is_cast = uses[0]
    if node is None:
        return "an output of the model"
    op_type = node.op_type
    if tensor.data_type == onnx.TensorProto.BFLOAT16:
        return "bfloat16"
    if tensor.data_type in QUANTISED or op_type == "QuantizeLinear":
        return f"quantised ({op_type})"
    if position < 0:
        return f"read in the body of {op_type}"
    if any((node.domain, op_type) == (f.domain, f.name) for f in graph.model.functions):
        return f"read in the local function {op_type}"
    if is_cast:
        return f"{_TYPES.Name(tensor.data_type).lower()} behind a Cast"
    if len(uses) > 1:
        return "its weights are read elsewhere too"
    if is_standard(node, "MatMul", "Gemm", "Conv"):
        return _product(graph, node, position, tuple(tensor.dims), moving)
    return f"{KINDS[op_type]} ({op_type})" if op_type in KINDS else f"read by {op_type}"


def _product(
    graph: OnnxGraph, node: onnx.NodeProto, position: int, shape: tuple[int, ...], moving: set[str]
) -> str:
    """Say why the weights of a product are no layer's."""
    op_type = node.op_type
    if moving.isdisjoint(node.output):
        return "no data meet it"
    if position != 1:
        return f"on the left of a product ({op_type})" if position == 0 else f"a bias ({op_type})"
    if node.input[1] not in graph.stored:
        return f"reshaped in front of {op_type}"
    if op_type == "MatMul":
        return "batched product (MatMul)"
    if op_type == "Conv" and len(shape) not in (3, 4):
        return f"convolution along {len(shape) - 2} axes (Conv)"
    if attributes(node).get("transA", 0):
        return "product with a transposed signal (Gemm)"
    return f"its bias is no constant of one row ({op_type})"


def _inside(model: onnx.ModelProto) -> Iterator[tuple[str, str, onnx.TensorProto]]:
    """Yield the constants of bodies and functions: the reason, their name, the tensor."""
    yield from _in_bodies(model.graph.node)
    for function in model.functions:
        reason = f"in the local function {function.name}"
        for name, tensor in _node_constants(function.node).items():
            yield reason, f"{function.name}/{name}", tensor
        for _, name, tensor in _in_bodies(function.node):
            yield reason, f"{function.name}/{name}", tensor


def _in_bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, str, onnx.TensorProto]]:
    for node in nodes:
        for body in subgraphs(node):
            reason = f"in the body of {node.op_type}"
            for name, tensor in constants(body).items():
                yield reason, name, tensor
            for sparse in body.sparse_initializer:
                yield reason, sparse.values.name, to_dense(sparse, sparse.values.name)
            yield from _in_bodies(body.node)


def _node_constants(nodes: Iterable[onnx.NodeProto]) -> dict[str, onnx.TensorProto]:
    graph = onnx.GraphProto()
    graph.node.extend(nodes)
    return constants(graph)


def _numbers(tensor: onnx.TensorProto) -> Values:
    """Return the entries of a tensor, small types of whole numbers and floats as larger ones."""
    values = onnx.numpy_helper.to_array(tensor)
    if tensor.data_type in QUANTISED:
        return values.astype(np.int32)
    return values if values.dtype.kind == "f" else values.astype(np.float32)


def _zeros(graph: OnnxGraph, tensor: onnx.TensorProto, uses: list[_Use]) -> Values:
    """Return what stands for zero in a quantised tensor."""
    for node, position, _ in uses:
        places = ZERO_POINTS.get(node.op_type, {}) if node is not None else {}
        if node is not None and position in places:
            place, axis = places[position]
            zeros = graph.constant(node, place) if has_input(node, place) else None
            if zeros is not None:
                axis = attributes(node).get("axis", axis)
                return _broadcast_zeros(zeros.astype(np.int32), tuple(tensor.dims), axis)
    return np.zeros((), np.int32)


def _broadcast_zeros(zeros: Values, shape: tuple[int, ...], axis: int) -> Values:
    """Return zero points, of one entry, of an axis or of its blocks, so that they broadcast."""
    if zeros.size == 1:
        return zeros.reshape(())
    if zeros.ndim == 1:
        return np.expand_dims(zeros, [k for k in range(len(shape)) if k != axis % len(shape)])
    block = -(-shape[axis] // zeros.shape[axis])
    return np.repeat(zeros, block, axis).take(range(shape[axis]), axis)


def _unpack_nbits(
    graph: OnnxGraph, node: onnx.NodeProto, tensor: onnx.TensorProto
) -> tuple[Values, Values]:
    """Return the weights of a MatMulNBits, inputs by outputs, and what stands for zero in them."""
    options = attributes(node)
    bits, n_inputs = options.get("bits", 4), options["K"]
    values = _split(onnx.numpy_helper.to_array(tensor), bits)
    n_outputs, n_blocks, size = values.shape
    zeros = np.full((n_outputs, n_blocks), 1 << (bits - 1))
    given = graph.constant(node, 3)
    if given is not None:
        whole = given if given.dtype.kind == "f" else _split(given.reshape(n_outputs, -1), bits)
        zeros = whole.reshape(n_outputs, -1)[:, :n_blocks]
    spread = np.repeat(zeros, size, axis=1)[:, :n_inputs]
    return values.reshape(n_outputs, -1)[:, :n_inputs].T, spread.T


def _split(packed: Values, bits: int) -> Values:
    """Return the numbers of a few bits that bytes hold, the lowest bits first."""
    single = np.unpackbits(packed, axis=-1, bitorder="little").reshape(*packed.shape[:-1], -1, bits)
    split: Values = single @ (1 << np.arange(bits))
    return split
