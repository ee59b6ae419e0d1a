r"""How far a tensor can move when the outputs of pruned layers move: gains along an ONNX graph.

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
from .graph import FLOATS, Graph, attributes, has_input, is_standard, reads
from .layers import OnnxLayer, batch_norm

__all__ = ["Gains", "Shapes", "propagate"]

Gains: TypeAlias = Mapping[int, float]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

# Of operators that stretch their first input by at most this. Softmax: its Jacobian diag(p) - p p'
# has rows whose absolute values sum to 2 p (1 - p).
STRETCH = {
    **dict.fromkeys(["Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"], 1.0),
    **dict.fromkeys(["Split", "Slice", "GlobalMaxPool"], 1.0),
    **dict.fromkeys(["Relu", "Clip", "Abs", "Neg", "Tanh", "Softplus", "Softsign"], 1.0),
    "Sigmoid": 0.25,
    "Softmax": 0.5,
}


@dataclass(frozen=True)
class _Place:
    """A node and what is known around it."""

    graph: Graph
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


def propagate(
    graph: Graph, layers: Mapping[str, OnnxLayer], positions: Mapping[str, int], shapes: Shapes
) -> dict[str, Gains]:
    """Return the gains of every tensor.

    Parameters
    ----------
    graph : Graph
    layers : mapping from str to OnnxLayer
        By name of their output.
    positions : mapping from str to int
        Of the prunable ones among them, by the same names.
    shapes : mapping from str to tuple of int
        Of all tensors for some samples; those that are missing are not known.
    """
    gains: dict[str, Gains] = {}
    for node in graph.nodes:
        output, *others = node.output
        if output in positions:
            gains[output] = {positions[output]: 1.0}
        elif output in layers:
            gains[output] = _behind(layers[output], gains, shapes)
        else:
            through = _through(_Place(graph, node, shapes), gains)
            unknown = through if node.op_type == "Split" else dict.fromkeys(through, math.inf)
            gains |= {output: through, **dict.fromkeys(others, unknown)}
    return gains


def _behind(layer: OnnxLayer, gains: Mapping[str, Gains], shapes: Shapes) -> Gains:
    """Return the gains behind a layer that is left as it is."""
    arriving = gains.get(layer.input, {})
    if not arriving:
        return {}
    stretch = layer.step.lipschitz(shapes[layer.input])
    return {position: stretch * gain for position, gain in arriving.items() if stretch}


def _through(place: _Place, gains: Mapping[str, Gains]) -> Gains:
    """Return the gains behind any other node."""
    total: dict[int, float] = defaultdict(float)
    arriving = [gains.get(name, {}) for name in reads(place.node)]
    if not any(arriving) or is_standard(place.node, "Shape", "Size"):
        return {}
    for stretch, own in zip(_stretches(place, len(arriving)), arriving, strict=False):
        for position, gain in own.items():
            if stretch:
                total[position] += stretch * gain
    return dict(total)


def _stretches(place: _Place, n_inputs: int) -> list[float]:
    """Return a Lipschitz constant for each of the tensors a node reads."""
    op_type, known = place.node.op_type, []
    if is_standard(place.node, op_type):
        if op_type in STRETCH:
            known = [STRETCH[op_type]]
        elif op_type in _RULES:
            known = list(_RULES[op_type](place))
    return known + [math.inf] * (n_inputs - len(known))


def _added(place: _Place) -> Iterator[float]:
    yield from (math.sqrt(growth) for growth in place.growth)


def _averaged(place: _Place) -> Iterator[float]:
    yield from (value / len(place.node.input) for value in _added(place))


def _joined(place: _Place) -> Iterator[float]:
    yield from (1.0 for _ in place.node.input)


def _multiplied(place: _Place) -> Iterator[float]:
    for position, growth in enumerate(place.growth):
        other = place.constant(1 - position)
        yield math.inf if other is None else math.sqrt(growth) * float(other.max())


def _divided(place: _Place) -> Iterator[float]:
    other = place.constant(1)
    least = 0.0 if other is None else float(other.min())
    yield math.sqrt(place.growth[0]) / least if least else math.inf


def _mean(place: _Place) -> Iterator[float]:
    yield math.sqrt(place.growth[0])


def _sum(place: _Place) -> Iterator[float]:
    growth = place.growth[0]
    yield math.inf if math.isinf(growth) else 1 / math.sqrt(growth)


def _cast(place: _Place) -> Iterator[float]:
    yield 1.0 if place.options["to"] in FLOATS else math.inf


def _dropout(place: _Place) -> Iterator[float]:
    training = place.constant(2)
    active = has_input(place.node, 2) and (training is None or bool(training.any()))
    yield math.inf if active else 1.0


def _leaky(place: _Place) -> Iterator[float]:
    yield max(1.0, abs(place.options.get("alpha", 0.01)))


def _elu(place: _Place) -> Iterator[float]:
    yield max(1.0, abs(place.options.get("alpha", 1.0)))


def _log_softmax(place: _Place) -> Iterator[float]:
    # The Jacobian I - 1 p' is a projection: its norm is that of 1 p', at most the root of its size.
    shape = place.shapes.get(place.node.input[0], ())
    axis = place.options.get("axis", min(1, len(shape) - 1))  # old versions: all axes from there on
    yield math.sqrt(math.prod(shape[axis:])) if shape else math.inf


def _padded(place: _Place) -> Iterator[float]:
    yield 1.0 if place.options.get("mode", "constant") == "constant" else math.inf


def _normalised(place: _Place) -> Iterator[float]:
    norm = batch_norm(place.graph, place.node)
    yield math.inf if norm is None else norm.lipschitz(())


def _max_pool(place: _Place) -> Iterator[float]:
    yield math.sqrt(_window(place).overlap)


def _average_pool(place: _Place) -> Iterator[float]:
    """Entries of the matrix are one over the number of averaged values, rows sum to 1."""
    window, options = _window(place), place.options
    least = 1
    if not options.get("ceil_mode", 0) and options.get("auto_pad", "NOTSET") in ("NOTSET", "VALID"):
        outside = (0, 0) if options.get("count_include_pad", 0) else None
        pairs = [outside or pair for pair in window.padding]
        least = math.prod(
            max(1, size - sum(pair)) for size, pair in zip(window.kernel, pairs, strict=True)
        )
    yield math.sqrt(window.overlap / least)


def _window(place: _Place) -> Window:
    options = place.options
    kernel = tuple(options["kernel_shape"])
    axes = len(kernel)
    pads = options.get("pads", [0] * 2 * axes)
    return Window(
        kernel,
        tuple(options.get("strides", [1] * axes)),
        tuple(zip(pads[:axes], pads[axes:], strict=True)),
        tuple(options.get("dilations", [1] * axes)),
    )


_RULES: dict[str, Callable[[_Place], Iterator[float]]] = {
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
