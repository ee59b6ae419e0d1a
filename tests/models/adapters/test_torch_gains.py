"""How far the outputs of modules can move with a layer: Lipschitz constants, or no promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn


from support.torch_modules import Step, residual, settled


def gain(*steps: Any, size: int = 8, axes: int = 2) -> float:
    """How far a convolution with some steps behind it follows the convolution; checked on data."""
    kind = (nn.Conv1d, nn.Conv2d)[axes - 1]
    model = nn.Sequential(kind(2, 4, 1), *steps).eval()
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5, 2, *[size] * axes))
    view = settled(model, X)
    layer = view.prunable_layers()[0]
    *_, end = view.signals(X, {})
    for scale in (1e-3, 1.0, 30.0):
        moved = layer.affine.weights + scale * rng.standard_normal(layer.affine.weights.shape)
        new = {0: layer.affine._replace(weights=moved)}
        *_, other = view.signals(X, new)
        distance = np.linalg.norm(layer.respond(new[0], X) - layer.respond(layer.affine, X))
        assert np.linalg.norm(other.values - end.values) <= end.lipschitz[0] * distance * (1 + 1e-9)
    return end.lipschitz[0]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (nn.ReLU(), 1.0),
        (nn.Sequential(nn.Tanh(), nn.LeakyReLU(0.1)), 1.0),
        (nn.LeakyReLU(-2.0), 2.0),
        (nn.GELU(), 1.13),
        (nn.GELU(approximate="tanh"), 1.13),
        (nn.SiLU(), 1.1),
        (lambda x: F.leaky_relu(x, 0.2), 1.0),
        (torch.sigmoid, 0.25),
        (nn.Softmax(dim=1), 1.0),
        (nn.MaxPool2d(2), 1.0),
        (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), 2.0),
        (nn.MaxPool2d((3, 1), stride=1, dilation=2), math.sqrt(3)),
        (lambda x: F.max_pool2d(x, 3, 1), 3.0),
        (nn.AvgPool2d(2), 0.5),
        (lambda x: F.avg_pool2d(x, 3, 2), 2 / 3),
        (nn.AvgPool2d(2, stride=2, padding=1, count_include_pad=False), 1.0),
        (nn.AvgPool2d(2, divisor_override=1), math.inf),
        (nn.AdaptiveAvgPool2d(1), 1 / 8),
        (lambda x: F.adaptive_avg_pool2d(x, 4), 0.5),
        (nn.AdaptiveAvgPool2d(3), math.inf),
        (nn.AdaptiveMaxPool2d(2), 1.0),
        (lambda x: x.mean(dim=(2, 3)), 1 / 8),
        (lambda x: F.log_softmax(x.flatten(1), dim=1), 16.0),
        (lambda x: x.view(x.size(0), -1), 1.0),
        (lambda x: x[:, :2].permute(0, 2, 3, 1), 1.0),
        (lambda x: x[:, [0, 0]], math.inf),
        (lambda x: F.pad(x, (1, 1)), 1.0),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), math.inf),
        (lambda x: x + x.relu(), 2.0),
        (lambda x: x + x.mean(dim=(2, 3), keepdim=True), 2.0),
        (lambda x: torch.cat([x, x.tanh()], dim=1), 2.0),
        (lambda x: torch.add(x, x, alpha=3), math.inf),
        (lambda x: -(3.0 * x) / 2.0, 1.5),
        (lambda x: x * x, math.inf),
        (lambda x: 1.0 / x, math.inf),
        (lambda x: F.dropout(x, 0.5, training=False), 1.0),
        (lambda x: x.chunk(2, dim=1)[1], 1.0),
        (nn.LayerNorm(8), math.inf),
        (nn.Upsample(scale_factor=2), math.inf),
    ],
)
def test_gains_are_lipschitz_constants(function: Any, expected: float) -> None:
    step = function if isinstance(function, nn.Module) else Step(function)
    assert gain(step) == pytest.approx(expected)


def test_gains_along_one_axis() -> None:
    assert gain(nn.MaxPool1d(3, 1), axes=1) == pytest.approx(math.sqrt(3))
    assert gain(nn.AvgPool1d(3, 3), axes=1) == pytest.approx(1 / math.sqrt(3))
    assert gain(nn.AdaptiveAvgPool1d(2), axes=1) == pytest.approx(0.5)


def test_gains_of_modules_with_weights() -> None:
    norm = nn.BatchNorm2d(4)
    norm.weight.data.copy_(torch.tensor([1.0, -3.0, 2.0, 0.0]))
    assert gain(norm) == pytest.approx(3 / math.sqrt(1 + 1e-5))
    one, other = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    one.weight = other.weight
    with pytest.warns(UserWarning, match="is not pruned: it shares its parameters"):
        stretch = gain(one, nn.ReLU(), other)
    norm_of_weight = np.linalg.norm(one.weight.detach().numpy().reshape(4, 4), 2)
    assert stretch == pytest.approx(norm_of_weight**2)


def test_gains_of_a_shortcut_add_up(rng: np.random.Generator) -> None:
    X = rng.standard_normal((6, 1, 8, 8))
    model = residual()
    gains = [signal.lipschitz for signal in settled(model, X).signals(X, {})]
    norm = model.norm2
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs().max().item()
    assert gains[:2] == [{}, {0: 1.0}]
    assert gains[2] == pytest.approx({0: 0.25, 1: 0.25 * scale}, rel=1e-6)  # a mean of 4 by 4
    assert gains[3] == {2: 1.0}


def test_nothing_is_promised_of_tensors_that_are_overwritten(rng: np.random.Generator) -> None:
    def overwrites(x: Any) -> Any:
        y = x.tanh()
        part = y.view(len(y), -1)
        part += 1.0
        return y  # not what a graph takes it for

    X = rng.standard_normal((6, 4))
    with pytest.warns(UserWarning, match="what follows the layers '0' is not known"):
        view = settled(nn.Sequential(nn.Linear(4, 3), Step(overwrites)), X)
    *_, end = view.signals(X, {})
    assert end.lipschitz == {0: math.inf}
