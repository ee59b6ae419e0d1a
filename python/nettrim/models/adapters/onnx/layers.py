"""The layers of an ONNX graph that `nettrim.trim` can prune: Gemm, MatMul with Add, Conv.

A layer is one node or a few: the product, the bias that is added to it, a normalisation that is
folded into both, the ReLU. Factors of the weights (Gemm's alpha, a normalisation) are multiplied
into them in float64, and divided out again where weights are written back.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx

from ....base.arrays import Array
from ...layer_view import Affine, LayerView, Precision
from ...network import BatchNorm, Conv1D, Conv2D, Dense, PrunableLayer
from ...unfold import Window
from .graph import FLOATS, OnnxGraph, Stored, Values, attributes, has_input, is_standard

__all__ = ["OnnxLayer", "batch_norm", "find_prunable", "is_relu"]


class _ScaledAffine(Affine):
    """An affine map of weights that are multiplied by a factor for each output.

    Weights and bias are float64. An answer is rounded as the model's own weights will be.
    """

    factor: Array
    stored: np.dtype[Any]

    @classmethod
    def of(cls, affine: Affine, factor: Array, stored: np.dtype[Any]) -> _ScaledAffine:
        """Say of a map that its weights hold factors already."""
        scaled = cls(*affine)
        scaled.factor, scaled.stored = factor, stored
        return scaled

    @property
    def precision(self) -> Precision:
        """What the model stores the weights in, without their factors."""
        return Precision.of(self.stored)

    def replaced(self, stacked: Array) -> Affine:
        """Return the map with weights that the model can have (see `Affine.replaced`)."""
        answer = Affine(*self).replaced(stacked)
        own = (answer.weights / self.factor).astype(self.stored)
        return _ScaledAffine.of(
            answer._replace(weights=own * self.factor), self.factor, self.stored
        )


@dataclass(frozen=True, eq=False)
class OnnxLayer:
    """A layer, and where the model keeps its weights.

    Attributes
    ----------
    name : str
    input, output : str
        The tensors between which it lies.
    product : str
        What its first node makes.
    step : PrunableLayer
        The layer as a step of a `nettrim.Network`.
    fixed_bias : bool
    weights : Stored
    bias : Stored or None
        None if there is none, or if it is fixed.
    factor : ndarray of shape (n_outputs,) or None
        What the stored weights are multiplied by; None stands for 1.
    bias_factor : float
    lacks_bias : bool
        Whether the output has a bias of its own that is no part of the layer.
    """

    name: str
    input: str
    output: str
    product: str
    step: PrunableLayer
    fixed_bias: bool
    weights: Stored
    bias: Stored | None
    factor: Array | None
    bias_factor: float
    lacks_bias: bool = False

    @property
    def affine(self) -> Affine:
        """The weights as `nettrim.trim` sees them."""
        affine = self.step.affine._replace(fixed_bias=self.fixed_bias)
        if self.factor is None:
            return affine
        return _ScaledAffine.of(affine, self.factor, self.weights.value.dtype)

    @property
    def view(self) -> LayerView:
        """What `nettrim.trim` needs to know of the layer."""
        return replace(self.step.view(self.name), affine=self.affine, bias_can_change=False)

    @property
    def stored(self) -> list[Stored]:
        """The tensors that are replaced when the layer is pruned."""
        return [self.weights] if self.bias is None else [self.weights, self.bias]

    def packed(self, affine: Affine) -> dict[str, Values]:
        """Return what has to be stored, by name, for the layer to have these weights."""
        if self.factor is not None:
            affine = affine._replace(weights=affine.weights / self.factor)
        kernel = self.step.with_affine(affine).to_arrays()["weights"]
        packed = {self.weights.name: self.weights.packed(kernel)}
        if self.bias is not None and affine.bias is not None:
            packed[self.bias.name] = self.bias.packed(affine.bias / self.bias_factor)
        return packed


class _Product(NamedTuple):
    """The first nodes of a layer: the weights, and what is added to their product."""

    input: str
    output: str
    build: Callable[..., PrunableLayer]
    weights: Stored
    bias: Stored | None
    alpha: float = 1.0
    beta: float = 1.0
    by_channel: bool = True  # whether a BatchNormalization behind it has a factor for each output
    adder: onnx.NodeProto | None = None  # the node that adds the bias
    lacks_bias: bool = False  # that the output has

    @property
    def n_outputs(self) -> int:
        """Number of outputs; dense weights have them last, those of a convolution first."""
        return self.weights.shape[-1 if self.build is Dense else 0]

    @property
    def groups(self) -> int:
        """How many groups the inputs and outputs of a convolution have."""
        return self.build.keywords["groups"] if isinstance(self.build, partial) else 1

    @property
    def scaled_bias(self) -> Values | None:
        """One entry for each output, or None."""
        if self.bias is None:
            return None
        value = np.broadcast_to(self.bias.value.reshape(-1), self.n_outputs)
        return value if self.beta == 1 else value.astype(np.float64) * self.beta

    @property
    def fixes_bias(self) -> bool:
        """Whether the bias cannot be a variable: the outputs, or several nodes, share it."""
        if self.build is not Dense:
            return True
        bias = self.bias
        return bias is not None and (bias.shared or bias.shape[-1:] != (self.n_outputs,))


class _End(NamedTuple):
    """What follows a product: a layer's output, its activation, a normalisation as its part."""

    output: str
    activation: str
    norm: BatchNorm | None

    def is_like(self, other: _End) -> bool:
        """Tell whether another one does the same."""
        if self.activation != other.activation or (self.norm is None) != (other.norm is None):
            return False
        if self.norm is None or other.norm is None:
            return True
        pairs = [(self.norm.factor, other.norm.factor), (self.norm.offset, other.norm.offset)]
        return all(np.array_equal(one, two) for one, two in pairs)


