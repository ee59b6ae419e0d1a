"""An ONNX model without some of its units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

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

_New: TypeAlias = tuple[onnx.NodeProto, onnx.NodeProto]  # a node, and a new one that it reads

TAKE_SHAPES = ("Reshape", "Expand", "Resize")


def keep_units(model: onnx.ModelProto, units: UnitMap, kept: NDArray[np.bool_]) -> onnx.ModelProto:
    """Return a copy of a model without those units that are not kept.

    Its constants are smaller, and so are the numbers that count units. Shapes that the model says
    of its inner tensors are found anew.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if kept.all():
        return copy
    graph = OnnxGraph(copy)
    needed = _list_needed(copy.graph.output, copy.graph.node)
    new = [*_cut_constants(graph, units, kept), *_replace_numbers(graph, units, kept)]
    if new:
        _put_in_front(copy.graph, new, needed)
    if not copy.graph.value_info:
        return copy
    del copy.graph.value_info[:]
    return copy if is_large(copy) else onnx.shape_inference.infer_shapes(copy)


def _cut_constants(graph: OnnxGraph, units: UnitMap, kept: NDArray[np.bool_]) -> Iterator[_New]:
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
                name = _make_unique(tensor.name, graph)
                node.input[position] = name
                yield node, _constant(name, smaller)


def _replace_numbers(graph: OnnxGraph, units: UnitMap, kept: NDArray[np.bool_]) -> Iterator[_New]:
    """Put other numbers in place; yield the nodes that make those that others read too."""
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
) -> Iterator[_New]:
    stored = graph.stored_input(node, position)
    name = _make_unique(f"{node.output[0]}/{position}", graph)
    if stored is None and is_standard(node, *TAKE_SHAPES):
        yield from ((node, made) for made in _patch(node.input[position], numbers, name))
    else:
        old = np.zeros(len(numbers), np.int64) if stored is None else stored.value
        new = old.copy()
        new.reshape(-1)[[*numbers]] = [*numbers.values()]
        if stored is not None and np.array_equal(new, old):
            return
        if stored is not None and stored.name == node.input[position] and not stored.shared:
            fill(stored.tensor, new)
            return
        yield node, _constant(name, new)
    if is_standard(node, "Split"):
        _drop_attribute(node, "num_outputs")
    node.input.extend([""] * (position + 1 - len(node.input)))
    node.input[position] = name


def _patch(shape: str, numbers: Mapping[int, int], name: str) -> Iterator[onnx.NodeProto]:
    """Yield nodes that put numbers into a shape that a graph computes."""
    yield _constant(f"{name}/places", np.array([*numbers]))
    yield _constant(f"{name}/numbers", np.array([*numbers.values()]))
    reads = [shape, f"{name}/places", f"{name}/numbers"]
    yield onnx.helper.make_node("ScatterElements", reads, [name])


def _constant(name: str, value: Values) -> onnx.NodeProto:
    tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(value))
    return onnx.helper.make_node("Constant", [], [name], value=tensor)


def _make_unique(name: str, graph: OnnxGraph) -> str:
    """Return a name that no tensor has that is read."""
    while name in graph.readers:
        name += "_"
    return name


def _list_needed(
    outputs: Iterable[onnx.ValueInfoProto], nodes: Sequence[onnx.NodeProto]
) -> set[str]:
    """Return what nodes make first without which outputs cannot be computed."""
    return {n.output[0] for n in select_needed(nodes, [output.name for output in outputs])}


def _put_in_front(graph: onnx.GraphProto, new: Sequence[_New], needed: set[str]) -> None:
    """Put nodes in front of their readers; drop what outputs needed before and do no more."""
    ahead: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for reader, node in new:
        ahead[reader.output[0]].append(node)
    nodes = [n for reader in graph.node for n in (*ahead[reader.output[0]], reader)]
    gone = needed - _list_needed(graph.output, nodes)
    rest = [node for node in nodes if node.output[0] not in gone]
    unread = {name for node in nodes if node.output[0] in gone for name in reads(node)}
    unread.difference_update(name for node in rest for name in reads(node))
    unread.difference_update(value.name for value in [*graph.input, *graph.output])
    tensors = [tensor for tensor in graph.initializer if tensor.name not in unread]
    del graph.node[:]
    graph.node.extend(rest)
    del graph.initializer[:]
    graph.initializer.extend(tensors)
