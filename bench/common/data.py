"""The data of the benchmarks, from ``--data DIR``: MNIST, trained networks, the two spirals."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nettrim import (
    AveragePool,
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    Network,
)

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def mnist(
    data: Path, part: str, count: int | None = None, *, kind: str = "mnist"
) -> tuple[Array, Labels]:
    """Images in [0, 1], one per row, and labels; ``part`` is "train" or "t10k".

    ``kind="fashion_mnist"`` is Fashion-MNIST, which has the same format.
    """
    images = idx(data / kind / f"{part}-images-idx3-ubyte.gz", offset=16).reshape(-1, 784)
    labels = idx(data / kind / f"{part}-labels-idx1-ubyte.gz", offset=8)
    return images[:count] / 255.0, labels[:count].astype(np.int64)


def idx(path: Path, offset: int) -> NDArray[np.uint8]:
    with gzip.open(path) as stream:
        return np.frombuffer(stream.read(), np.uint8, offset=offset)


def trained(data: Path, name: str) -> Network:
    """One of the trained dense networks."""
    return stored(data / "reference" / f"{name}.npz")


def stored(path: Path) -> Network:
    """A dense ReLU network stored as W1, b1, W2, ...; the last layer gives logits."""
    with np.load(path) as file:
        W, b = parameters_of(file)
    return network([(w.astype(float), c.astype(float)) for w, c in zip(W, b, strict=True)])


def network(pairs: list[tuple[Array, Array]]) -> Network:
    kinds = ["relu"] * (len(pairs) - 1) + ["linear"]
    return Network(
        [Dense(W, b, activation=kind) for (W, b), kind in zip(pairs, kinds, strict=True)]
    )


def lenet5(data: Path) -> Network:
    """Takes MNIST images of shape (n, 1, 28, 28)."""
    with np.load(data / "reference" / "mnist_lenet5.npz") as file:
        W, b = parameters_of(file)
    layers = [layer for k in range(2) for layer in (Conv2D(W[k], b[k], padding="same"), MaxPool(2))]
    return Network([*layers, Flatten(), Dense(W[2], b[2]), Dense(W[3], b[3], "linear")])


def keyword_spotting(data: Path) -> tuple[Network, Array, Labels]:
    """The MLPerf Tiny DS-CNN, inputs of shape (n, 1, 49, 10), and what was said in them."""
    with np.load(data / "models" / "mlperf_tiny_kws_dscnn.npz") as file:
        W, b = parameters_of(file)
        X = (file["X"].astype(float) - float(file["zero_point"])) * float(file["scale"])
        labels = file["y"].astype(np.int64)
    pairs = [
        layer
        for k in range(1, 9, 2)
        for layer in (Conv2D(W[k], b[k], padding=1, groups=64), Conv2D(W[k + 1], b[k + 1]))
    ]
    first = Conv2D(W[0], b[0], stride=2, padding="same")
    head = [AveragePool((24, 5)), Flatten(), Dense(W[9], b[9], "linear")]
    return Network([first, *pairs, *head]), X[:, None], labels


def anomaly_autoencoder(data: Path) -> tuple[Network, Array]:
    """The MLPerf Tiny autoencoder and windows of sound; it is judged by its mean squared error."""
    with np.load(data / "models" / "mlperf_tiny_ad_autoencoder.npz") as file:
        W, b = parameters_of(file)
        X = file["X"].astype(float)
    return network(list(zip(W, b, strict=True))), X


def parameters_of(file: Mapping[str, Array]) -> tuple[list[Array], list[Array]]:
    count = sum(key.startswith("W") for key in file)
    return tuple([file[f"{letter}{k}"] for k in range(1, count + 1)] for letter in "Wb")


def accuracy(net: Network, X: Array, labels: Labels) -> float:
    return float(np.mean(net.predict(X).argmax(axis=1) == labels))


def layer_data(net: Network, X: Array, k: int) -> tuple[Array, Array, str]:
    """Input (with its column of ones), output and activation of layer ``k``, counted from 1."""
    for before in net.layers[: k - 1]:
        X = before.forward(X)
    chosen = net.layers[k - 1]
    return np.column_stack([X, np.ones(len(X))]), chosen.forward(X), chosen.activation


# --- the two spirals ------------------------------------------------------------------------------


def spiral(data: Path) -> tuple[Array, Labels]:
    rows = [line.split(",") for line in (data / "spiral.csv").read_text().split()[1:]]
    points = np.array([[float(x), float(y)] for x, y, _ in rows])
    return points, np.array([colour == "Red" for *_, colour in rows], dtype=np.int64)


def spiral_network(X: Array, labels: Labels, hidden: int = 200, steps: int = 4000) -> Network:
    """Train 2-200-200-2 on the spirals, always alike: full batches, Adam, cross entropy."""
    rng = np.random.default_rng(0)
    sizes = [X.shape[1], hidden, hidden, int(labels.max()) + 1]
    shapes = list(pairwise(sizes))
    parameters = [rng.standard_normal(s) * np.sqrt(2 / s[0]) for s in shapes] + [
        np.zeros(m) for _, m in shapes
    ]
    means, squares = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for step in range(1, steps + 1):
        for p, m, v, g in zip(
            parameters, means, squares, gradients(parameters, X, labels), strict=True
        ):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= 1e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    depth = len(shapes)
    return network(list(zip(parameters[:depth], parameters[depth:], strict=True)))


def gradients(parameters: list[Array], X: Array, labels: Labels) -> list[Array]:
    """Back-propagation of the mean cross entropy: weights first, then biases."""
    depth = len(parameters) // 2
    W, b = parameters[:depth], parameters[depth:]
    signals = [X]
    for k in range(depth - 1):
        signals.append(np.maximum(signals[-1] @ W[k] + b[k], 0))
    logits = signals[-1] @ W[-1] + b[-1]
    delta = np.exp(logits - logits.max(axis=1, keepdims=True))
    delta /= delta.sum(axis=1, keepdims=True)
    delta[np.arange(len(X)), labels] -= 1
    delta /= len(X)
    by_weight, by_bias = [], []
    for k in reversed(range(depth)):
        by_weight.append(signals[k].T @ delta)
        by_bias.append(delta.sum(axis=0))
        delta = (delta @ W[k].T) * (signals[k] > 0)
    return by_weight[::-1] + by_bias[::-1]