class _Call(NamedTuple):
    """A product that a node begins, and what follows it."""

    node: onnx.NodeProto
    product: _Product
    end: _End

    def has_matrix_of(self, other: _Call) -> bool:
        """Tell whether another one computes with the same matrix; of rows that may be patches."""
        one, two = self.product, other.product
        same = (one.weights.axes, one.alpha, one.groups) == (
            two.weights.axes,
            two.alpha,
            two.groups,
        )
        return same and (one.build is Dense) == (two.build is Dense)

    def has_bias_of(self, other: _Call) -> bool:
        """Tell whether another one adds the same bias, or neither adds any."""
        one, two = self.product.bias, other.product.bias
        if one is None or two is None:
            return one is two
        same_factor = self.product.beta == other.product.beta
        return same_factor and (one.name, one.axes) == (two.name, two.axes)

    def without_bias(self) -> _Call:
        """Return the product alone; a bias that its node adds is no part of the layer either."""
        inside, output = self.product.adder is self.node, self.node.output[0]
        lacks = self.product.bias is not None and (inside or self.product.build is not Dense)
        product = self.product._replace(bias=None, output=output, lacks_bias=lacks)
        return self._replace(product=product, end=_End(output, "linear", None))


def find_prunable(graph: OnnxGraph) -> list[OnnxLayer]:
    """Return the layers in topological order, also those that share weights with other nodes."""
    calls: list[_Call] = []
    for node in graph.nodes:
        with _naming(node):
            product = _match_product(graph, node)
            if product is not None:
                calls.append(_Call(node, product, _find_end(graph, product)))
    found: dict[str, OnnxLayer] = {}
    for call in _with_own_constants(graph, calls):
        with _naming(call.node):
            name = _make_unique(call.node.name or call.product.weights.name, found)
            found[name] = _complete(call, name)
    return list(found.values())


def batch_norm(graph: OnnxGraph, node: onnx.NodeProto) -> BatchNorm | None:
    """Return a normalisation by constant statistics, None if the node is anything else."""
    if not is_standard(node, "BatchNormalization") or attributes(node).get("training_mode", 0):
        return None
    stored = [graph.stored_input(node, position) for position in range(1, 5)]
    values = [tensor.value for tensor in stored if tensor is not None and len(tensor.shape) == 1]
    if len(values) != 4:
        return None
    scale, shift, mean, variance = values
    return BatchNorm(mean, variance, scale, shift, epsilon=attributes(node).get("epsilon", 1e-5))


def is_relu(graph: OnnxGraph, node: onnx.NodeProto) -> bool:
    """Tell whether a node is a ReLU of one tensor, however it is written."""
    options = attributes(node)
    if is_standard(node, "Relu"):
        return True
    if is_standard(node, "Clip"):
        return _is_half_line(graph, node)
    if is_standard(node, "Max"):
        others = [graph.stored_input(node, k) for k in range(len(node.input))]
        constants = [stored for stored in others if stored is not None]
        return len(others) == 2 and len(constants) == 1 and _is_number(constants[0], 0.0)
    if is_standard(node, "PRelu"):
        slopes = graph.constant(node, 1)
        return slopes is not None and not slopes.any()
    names = {"LeakyRelu": 0.01, "Elu": 1.0, "ThresholdedRelu": 1.0}
    return is_standard(node, *names) and options.get("alpha", names[node.op_type]) == 0


