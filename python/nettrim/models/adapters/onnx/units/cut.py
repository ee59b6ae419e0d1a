"""An ONNX model without some of its units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from ....units.unit_map import UnitMap
from ..files import is_large
from ..graph import (
    OnnxGraph,
    Values,
    attributes,
    constants,
    fill,
    is_standard,
    reads,
    select_needed,
)
from .sites import Site

__all__ = ["keep_units"]


def keep_units(model: onnx.ModelProto, units: UnitMap, kept: NDArray[np.bool_]) -> onnx.ModelProto:
    """Return a copy of a model without those units that are not kept.

    Its constants are smaller, and so are the numbers that count units. Shapes that the model says
    of its inner tensors are found anew.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = OnnxGraph(copy)
    needed = _list_needed(copy.graph)
    new = [*_cut_constants(graph, units, kept), *_replace_numbers(graph, units, kept)]
    if new:
        _insert(copy.graph, new, needed)
    if not copy.graph.value_info:
        return copy
    del copy.graph.value_info[:]
    return copy if is_large(copy) else onnx.shape_inference.infer_shapes(copy)


def _cut_constants(
    graph: OnnxGraph, units: UnitMap, kept: NDArray[np.bool_]
) -> Iterator[onnx.NodeProto]:
    """Make constants smaller; yield those that readers get in place of one that others read."""
    stored, makers = constants(graph.model.graph), _makers(graph)
    declared = {value.name: value for value in graph.model.graph.input}
    for tensor in units.tensors:
        if tensor.name in stored:
            proto = stored[tensor.name]
            smaller = np.ascontiguousarray(tensor.cut(onnx.numpy_helper.to_array(proto), kept))
            proto.dims[:] = smaller.shape
            fill(proto, smaller)
            if tensor.name in declared:
                shape = onnx.helper.make_tensor_type_proto(proto.data_type, smaller.shape)
                declared[tensor.name].type.CopyFrom(shape)
        else:
            site = Site.parse(tensor.name)
            node, position = makers[site.output], int(site.slot)
            smaller = tensor.cut(graph.stored[node.input[position]].value, kept)
            if smaller.shape != tensor.shape:
                yield _give(graph, node, position, smaller)


def _replace_numbers(
    graph: OnnxGraph, units: UnitMap, kept: NDArray[np.bool_]
) -> Iterator[onnx.NodeProto]:
    """Put other numbers in place; yield the constants of those that others read too."""
    makers = _makers(graph)
    wanted: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for count in units.counts:
        output, slot, number = Site.parse(count.name)
        wanted[output, slot][number] = count.count(kept)
    for (output, slot), numbers in wanted.items():
        if slot.isdigit():
            yield from _replace_input(graph, makers[output], int(slot), numbers)
        else:
            _replace_attribute(makers[output], slot, numbers)


def _makers(graph: OnnxGraph) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.nodes for name in node.output}


def _replace_attribute(node: onnx.NodeProto, name: str, numbers: Mapping[int, int]) -> None:
    old = attributes(node).get(name, [0] * len(numbers))
    new = [numbers.get(index, value) for index, value in enumerate(np.atleast_1d(old).tolist())]
    _drop_attribute(node, name)
    node.attribute.append(onnx.helper.make_attribute(name, new if np.ndim(old) else new[0]))


def _drop_attribute(node: onnx.NodeProto, name: str) -> None:
    rest = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(rest)


def _replace_input(
    graph: OnnxGraph, node: onnx.NodeProto, position: int, numbers: Mapping[int, int]
) -> Iterator[onnx.NodeProto]:
    stored = graph.stored_input(node, position)
    old = None if stored is None else stored.value
    new = np.zeros(len(numbers), np.int64) if old is None else old.copy()
    new.reshape(-1)[[*numbers]] = [*numbers.values()]
    if old is not None and np.array_equal(new, old):
        return
    if stored is not None and stored.name == node.input[position] and not stored.shared:
        fill(stored.tensor, new)
        return
    if is_standard(node, "Split"):
        _drop_attribute(node, "num_outputs")
    yield _give(graph, node, position, new)


def _give(graph: OnnxGraph, node: onnx.NodeProto, position: int, value: Values) -> onnx.NodeProto:
    """Let a node read a constant of its own, and return that."""
    name = _make_unique(f"{node.output[0]}/{position}", graph)
    node.input.extend([""] * (position + 1 - len(node.input)))
    node.input[position] = name
    return onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))


def _make_unique(name: str, graph: OnnxGraph) -> str:
    """Return a name that no tensor has that is read."""
    while name in graph.readers:
        name += "_"
    return name


def _list_needed(graph: onnx.GraphProto) -> set[str]:
    """Return what nodes make first without which outputs cannot be computed."""
    outputs = [output.name for output in graph.output]
    return {node.output[0] for node in select_needed(graph.node, outputs)}


def _insert(graph: onnx.GraphProto, new: Sequence[onnx.NodeProto], needed: set[str]) -> None:
    """Put nodes in front of a graph, and drop what outputs needed before and do no more."""
    nodes = [*new, *graph.node]
    gone = needed - _list_needed(graph)
    rest = [node for node in nodes if node.output[0] not in gone]
    unread = {name for node in nodes if node.output[0] in gone for name in reads(node)}
    unread.difference_update(name for node in rest for name in reads(node))
    unread.difference_update(value.name for value in [*graph.input, *graph.output])
    tensors = [tensor for tensor in graph.initializer if tensor.name not in unread]
    del graph.node[:]
    graph.node.extend(rest)
    del graph.initializer[:]
    graph.initializer.extend(tensors)
