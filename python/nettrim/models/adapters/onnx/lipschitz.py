r"""Lipschitz constants of tensors in the outputs of pruned layers, along an ONNX graph.

Every operator has a Lipschitz constant for each of its inputs, in the Frobenius norm; along a path
they multiply, over paths they add up. Where an input is repeated (broadcasting) its norm grows with
the root of the number of copies; a mean over :math:`m` entries shrinks it by :math:`\sqrt m`. The
constant of an operator that is not known here is infinite.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx

from ...unfold import Window
from .graph import FLOATS, OnnxGraph, attributes, has_input, is_standard, reads
from .layers import OnnxLayer, batch_norm

__all__ = ["LipschitzConstants", "Shapes", "propagate_lipschitz"]

LipschitzConstants: TypeAlias = Mapping[int, float]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

# Lipschitz constants of operators in their first input. Softmax: its Jacobian diag(p) - p p'
# has rows whose absolute values sum to 2 p (1 - p).
LIPSCHITZ = {
    **dict.fromkeys(["Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"], 1.0),
    **dict.fromkeys(["Split", "Slice", "GlobalMaxPool"], 1.0),
    **dict.fromkeys(["Relu", "Clip", "Abs", "Neg", "Tanh", "Softplus", "Softsign"], 1.0),
    "Sigmoid": 0.25,
    "Softmax": 0.5,
}


@dataclass(frozen=True)
class _NodeContext:
    """A node and what is known around it."""

    graph: OnnxGraph
    node: onnx.NodeProto
    shapes: Shapes

    @property
    def options(self) -> dict[str, Any]:
        """The node's attributes."""
        return attributes(self.node)

    @property
    def growth(self) -> list[float]:
        """How many entries the output has for each one of an input."""
        sizes = [self._size(name) for name in self.node.input]
        output = self._size(self.node.output[0])
        return [output / size if output and size else math.inf for size in sizes]

    def constant(self, position: int) -> Any:
        """Return the absolute values of an input if it is constant."""
        value = self.graph.constant(self.node, position)
        return None if value is None else np.abs(np.asarray(value, dtype=np.float64))

    def _size(self, name: str) -> int | None:
        return math.prod(self.shapes[name]) if name in self.shapes else None


def propagate_lipschitz(
    graph: OnnxGraph, layers: Mapping[str, OnnxLayer], positions: Mapping[str, int], shapes: Shapes
) -> dict[str, LipschitzConstants]:
    """Return the Lipschitz constants of every tensor.

    Parameters
    ----------
    graph : OnnxGraph
    layers : mapping from str to OnnxLayer
        By name of their output.
    positions : mapping from str to int
        Of the prunable ones among them, by the same names.
    shapes : mapping from str to tuple of int
        Of all tensors for some samples; those that are missing are not known.
    """
    constants: dict[str, LipschitzConstants] = {}
    for node in graph.nodes:
        output, *others = node.output
        if output in positions:
            constants[output] = _behind_call(positions[output], constants, layers[output])
        elif output in layers:
            constants[output] = _through_layer(layers[output], constants, shapes)
        else:
            through = _through_node(_NodeContext(graph, node, shapes), constants)
            unknown = through if node.op_type == "Split" else dict.fromkeys(through, math.inf)
            constants |= {output: through, **dict.fromkeys(others, unknown)}
    return constants


def _behind_call(
    position: int, constants: Mapping[str, LipschitzConstants], layer: OnnxLayer
) -> LipschitzConstants:
    """Return those behind a layer that is pruned: itself alone, if it does not meet its own."""
    incoming = constants.get(layer.input, {})
    if any(k >= position for k in incoming):
        return dict.fromkeys({*incoming, position}, math.inf)
    return {position: 1.0}


def _through_layer(
    layer: OnnxLayer, constants: Mapping[str, LipschitzConstants], shapes: Shapes
) -> LipschitzConstants:
    """Return the Lipschitz constants behind a layer that is left as it is."""
    incoming = constants.get(layer.input, {})
    if not incoming:
        return {}
    own_constant = layer.step.lipschitz(shapes[layer.input])
    return {
        position: own_constant * constant for position, constant in incoming.items() if own_constant
    }


def _through_node(
    context: _NodeContext, constants: Mapping[str, LipschitzConstants]
) -> LipschitzConstants:
    """Return the Lipschitz constants behind any other node."""
    total: dict[int, float] = defaultdict(float)
    incoming = [constants.get(name, {}) for name in reads(context.node)]
    if not any(incoming) or is_standard(context.node, "Shape", "Size"):
        return {}
    for own_constant, own in zip(_input_lipschitz(context, len(incoming)), incoming, strict=False):
        for position, constant in own.items():
            if own_constant:
                total[position] += own_constant * constant
    return dict(total)


