"""How far the operations of PyTorch can move a signal: Lipschitz constants in the Frobenius norm.

An operation without a rule here is unbounded.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.node import map_arg

from ...network.shapes import check_sizes
from ...unfold import Window
from .layers import FLOATS, LAYERS, layer_view, read_normalisation

__all__ = ["AFFINE", "GraphCall", "Shape", "operand_lipschitz"]

Shape = tuple[int, ...]


class GraphCall(NamedTuple):
    """A node of a graph as the rules see it.

    Attributes
    ----------
    node : torch.fx.Node
    kind : type, callable or str
        Class of a module, a function, or the name of a method.
    module : torch.nn.Module or None
    traced : torch.fx.GraphModule
    shapes : mapping of torch.fx.Node to tuple of int
        Of all tensors in the graph.
    """

    node: fx.Node
    kind: Any
    module: Any
    traced: fx.GraphModule
    shapes: Mapping[fx.Node, Shape]

    @property
    def options(self) -> dict[str, Any]:
        """Attributes of a module, or arguments of a function by name; empty where unknown."""
        if self.module is not None:
            return dict(vars(self.module))
        try:
            normal = self.node.normalized_arguments(self.traced, normalize_to_only_use_kwargs=True)
        except RuntimeError:  # several overloads fit
            return {}
        return {} if normal is None else dict(normal.kwargs)

    @property
    def before(self) -> Shape:
        """Shape of the first operand."""
        return self.shapes.get(self.node.all_input_nodes[0], ())

    @property
    def after(self) -> Shape:
        """Shape of the result."""
        return self.shapes.get(self.node, ())


def operand_lipschitz(call: GraphCall) -> Iterator[tuple[fx.Node, float]]:
    """Yield every operand of a call, and how far the result moves if it does."""
    rule = RULES.get(call.kind)
    for operand in _operands(call.node):
        if call.kind in SUMS and not call.node.kwargs:
            yield operand, _repeated(call.shapes.get(operand, ()), call.after)
        else:
            yield operand, math.inf if rule is None else rule(call)


def _operands(node: fx.Node) -> list[fx.Node]:
    """Return the operands; one that is used twice comes twice."""
    found: list[fx.Node] = []
    map_arg((node.args, node.kwargs), found.append)
    return found


def _repeated(before: Shape, after: Shape) -> float:
    """Return the root of the number of copies that broadcasting makes."""
    return math.sqrt(math.prod(after) / max(1, math.prod(before)))


def _constant(limit: float) -> Callable[[GraphCall], float]:
    return lambda call: limit


def _dropout(call: GraphCall) -> float:
    training = call.options.get("training", call.options.get("train", True))
    return 1.0 if training is False else math.inf


def _window(call: GraphCall, axes: int) -> Window:
    size = check_sizes(call.options["kernel_size"], "kernel_size", axes)
    stride = check_sizes(call.options["stride"] or size, "stride", axes)
    dilation = check_sizes(call.options.get("dilation", 1), "dilation", axes)
    return Window(size, stride, ((0, 0),) * axes, dilation)


def _max_pool(call: GraphCall, axes: int) -> float:
    """Return the root of the number of windows an input can lie in."""
    if not call.options or call.options.get("return_indices"):
        return math.inf
    return math.sqrt(_window(call, axes).overlap)


def _average_pool(call: GraphCall, axes: int) -> float:
    """Return the same over the root of a mean's number of inputs, which may be one at a border."""
    if not call.options or call.options.get("divisor_override") is not None:
        return math.inf
    padding = check_sizes(call.options["padding"], "padding", axes, least=0)
    at_border = any(padding) and not call.options["count_include_pad"]
    least = 1 if at_border or call.options["ceil_mode"] else math.prod(_window(call, axes).kernel)
    return math.sqrt(_window(call, axes).overlap / least)


