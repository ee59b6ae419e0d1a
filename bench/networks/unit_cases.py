"""The networks of `compare_units`, with rows for calibration and others that nobody sees.

Three networks are trained here, always alike, on Fashion-MNIST: a residual MLP and, on images of
14 x 14, one of convolutions; and a small transformer in PyTorch. Their weights are kept in a
folder, for training takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import nettrim
from bench.common import data
from bench.common.data import Array, Labels
from bench.networks.modules import module_of
from bench.networks.small_transformer import Transformer, patches
from nettrim.models.model_view import as_view
from nettrim.models.network import Conv2D, Dense, GlobalAveragePool, Layer, ReLU, Residual

KIND = "fashion_mnist"
BATCH, RATE, DECAY = 100, 2e-3, 1e-2
UNSEEN = 2000


@dataclass(frozen=True)
class Case:
    """A trained `nettrim.Network` or module; rows for calibration with labels, and others."""

    name: str
    net: Any
    X: Array
    labels: Labels
    unseen: Array
    unseen_labels: Labels

    @cached_property
    def outputs(self) -> tuple[Array, Array]:
        """What the network makes of both."""
        return outputs(self.net, self.X), outputs(self.net, self.unseen)


@dataclass(frozen=True)
class Folder:
    """Where data are, where trained networks are kept, and how many rows are wanted."""

    data: Path
    kept: Path
    rows: int

    def mnist(
        self,
        name: str,
        net: Any,
        kind: str = "mnist",
        shaped: Callable[[Array], Array] = np.asarray,
    ) -> Case:
        """Return a case of images, as its network takes them."""
        parts = [
            (shaped(X), labels)
            for X, labels in (
                data.mnist(self.data, "train", self.rows, kind=kind),
                data.mnist(self.data, "t10k", UNSEEN, kind=kind),
            )
        ]
        return Case(name, net, *parts[0], *parts[1])

    def trained(
        self,
        name: str,
        untrained: Callable[[np.random.Generator], list[Layer]],
        shaped: Callable[[Array], Array],
        count: int,
        epochs: int,
    ) -> nettrim.Network:
        """Return a network from the folder, or train it."""
        path = self.kept / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            X, labels = data.mnist(self.data, "train", count, kind=KIND)
            net = nettrim.Network(untrained(np.random.default_rng(0)))
            module = module_of(net, shaped(X[:1]).shape[1:])
            train(module, shaped(X), labels, epochs)
            with_weights_of(net, module).save(path)
        return nettrim.Network.load(path)

    def trained_transformer(self, count: int, epochs: int) -> nn.Module:
        """Return the transformer from the folder, or train it."""
        path = self.kept / "transformer.pt"
        torch.manual_seed(0)
        module = Transformer()
        if path.exists():
            module.load_state_dict(torch.load(path, weights_only=True))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            X, labels = data.mnist(self.data, "train", count, kind=KIND)
            train(module, patches(X), labels, epochs)
            torch.save(module.state_dict(), path)
        return module.eval()


def outputs(model: Any, X: Array) -> Array:
    """What a model makes of some rows."""
    view = as_view(model)
    return view.output_values(view.calibration(X, "X"), {})[0]


def as_images(X: Array) -> Array:
    return X.reshape(-1, 1, 28, 28)


def halved(X: Array) -> Array:
    """Return images of means over squares of two by two."""
    images = X.reshape(len(X), 1, 14, 2, 14, 2)
    return np.ascontiguousarray(images.mean(axis=(3, 5)))


def lenet300(folder: Folder) -> Case:
    return folder.mnist("lenet300", data.trained(folder.data, "mnist_lenet300"))


def fc(folder: Folder) -> Case:
    return folder.mnist("fc", data.trained(folder.data, "mnist_fc"))


def lenet5(folder: Folder) -> Case:
    return folder.mnist("lenet5", data.lenet5(folder.data), shaped=as_images)


def kws(folder: Folder) -> Case:
    net, X, labels = data.keyword_spotting(folder.data)
    return Case("kws", net, X[:500], labels[:500], X[500:], labels[500:])


def residual_mlp(folder: Folder) -> Case:
    net = folder.trained("residual_mlp", residual_mlp_layers, np.asarray, 60000, 6)
    return folder.mnist("residual_mlp", net, KIND)


def resnet(folder: Folder) -> Case:
    net = folder.trained("resnet", resnet_layers, halved, 20000, 6)
    return folder.mnist("resnet", net, KIND, halved)


def transformer(folder: Folder) -> Case:
    net = folder.trained_transformer(20000, 5)
    return folder.mnist("transformer", net, KIND, patches)


CASES: dict[str, Callable[[Folder], Case]] = {
    f.__name__: f for f in (lenet300, fc, lenet5, kws, residual_mlp, resnet, transformer)
}


# --- residual networks ----------------------------------------------------------------------------


def residual_mlp_layers(rng: np.random.Generator) -> list[Layer]:
    blocks: list[Layer] = []
    for _ in range(3):
        blocks += [Residual([dense(rng, 128, 256), dense(rng, 256, 128, "linear")]), ReLU()]
    return [dense(rng, 784, 128), *blocks, dense(rng, 128, 10, "linear")]


def resnet_layers(rng: np.random.Generator) -> list[Layer]:
    layers: list[Layer] = [conv(rng, 1, 16)]
    for inputs, outputs, stride in ((16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1)):
        body = [conv(rng, inputs, outputs, stride), conv(rng, outputs, outputs, 1, "linear")]
        shortcut = [] if stride == 1 else [conv(rng, inputs, outputs, stride, "linear", 1)]
        layers += [Residual(body, shortcut), ReLU()]
    return [*layers, GlobalAveragePool(), dense(rng, 32, 10, "linear")]


def dense(rng: np.random.Generator, n: int, m: int, activation: str = "relu") -> Dense:
    return Dense(normal(rng, (n, m), n, activation), np.zeros(m, np.float32), activation)


def conv(
    rng: np.random.Generator,
    n: int,
    m: int,
    stride: int = 1,
    activation: str = "relu",
    size: int = 3,
) -> Conv2D:
    return Conv2D(
        normal(rng, (m, n, size, size), n * size * size, activation),
        np.zeros(m, np.float32),
        stride=stride,
        padding=size // 2,
        activation=activation,
    )


def normal(
    rng: np.random.Generator, shape: Sequence[int], fan_in: int, activation: str
) -> np.ndarray:
    """Return weights that keep signals at their size; the ends of bodies begin smaller."""
    gain = 2.0 if activation == "relu" else 0.5
    return (rng.standard_normal(shape) * np.sqrt(gain / fan_in)).astype(np.float32)


def train(module: nn.Module, X: Array, labels: Labels, epochs: int) -> None:
    """Train by AdamW with a cosine decay, on one thread and from one seed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    inputs, wanted = torch.from_numpy(X).float(), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * -(-len(X) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(X)).split(BATCH):
            loss = nn.functional.cross_entropy(module(inputs[batch]), wanted[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def with_weights_of(net: nettrim.Network, module: nn.Module) -> nettrim.Network:
    """Return the network with the weights of its module."""
    trained = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    affines = {}
    for k, (layer, its) in enumerate(zip(net.prunable_layers(), trained, strict=True)):
        weights = its.weight.detach().numpy()
        affines[k] = layer.affine._replace(
            weights=weights.reshape(len(weights), -1).T.copy(), bias=its.bias.detach().numpy()
        )
    return net.with_weights(affines)
