"""An ONNX model without some of its units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from ....units.unit_map import UnitMap
from ..files import is_large
from ..graph import OnnxGraph, attributes, constants, fill, has_input, reads, select_needed
from .sites import Site

__all__ = ["keep_units"]


def keep_units(model: onnx.ModelProto, units: UnitMap, kept: NDArray[np.bool_]) -> onnx.ModelProto:
    """Return a copy of a model without those units that are not kept.

    Its constants are smaller, and so are the numbers that count units. Shapes that the model says
    of its inner tensors are found anew.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _cut_constants(copy.graph, units, kept)
    _replace_numbers(copy, units, kept)
    if not copy.graph.value_info:
        return copy
    del copy.graph.value_info[:]
    return copy if is_large(copy) else onnx.shape_inference.infer_shapes(copy)


def _cut_constants(graph: onnx.GraphProto, units: UnitMap, kept: NDArray[np.bool_]) -> None:
    stored = constants(graph)
    declared = {value.name: value for value in graph.input}
    for tensor in units.tensors:
        smaller = tensor.cut(onnx.numpy_helper.to_array(stored[tensor.name]), kept)
        if smaller.shape != tensor.shape:
            stored[tensor.name].dims[:] = smaller.shape
            fill(stored[tensor.name], np.ascontiguousarray(smaller))
            if tensor.name in declared:
                shape = onnx.helper.make_tensor_type_proto(
                    stored[tensor.name].data_type, smaller.shape
                )
                declared[tensor.name].type.CopyFrom(shape)


def _replace_numbers(model: onnx.ModelProto, units: UnitMap, kept: NDArray[np.bool_]) -> None:
    graph = OnnxGraph(model)
    makers = {name: node for node in graph.nodes for name in node.output}
    wanted: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    smaller = set()
    for number in units.counts:
        output, slot, index = Site.parse(number.name)
        wanted[output, slot][index] = number.count(kept)
        if number.count(kept) < len(number.units):
            smaller.add((output, slot))
    replaced = set()
    for (output, slot), numbers in wanted.items():
        if (output, slot) not in smaller:
            continue
        if slot.isdigit():
            replaced |= {_replace_input(graph, makers[output], int(slot), numbers)}
        else:
            _replace_attribute(makers[output], slot, numbers)
    _drop_unread(model, replaced)


def _replace_attribute(node: onnx.NodeProto, name: str, numbers: Mapping[int, int]) -> None:
    old = attributes(node).get(name, [0] * len(numbers))
    new = [numbers.get(index, value) for index, value in enumerate(np.atleast_1d(old).tolist())]
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    value = new if np.ndim(old) else new[0]
    node.attribute.append(onnx.helper.make_attribute(name, value))


def _replace_input(
    graph: OnnxGraph, node: onnx.NodeProto, position: int, numbers: Mapping[int, int]
) -> str:
    """Give a node a constant of its own in the place of another one; return the name of that."""
    old = graph.constant(node, position)
    new = np.zeros(len(numbers), np.int64) if old is None else old.copy()
    flat = new.reshape(-1)
    flat[[*numbers]] = [*numbers.values()]
    name = f"{node.output[0]}/{position}"
    graph.model.graph.initializer.append(
        onnx.numpy_helper.from_array(flat.reshape(new.shape), name)
    )
    replaced = node.input[position] if has_input(node, position) else ""
    node.input.extend([""] * (position + 1 - len(node.input)))
    node.input[position] = name
    rest = [a for a in node.attribute if a.name != "num_outputs"]
    del node.attribute[:]
    node.attribute.extend(rest)
    return replaced


def _drop_unread(model: onnx.ModelProto, replaced: set[str]) -> None:
    """Drop the numbers that were replaced, and what made them alone."""
    graph = model.graph
    if not replaced:
        return
    needed = select_needed(graph.node, [output.name for output in graph.output])
    read = {name for node in needed for name in reads(node)}
    read.update(output.name for output in graph.output)
    nodes = [node for node in needed]
    del graph.node[:]
    graph.node.extend(nodes)
    tensors = [t for t in graph.initializer if t.name in read or t.name not in replaced]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
