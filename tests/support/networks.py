"""Networks for the tests, and what every trimmed one must satisfy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nettrim
from nettrim import Dense, Network
from nettrim.models.network import Layer
from nettrim.results.trim_result import TrimResult

Array = NDArray[np.float64]


class Scale(Layer):
    """A layer kind of our own that cannot be pruned."""

    kind = "scale"

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def lipschitz(self, shape) -> float:
        return abs(self.factor)

    def forward(self, X: np.ndarray) -> np.ndarray:
        return self.factor * X

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"factor": np.array(self.factor)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Scale:
        return cls(float(arrays["factor"]))


def random_network(
    rng: np.random.Generator,
    *sizes: int,
    last: str = "linear",
    bias: float = 0.1,
    dtype: type = np.float64,
) -> Network:
    """Dense layers with biases of a given size; about half of all units are active."""
    n_layers = len(sizes) - 1
    return Network(
        [
            Dense(
                (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(dtype),
                (bias * rng.standard_normal(shape[1])).astype(dtype),
                last if k == n_layers - 1 else "relu",
            )
            for k, shape in enumerate(itertools.pairwise(sizes))
        ]
    )


def link_normalised(network: Network) -> tuple[Network, list[float]]:
    """Divide every layer so that its weights and biases have l1 norm 1.

    Returns the network and the factors c_l by which its signals are smaller. Biases are divided by
    the factor of the layer in front as well, because the ones they multiply are not scaled.
    """
    layers, factors = [], [1.0]
    for layer in network.layers:
        assert isinstance(layer, Dense)
        assert layer.bias is not None
        n = float(np.abs(layer.weights).sum() + np.abs(layer.bias).sum() / factors[-1])
        bias = layer.bias / (n * factors[-1])
        layers.append(Dense(layer.weights / n, bias, layer.activation))
        factors.append(n * factors[-1])
    return Network(layers), factors[1:]


def outputs(network: Network, X: Array) -> list[Array]:
    """The output of every layer."""
    signals = [X]
    for layer in network.layers:
        signals.append(layer.forward(signals[-1]))
    return signals[1:]


def spirals(rng: np.random.Generator, n: int = 100) -> tuple[Array, NDArray[np.intp]]:
    """Two interleaved spirals of n noisy points each."""
    t = rng.random((2, n))
    angle = 7.0 * t + np.array([[0.0], [np.pi]])
    points = np.stack([(0.3 + t) * np.cos(angle), (0.3 + t) * np.sin(angle)], axis=-1)
    return points.reshape(-1, 2) + 0.03 * rng.standard_normal((2 * n, 2)), np.repeat([0, 1], n)


def train(X: Array, labels: NDArray[np.intp], *hidden: int, steps: int) -> Network:
    """A ReLU classifier: full-batch Adam on the cross-entropy, no regularisation."""
    rng = np.random.default_rng(0)
    targets = np.eye(labels.max() + 1)[labels]
    sizes = [X.shape[1], *hidden, targets.shape[1]]
    parameters = [
        p
        for a, b in itertools.pairwise(sizes)
        for p in (rng.standard_normal((a, b)) * np.sqrt(2 / a), np.zeros(b))
    ]
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    for t in range(1, steps + 1):
        for p, m, v, g in zip(
            parameters, first, second, gradients(parameters, X, targets), strict=True
        ):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= 1e-3 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    layers = [Dense(W, b) for W, b in pairs[:-1]]
    return Network([*layers, Dense(*pairs[-1], "linear")])


def gradients(parameters: list[Array], X: Array, targets: Array) -> list[Array]:
    """Of the mean cross-entropy behind a softmax, in the order of the parameters."""
    signals = [X]
    for W, b in zip(parameters[::2], parameters[1::2], strict=True):
        signals.append(np.maximum(signals[-1] @ W + b, 0.0))
    logits = signals[-2] @ parameters[-2] + parameters[-1]
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    back = (softmax / softmax.sum(axis=1, keepdims=True) - targets) / len(X)
    found: list[Array] = []
    for W, signal in zip(parameters[-2::-2], signals[-2::-1], strict=True):
        found = [signal.T @ back, back.sum(axis=0), *found]
        back = (back @ W.T) * (signal > 0)
    return found


def trim(model: Any, X: Array, **options: Any) -> TrimResult[Any]:
    """Trim without progress on stderr."""
    return nettrim.trim(model, X, **{"progress": False, **options})


def distances(original: Network, trimmed: Network, X: Array) -> list[float]:
    """Relative distance of every layer's output, computed from the two models alone."""
    pairs = zip(outputs(original, X), outputs(trimmed, X), strict=True)
    return [float(np.linalg.norm(b - a) / np.linalg.norm(a)) for a, b in pairs]


def assert_bounded(result: TrimResult[Network], X: Array) -> None:
    """What is reported is true of the returned model, and no bound is broken."""
    measured = distances(result.original, result.model, X)
    for layer, distance in zip(result.layers, measured, strict=True):
        assert layer.discrepancy == pytest.approx(distance, rel=1e-9, abs=1e-12)
        assert layer.discrepancy <= layer.bound
    assert result.discrepancy == pytest.approx(measured[-1], rel=1e-9, abs=1e-12)
    assert result.discrepancy <= result.bound