def _adaptive(call: GraphCall, axes: int, mean: bool) -> float:
    """Return the constant of a pooling whose windows are a partition."""
    sizes = list(zip(call.before[-axes:], call.after[-axes:], strict=True))
    if not sizes or any(before % after for before, after in sizes):
        return math.inf
    return 1 / math.sqrt(math.prod(b // a for b, a in sizes)) if mean else 1.0


def _mean(call: GraphCall) -> float:
    """Return one over the root of the number of entries in a mean."""
    return math.sqrt(math.prod(call.after) / max(1, math.prod(call.before)))


def _log_softmax(call: GraphCall) -> float:
    """Return the largest norm of the oblique projection ``I - 1 p'``, the root of its size."""
    return math.sqrt(max(call.before[1:], default=math.inf))


def _leaky(call: GraphCall) -> float:
    return max(1.0, abs(float(call.options.get("negative_slope", math.inf))))


def _clamp(call: GraphCall) -> float:
    """Return 1 for fixed limits."""
    return 1.0 if len(_operands(call.node)) == 1 else math.inf


def _threshold(call: GraphCall) -> float:
    """Return 1 where nothing jumps."""
    options = call.options
    meets = options and options["threshold"] == options["value"]
    return 1.0 if meets else math.inf


def _batch_norm(call: GraphCall) -> float:
    if call.module.running_mean is None:
        return math.inf
    return float(np.abs(read_normalisation(call.module)[0]).max())


def _layer(call: GraphCall) -> float:
    if type(call.module) not in LAYERS:
        return math.inf
    readable = call.module.weight.dtype in FLOATS
    if not readable or getattr(call.module, "padding_mode", "zeros") != "zeros":
        return math.inf
    layer = layer_view(str(call.node.target), call.module)
    return layer.lipschitz(layer.affine, call.before)


def _scaled(call: GraphCall, power: int) -> float:
    """Return the factor of a product with a number, or of a quotient by one."""
    numbers = [abs(float(a)) for a in call.node.args if isinstance(a, (int, float))]
    by_number = len(numbers) == 1 and (power == 1 or isinstance(call.node.args[0], fx.Node))
    if not by_number or not numbers[0] or call.node.kwargs:
        return math.inf
    return float(numbers[0] ** power)


def _item(call: GraphCall) -> float:
    """Return 1 for a part of a tensor or of a tuple; lists of positions could repeat some."""
    where = call.node.args[1]
    parts = where if isinstance(where, tuple) else (where,)
    plain = all(part is None or isinstance(part, (int, slice, type(...))) for part in parts)
    return 1.0 if plain else math.inf


def _attribute(call: GraphCall) -> float:
    return 0.0 if call.node.args[1] in ("shape", "dtype", "device", "ndim") else math.inf


def _pad(call: GraphCall) -> float:
    return 1.0 if call.options.get("mode") == "constant" else math.inf


SUMS = {
    *(operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub),
    *("add", "add_", "sub", "sub_"),
    *(torch.maximum, torch.minimum, "maximum", "minimum"),  # move no more than the sum
}

# What moves, copies or drops entries, and activations that are nonexpansive.
ONCE = [
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    *(nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
    *(nn.ZeroPad1d, nn.ZeroPad2d),
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.Softplus, nn.Softmax),
    *(F.relu, F.relu_, F.relu6, F.hardtanh, F.tanh, F.softplus, F.softmax),
    *(torch.relu, torch.relu_, torch.tanh, torch.softmax),
    *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze),
    *(torch.unsqueeze, torch.cat, torch.concat, torch.stack, torch.chunk, torch.split),
    *(operator.neg, torch.neg, F.pixel_shuffle, F.pixel_unshuffle),
    *("relu", "relu_", "tanh", "softmax", "flatten", "unflatten", "view", "reshape", "permute"),
    *("transpose", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "neg", "cat", "stack"),
    *("chunk", "split", "split_with_sizes", "unbind", "select", "slice"),
]

# Operations of layers, weights second.
AFFINE = ("linear", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")

RULES: dict[Any, Callable[[GraphCall], float]] = {
    **dict.fromkeys(ONCE, _constant(1.0)),
    **dict.fromkeys(["size", "dim", "numel"], _constant(0.0)),  # numbers that do not move
    **dict.fromkeys([nn.Sigmoid, F.sigmoid, torch.sigmoid, "sigmoid"], _constant(0.25)),
    **dict.fromkeys([nn.GELU, F.gelu, "gelu"], _constant(1.13)),  # largest slope 1.12904
    **dict.fromkeys([nn.SiLU, F.silu, "silu"], _constant(1.1)),  # 1.09984
    **dict.fromkeys([nn.LeakyReLU, F.leaky_relu, "leaky_relu"], _leaky),
    **dict.fromkeys([nn.LogSoftmax, F.log_softmax, torch.log_softmax, "log_softmax"], _log_softmax),
    **dict.fromkeys([nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d], _batch_norm),
    **dict.fromkeys([*LAYERS, *AFFINE], _layer),
    **dict.fromkeys([torch.clamp, torch.clip, "clamp", "clamp_", "clip", "clip_"], _clamp),
    **dict.fromkeys([torch.clamp_min, "clamp_min", "clamp_min_", "relu6"], _clamp),
    **dict.fromkeys([torch.clamp_max, "clamp_max", "clamp_max_", "hardtanh"], _clamp),
    **dict.fromkeys([nn.Threshold, F.threshold, torch.threshold], _threshold),
    **dict.fromkeys([torch.mean, "mean"], _mean),
    **dict.fromkeys([operator.mul, operator.imul, torch.mul, "mul"], partial(_scaled, power=1)),
    **dict.fromkeys([operator.truediv, torch.div, "div"], partial(_scaled, power=-1)),
    **dict.fromkeys([nn.MaxPool1d, F.max_pool1d], partial(_max_pool, axes=1)),
    **dict.fromkeys([nn.MaxPool2d, F.max_pool2d, "max_pool2d"], partial(_max_pool, axes=2)),
    **dict.fromkeys([nn.AvgPool1d, F.avg_pool1d], partial(_average_pool, axes=1)),
    **dict.fromkeys([nn.AvgPool2d, F.avg_pool2d, "avg_pool2d"], partial(_average_pool, axes=2)),
    nn.AdaptiveAvgPool1d: partial(_adaptive, axes=1, mean=True),
    nn.AdaptiveAvgPool2d: partial(_adaptive, axes=2, mean=True),
    nn.AdaptiveMaxPool1d: partial(_adaptive, axes=1, mean=False),
    nn.AdaptiveMaxPool2d: partial(_adaptive, axes=2, mean=False),
    F.adaptive_avg_pool1d: partial(_adaptive, axes=1, mean=True),
    F.adaptive_avg_pool2d: partial(_adaptive, axes=2, mean=True),
    **dict.fromkeys([F.dropout, "dropout"], _dropout),
    F.pad: _pad,
    operator.getitem: _item,
    getattr: _attribute,
}
