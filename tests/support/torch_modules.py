"""Modules of PyTorch for the tests, and what every trimmed one must satisfy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nettrim.models.model_view import as_view
from support.networks import Array

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn


from nettrim.models.adapters.torch import TorchView


def settled(model: Any, X: Any) -> TorchView:
    """The view of a module that has seen data."""
    view = as_view(model)
    assert isinstance(view, TorchView)
    view.calibration(X, "X")
    return view


def outputs(model: Any, X: Array) -> Array:
    """What a module computes in evaluation mode and float64."""
    with torch.no_grad():
        return copy.deepcopy(model).double().eval()(torch.tensor(X)).numpy()


def assert_same_state(one: Any, other: Any) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def assert_true(result: Any, X: Array) -> None:
    """What is reported of the output is what the two modules do, and no bound is broken."""
    before, after = outputs(result.original, X), outputs(result.model, X)
    distance = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert result.discrepancy == pytest.approx(distance, rel=1e-9)
    assert result.discrepancy <= result.bound
    assert all(layer.discrepancy <= layer.bound for layer in result.layers)


def perceptron() -> Any:
    return nn.Sequential(
        *(nn.Linear(8, 10), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(10, 6), nn.Dropout(0.1), nn.ReLU(), nn.Linear(6, 3)),
    )


class Residual(nn.Module):
    """Normalisation, pooling and a shortcut around one convolution, in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding="same", bias=False), nn.BatchNorm2d(4)
        self.pool, self.relu = nn.MaxPool2d(2), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Any, scale: Any = None) -> Any:
        x = self.pool(self.relu(self.norm1(self.conv1(x))))
        y = self.norm2(self.conv2(x))
        y += x
        y = F.adaptive_avg_pool2d(self.relu(y), 1)
        if scale is not None:
            y = y * scale
        return self.head(torch.flatten(y, 1))


def residual() -> Residual:
    """One whose normalisations have seen data, the first of them frozen."""
    model = Residual()
    for _ in range(5):
        model(2.0 * torch.randn(32, 1, 8, 8) + 1.0)
    model.norm1.eval()
    return model


def encoder() -> Any:
    block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    return nn.TransformerEncoder(block, 2, enable_nested_tensor=False)


def found(model: Any, X: Any) -> list[tuple[str, str]]:
    """Names and activations, in the order of the calls."""
    return [(layer.name, layer.activation) for layer in settled(model, X).prunable_layers()]


class After(nn.Module):
    """Two layers and something of one's choice between them."""

    def __init__(self, what: Callable[..., Any], *modules: Any) -> None:
        super().__init__()
        self.layer, self.what, self.parts = nn.Linear(4, 6), what, nn.ModuleList(modules)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.last(self.what(self.layer(x), *self.parts))


class Step(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)
