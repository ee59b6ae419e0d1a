"""What an ONNX graph says of itself: its constants, who reads what, which nodes a tensor needs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

__all__ = [
    "FLOATS",
    "KNOWN_TYPES",
    "STANDARD",
    "OnnxGraph",
    "Stored",
    "attributes",
    "constants",
    "count_bytes",
    "densify",
    "fill",
    "has_input",
    "is_float",
    "is_standard",
    "reads",
    "select_needed",
    "subgraphs",
    "tensors",
    "to_dense",
]

Values: TypeAlias = NDArray[Any]

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)

KNOWN_TYPES = frozenset(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}
STANDARD = ("", "ai.onnx")  # domains of ONNX's own operators
_DATA_FIELDS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data")


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant tensor, and how its reader sees it.

    Attributes
    ----------
    name : str
        Of the tensor the model stores.
    tensor : onnx.TensorProto
    axes : tuple of int
        The stored axes in the order in which the reader sees them.
    shared : bool
        Whether anything else reads it too, or it is an output of the model.
    """

    name: str
    tensor: onnx.TensorProto
    axes: tuple[int, ...]
    shared: bool

    @property
    def value(self) -> Values:
        """The tensor as its reader sees it."""
        return np.transpose(onnx.numpy_helper.to_array(self.tensor), self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `value`."""
        return tuple(self.tensor.dims[axis] for axis in self.axes)

    def packed(self, value: Values) -> Values:
        """Return what is to be stored so that the reader sees a value: order of axes, precision."""
        stored = np.transpose(value.reshape(self.shape), np.argsort(self.axes))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.tensor.data_type)
        return np.ascontiguousarray(stored, dtype=dtype)

    def transposed(self, axes: Sequence[int], shared: bool) -> Stored:
        """Return the same tensor as it is seen behind a Transpose."""
        seen = tuple(self.axes[axis] for axis in axes)
        return Stored(self.name, self.tensor, seen, self.shared or shared)


class OnnxGraph:
    """The graph of a model, indexed.

    Attributes
    ----------
    model : onnx.ModelProto
    nodes : sequence of onnx.NodeProto
        In topological order, as ONNX has them.
    outputs : list of str
    stored : dict of Stored
        Every constant by name: initializers, Constant nodes, and transposed ones of these.
    readers : mapping from str to list of onnx.NodeProto or None
        The nodes that read a tensor, as often as they do; None stands for the model's outputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: Sequence[onnx.NodeProto] = model.graph.node
        self.outputs = [output.name for output in model.graph.output]
        self.readers: Mapping[str, list[onnx.NodeProto | None]] = _readers(model.graph)
        self.stored = self._stored()

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """Return the one node that reads a tensor; None if nothing else may be read into it."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 else None

    def final_readers(self, name: str) -> list[onnx.NodeProto | None]:
        """Return the nodes that read a constant as it is, or as it is transposed on the way."""
        found: list[onnx.NodeProto | None] = []
        for node in self.readers.get(name, []):
            passes_on = node is not None and node.output[0] in self.stored
            found += self.final_readers(node.output[0]) if node and passes_on else [node]
        return found

    def reached_from(self, names: Iterable[str]) -> set[str]:
        """Return the tensors that depend on some, and these."""
        reached = set(names)
        for node in self.nodes:
            if reached.intersection(reads(node)):
                reached.update(node.output)
        return reached

    def constant(self, node: onnx.NodeProto, position: int) -> Values | None:
        """Return the value of a node's input if it is constant."""
        stored = self.stored_input(node, position)
        return None if stored is None else stored.value

    def stored_input(self, node: onnx.NodeProto, position: int) -> Stored | None:
        """Return a node's input if it is constant."""
        return self.stored.get(node.input[position]) if has_input(node, position) else None

    def _stored(self) -> dict[str, Stored]:
        found = {
            name: Stored(name, tensor, tuple(range(len(tensor.dims))), self._is_shared(name))
            for name, tensor in constants(self.model.graph).items()
        }
        for node in self.nodes:
            if is_standard(node, "Identity", "Transpose") and node.input[0] in found:
                inner, output = found[node.input[0]], node.output[0]
                backwards = reversed(range(len(inner.axes)))
                given = range(len(inner.axes)) if node.op_type == "Identity" else backwards
                axes = attributes(node).get("perm", list(given))
                found[output] = inner.transposed(axes, self._is_shared(output))
        return found

    def _is_shared(self, name: str) -> bool:
        return len(self.readers.get(name, [])) > 1


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the tensors a graph stores: initializers and Constant nodes."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if is_standard(node, "Constant"):
            for attribute in node.attribute:
                if attribute.name == "value":
                    found[node.output[0]] = attribute.t
    return {name: tensor for name, tensor in found.items() if tensor.data_type in KNOWN_TYPES}


def densify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with dense constants for sparse ones, itself if it has none."""
    graph = model.graph
    nodes = [node for node in graph.node if is_standard(node, "Constant") and _sparse_value(node)]
    if not nodes and not graph.sparse_initializer:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for sparse in graph.sparse_initializer:
        copy.graph.initializer.append(to_dense(sparse, sparse.values.name))
    copy.graph.ClearField("sparse_initializer")
    for node in copy.graph.node:
        sparse = _sparse_value(node)
        if is_standard(node, "Constant") and sparse is not None:
            value = onnx.helper.make_attribute("value", to_dense(sparse, node.output[0]))
            node.attribute[0].CopyFrom(value)
    return copy


def to_dense(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """Return a sparse tensor as a dense one."""
    indices = onnx.numpy_helper.to_array(sparse.indices)
    values = onnx.numpy_helper.to_array(sparse.values)
    result = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        result.flat[indices] = values
    else:
        result[tuple(indices.T)] = values
    tensor = onnx.numpy_helper.from_array(result, name)
    tensor.data_type = sparse.values.data_type
    return tensor


def fill(tensor: onnx.TensorProto, value: Values) -> None:
    """Put other values of the same shape into a tensor; name and all else stay."""
    for field in _DATA_FIELDS:
        tensor.ClearField(field)
    tensor.raw_data = onnx.numpy_helper.from_array(value).raw_data


def is_standard(node: onnx.NodeProto, *op_types: str) -> bool:
    """Tell whether a node is one of these operators of ONNX itself."""
    return node.domain in STANDARD and node.op_type in op_types


def has_input(node: onnx.NodeProto, position: int) -> bool:
    """Tell whether a node has an input there; optional ones may be missing or without a name."""
    return position < len(node.input) and bool(node.input[position])


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as plain values, text as str."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names a node reads, as often as it does; those inside its subgraphs as well."""
    yield from filter(None, node.input)
    for graph in subgraphs(node):
        yield from (output.name for output in graph.output)
        for inner in graph.node:
            yield from reads(inner)


def select_needed(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """Return the nodes, in order, without which some outputs cannot be computed."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1]


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor a model stores, in subgraphs and functions as well."""
    yield from model.graph.initializer
    for owner in (model.graph, *model.functions):
        for node in _all_nodes(owner.node):
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    yield attribute.t
                yield from attribute.tensors
            for graph in subgraphs(node):
                yield from graph.initializer


def count_bytes(of: Iterable[onnx.TensorProto]) -> int:
    """Return the bytes of tensors in memory."""
    return sum(
        math.prod(t.dims) * onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize
        for t in of
        if t.data_type in KNOWN_TYPES
    )


def is_float(value: onnx.ValueInfoProto) -> bool:
    """Tell whether a value is a tensor of floats."""
    return value.type.tensor_type.elem_type in FLOATS


def _sparse_value(node: onnx.NodeProto) -> onnx.SparseTensorProto | None:
    found = (a.sparse_tensor for a in node.attribute if a.name == "sparse_value")
    return next(found, None)


def _readers(graph: onnx.GraphProto) -> Mapping[str, list[onnx.NodeProto | None]]:
    readers: dict[str, list[onnx.NodeProto | None]] = defaultdict(list)
    for node in graph.node:
        for name in reads(node):
            readers[name].append(node)
    for output in graph.output:
        readers[output.name].append(None)
    return readers


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the bodies of a node."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from _all_nodes(graph.node)
