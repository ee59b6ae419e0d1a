"""The PyTorch module of a `nettrim.Network`, with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import nettrim
from nettrim.models.network import (
    AveragePool,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    ReLU,
    Residual,
)


def module_of(net: nettrim.Network, shape: tuple[int, ...]) -> torch.nn.Module:
    """Build the PyTorch module; ``shape`` is that of one input."""
    return chain(net.layers, np.zeros((1, *shape))).eval()


def chain(layers: Any, signal: np.ndarray) -> torch.nn.Sequential:
    steps: list[torch.nn.Module] = []
    for layer in layers:
        steps += modules_of(layer, signal)
        signal = layer.forward(signal)
    return torch.nn.Sequential(*steps)


def modules_of(layer: Layer, signal: np.ndarray) -> list[torch.nn.Module]:
    if isinstance(layer, Conv2D):
        return convolution(layer, signal.shape)
    if isinstance(layer, Dense):
        dense = torch.nn.Linear(*layer.weights.shape)
        return [filled(dense, layer.weights.T, layer.bias), *relu(layer.activation)]
    if isinstance(layer, Residual):
        return [Sum(chain(layer.body, signal), chain(layer.shortcut, signal))]
    if isinstance(layer, MaxPool):
        return [torch.nn.MaxPool2d(layer.size, layer.stride)]
    if isinstance(layer, AveragePool):
        return [torch.nn.AvgPool2d(layer.size, layer.stride)]
    if isinstance(layer, GlobalAveragePool):
        return [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    if isinstance(layer, ReLU):
        return [torch.nn.ReLU()]
    if isinstance(layer, Flatten):
        return [torch.nn.Flatten()]
    raise TypeError(f"no module is known for {layer!r}")


def convolution(layer: Conv2D, shape: tuple[int, ...]) -> list[torch.nn.Module]:
    (top, bottom), (left, right) = layer.window(shape).padding
    outputs, inputs, *kernel = layer.weights.shape
    conv = torch.nn.Conv2d(
        inputs * layer.groups, outputs, kernel, layer.stride, groups=layer.groups
    )
    pad = [torch.nn.ZeroPad2d((left, right, top, bottom))] if top + bottom + left + right else []
    return [*pad, filled(conv, layer.weights, layer.bias), *relu(layer.activation)]


class Sum(torch.nn.Module):
    """What two chains make of one signal, added."""

    def __init__(self, body: torch.nn.Module, shortcut: torch.nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


def filled(module: Any, weights: Any, bias: Any) -> torch.nn.Module:
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(np.array(weights)))
        module.bias.copy_(torch.from_numpy(np.array(bias)))
    return module


def relu(activation: str) -> list[torch.nn.Module]:
    return [torch.nn.ReLU()] if activation == "relu" else []