def _is_half_line(graph: OnnxGraph, node: onnx.NodeProto) -> bool:
    """Tell whether a Clip lets all numbers from 0 on pass; the largest number is no bound."""
    options = attributes(node)  # where the oldest versions have the bounds
    from_zero, largest = options.get("min") == 0, options.get("max", np.inf)
    limit = np.finfo(np.float32).max
    if has_input(node, 1):
        least = graph.stored_input(node, 1)
        from_zero = least is not None and _is_number(least, 0.0)
    if has_input(node, 2):
        upper = graph.constant(node, 2)
        if upper is None:
            return False
        largest, limit = float(upper.item()), np.finfo(upper.dtype).max
    return bool(from_zero and largest >= limit)


def _is_number(stored: Stored, number: float) -> bool:
    """Tell whether a constant is one number, in a shape that broadcasts to that of any signal."""
    return math.prod(stored.shape) == 1 and len(stored.shape) <= 2 and stored.value.item() == number


def _make_unique(name: str, taken: Container[str]) -> str:
    numbered = (f"{name}_{k}" for k in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


@contextmanager
def _naming(node: onnx.NodeProto) -> Iterator[None]:
    """Name a node in errors."""
    try:
        yield
    except ValueError as error:
        called = node.name or node.output[0]
        raise ValueError(f"model: {node.op_type} {called!r}: {error}") from None


def _complete(call: _Call, name: str) -> OnnxLayer:
    """Join a product with what follows it."""
    product, (output, activation, norm) = call.product, call.end
    step = product.build(product.weights.value, product.scaled_bias, activation=activation)
    factor = None
    if product.alpha != 1 or norm is not None:
        factor = np.full(product.n_outputs, product.alpha)
        affine, bias = step.affine, step.affine.bias
        if norm is not None:
            factor = factor * norm.factor
            bias = norm.offset if bias is None else norm.factor * bias + norm.offset
        step = step.with_affine(affine._replace(weights=affine.weights * factor, bias=bias))
    fixed = product.fixes_bias or norm is not None
    return OnnxLayer(
        name=name,
        input=product.input,
        output=output,
        product=call.node.output[0],
        step=step,
        fixed_bias=fixed,
        weights=product.weights,
        bias=None if fixed else product.bias,
        factor=factor,
        bias_factor=product.beta,
        lacks_bias=product.lacks_bias,
    )


def _with_own_constants(graph: OnnxGraph, calls: Sequence[_Call]) -> list[_Call]:
    """Say of what nothing but the calls of one layer reads that it is theirs.

    Where different things follow them, nothing is part of the layer; nor are biases that differ.
    """
    by_weights: dict[str, list[int]] = defaultdict(list)
    for number, call in enumerate(calls):
        by_weights[call.product.weights.name].append(number)
    found = [*calls]
    for numbers in by_weights.values():
        group = [calls[number] for number in numbers]
        alike = len(group) > 1 and all(map(group[0].has_matrix_of, group[1:]))
        if not alike or not _are_readers(graph, group[0].product.weights, [c.node for c in group]):
            continue
        if not all(map(group[0].has_bias_of, group[1:])):
            group = [call.without_bias() for call in group]
        same_end = all(group[0].end.is_like(call.end) for call in group[1:])
        for number, call in zip(numbers, group, strict=True):
            end = call.end if same_end else _End(call.product.output, "linear", None)
            found[number] = call._replace(product=_own(graph, group, call.product), end=end)
    return found


def _own(graph: OnnxGraph, group: Sequence[_Call], product: _Product) -> _Product:
    """Return a product of a group with weights, and a bias if it is so, that are the group's."""
    product = product._replace(weights=replace(product.weights, shared=False))
    adders = [call.product.adder for call in group]
    if product.bias is not None and _are_readers(graph, product.bias, adders):
        return product._replace(bias=replace(product.bias, shared=False))
    return product


def _are_readers(graph: OnnxGraph, stored: Stored, nodes: Iterable[onnx.NodeProto | None]) -> bool:
    """Tell whether these are the nodes that read a constant, each of them once."""
    return Counter(map(id, graph.final_readers(stored.name))) == Counter(map(id, nodes))


def _find_end(graph: OnnxGraph, product: _Product) -> _End:
    """Return what follows a product."""
    reader, norm = graph.only_reader(product.output), None
    if reader is not None and product.by_channel:
        norm = batch_norm(graph, reader)
        if norm is not None and (norm.factor != 0).all():  # zeros cannot be divided out again
            reader = graph.only_reader(reader.output[0])
    if reader is None or not is_relu(graph, reader):
        return _End(product.output, "linear", None)
    return _End(reader.output[0], "relu", norm)


def _match_product(graph: OnnxGraph, node: onnx.NodeProto) -> _Product | None:
    """Return the layer that begins with a node, None if there is none to be pruned."""
    if not is_standard(node, *_PRODUCTS):
        return None
    weights = graph.stored_input(node, 1)
    if weights is None or weights.tensor.data_type not in FLOATS or 0 in weights.shape:
        return None
    return _PRODUCTS[node.op_type](graph, node, weights)


def _match_gemm(graph: OnnxGraph, node: onnx.NodeProto, weights: Stored) -> _Product | None:
    options: dict[str, Any] = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    options |= attributes(node)
    if options["transA"] or options["alpha"] == 0 or len(weights.shape) != 2:
        return None
    if options["transB"]:
        weights = weights.transposed((1, 0), shared=False)
    bias = None
    if has_input(node, 2) and options["beta"] != 0:
        bias = graph.stored_input(node, 2)
        if bias is None or not _is_row(bias, weights.shape[1]):
            return None
    alpha, beta = options["alpha"], options["beta"]
    return _Product(node.input[0], node.output[0], Dense, weights, bias, alpha, beta, adder=node)


def _match_matmul(graph: OnnxGraph, node: onnx.NodeProto, weights: Stored) -> _Product | None:
    if len(weights.shape) != 2:
        return None
    product = _Product(node.input[0], node.output[0], Dense, weights, bias=None, by_channel=False)
    reader = graph.only_reader(node.output[0])
    if reader is None or not is_standard(reader, "Add"):
        return product
    bias = graph.stored_input(reader, 1 if reader.input[0] == node.output[0] else 0)
    if bias is None or not _is_row(bias, weights.shape[1]):
        return product
    return product._replace(output=reader.output[0], bias=bias, adder=reader)


def _match_conv(graph: OnnxGraph, node: onnx.NodeProto, weights: Stored) -> _Product | None:
    bias = graph.stored_input(node, 2)
    axes = len(weights.shape) - 2
    if axes not in (1, 2) or (bias is None and has_input(node, 2)):
        return None
    options = attributes(node)
    kind = {1: Conv1D, 2: Conv2D}[axes]
    padding: Any = 0
    if options.get("auto_pad") == "SAME_UPPER":
        padding = "same"
    elif options.get("auto_pad") == "SAME_LOWER":
        kind, padding = {1: _SameLower1D, 2: _SameLower2D}[axes], "same"
    elif options.get("auto_pad") != "VALID" and "pads" in options:
        padding = list(zip(options["pads"][:axes], options["pads"][axes:], strict=True))
    build = partial(
        kind,
        stride=options.get("strides", 1),
        padding=padding,
        dilation=options.get("dilations", 1),
        groups=options.get("group", 1),
    )
    return _Product(node.input[0], node.output[0], build, weights, bias)


_PRODUCTS: dict[str, Callable[[OnnxGraph, onnx.NodeProto, Stored], _Product | None]] = {
    "Gemm": _match_gemm,
    "MatMul": _match_matmul,
    "Conv": _match_conv,
}


def _is_row(bias: Stored, n_outputs: int) -> bool:
    """Tell whether a constant is the same for all rows: one entry per output, or one for all."""
    *rows, size = (1, *bias.shape)
    return len(bias.shape) <= 2 and set(rows) <= {1} and size in (1, n_outputs)


class _SameLower1D(Conv1D):
    """Padded like "same", but with the odd zero in front."""

    def window(self, shape: tuple[int, ...]) -> Window:
        """Return which inputs the kernel sees."""
        return _mirror(super().window(shape))


class _SameLower2D(Conv2D):
    """Padded like "same", but with the odd zero in front."""

    def window(self, shape: tuple[int, ...]) -> Window:
        """Return which inputs the kernel sees."""
        return _mirror(super().window(shape))


def _mirror(window: Window) -> Window:
    return replace(window, padding=tuple((behind, before) for before, behind in window.padding))