def _input_lipschitz(context: _NodeContext, n_inputs: int) -> list[float]:
    """Return a Lipschitz constant for each of the tensors a node reads."""
    op_type, known = context.node.op_type, []
    if is_standard(context.node, op_type):
        if op_type in LIPSCHITZ:
            known = [LIPSCHITZ[op_type]]
        elif op_type in _RULES:
            known = list(_RULES[op_type](context))
    return known + [math.inf] * (n_inputs - len(known))


def _added(context: _NodeContext) -> Iterator[float]:
    yield from (math.sqrt(growth) for growth in context.growth)


def _averaged(context: _NodeContext) -> Iterator[float]:
    yield from (value / len(context.node.input) for value in _added(context))


def _joined(context: _NodeContext) -> Iterator[float]:
    yield from (1.0 for _ in context.node.input)


def _multiplied(context: _NodeContext) -> Iterator[float]:
    for position, growth in enumerate(context.growth):
        other = context.constant(1 - position)
        yield math.inf if other is None else math.sqrt(growth) * float(other.max())


def _divided(context: _NodeContext) -> Iterator[float]:
    other = context.constant(1)
    least = 0.0 if other is None else float(other.min())
    yield math.sqrt(context.growth[0]) / least if least else math.inf


def _mean(context: _NodeContext) -> Iterator[float]:
    yield math.sqrt(context.growth[0])


def _sum(context: _NodeContext) -> Iterator[float]:
    growth = context.growth[0]
    yield math.inf if math.isinf(growth) else 1 / math.sqrt(growth)


def _cast(context: _NodeContext) -> Iterator[float]:
    yield 1.0 if context.options["to"] in FLOATS else math.inf


def _dropout(context: _NodeContext) -> Iterator[float]:
    training = context.constant(2)
    active = has_input(context.node, 2) and (training is None or bool(training.any()))
    yield math.inf if active else 1.0


def _leaky(context: _NodeContext) -> Iterator[float]:
    yield max(1.0, abs(context.options.get("alpha", 0.01)))


def _elu(context: _NodeContext) -> Iterator[float]:
    yield max(1.0, abs(context.options.get("alpha", 1.0)))


def _log_softmax(context: _NodeContext) -> Iterator[float]:
    # The Jacobian I - 1 p' is a projection: its norm is that of 1 p', at most the root of its size.
    shape = context.shapes.get(context.node.input[0], ())
    axis = context.options.get(
        "axis", min(1, len(shape) - 1)
    )  # old versions: all axes from there on
    yield math.sqrt(math.prod(shape[axis:])) if shape else math.inf


def _padded(context: _NodeContext) -> Iterator[float]:
    yield 1.0 if context.options.get("mode", "constant") == "constant" else math.inf


def _normalised(context: _NodeContext) -> Iterator[float]:
    norm = batch_norm(context.graph, context.node)
    yield math.inf if norm is None else norm.lipschitz(())


def _max_pool(context: _NodeContext) -> Iterator[float]:
    yield math.sqrt(_window(context).overlap)


def _average_pool(context: _NodeContext) -> Iterator[float]:
    """Entries of the matrix are one over the number of averaged values, rows sum to 1."""
    window, options = _window(context), context.options
    least = 1
    if not options.get("ceil_mode", 0) and options.get("auto_pad", "NOTSET") in ("NOTSET", "VALID"):
        outside = (0, 0) if options.get("count_include_pad", 0) else None
        pairs = [outside or pair for pair in window.padding]
        least = math.prod(
            max(1, size - sum(pair)) for size, pair in zip(window.kernel, pairs, strict=True)
        )
    yield math.sqrt(window.overlap / least)


def _window(context: _NodeContext) -> Window:
    options = context.options
    kernel = tuple(options["kernel_shape"])
    axes = len(kernel)
    pads = options.get("pads", [0] * 2 * axes)
    return Window(
        kernel,
        tuple(options.get("strides", [1] * axes)),
        tuple(zip(pads[:axes], pads[axes:], strict=True)),
        tuple(options.get("dilations", [1] * axes)),
    )


_RULES: dict[str, Callable[[_NodeContext], Iterator[float]]] = {
    **dict.fromkeys(["Add", "Sub", "Sum", "Max", "Min"], _added),
    "Mean": _averaged,
    "Concat": _joined,
    "Mul": _multiplied,
    "Div": _divided,
    **dict.fromkeys(["GlobalAveragePool", "ReduceMean"], _mean),
    "ReduceSum": _sum,
    "Cast": _cast,
    "Dropout": _dropout,
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "LogSoftmax": _log_softmax,
    "Pad": _padded,
    "BatchNormalization": _normalised,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
}
