"""Networks with gates for the tests, and what the estimates of their worth must equal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

from nettrim.parsimonious import UnitGates
from nettrim.parsimonious.gated_program import GatedProgram

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def mlp(*sizes: int, activation: type[nn.Module] = nn.ReLU, scale: float = 1.0) -> nn.Sequential:
    """A dense network with He's weights, and biases of zero."""
    layers: list[nn.Module] = []
    for n, m in itertools.pairwise(sizes):
        layer = nn.Linear(n, m)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        layer.weight.data *= scale
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


class Digits:
    """Scikit-learn's digits: 1,257 to train in batches of 64 in random order, 540 to test."""

    def __init__(self) -> None:
        X, y = load_digits(return_X_y=True)
        order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
        self.X = torch.tensor(X / 16, dtype=torch.float32)[order]
        self.y = torch.tensor(y)[order]

    def __len__(self) -> int:
        return 20

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in torch.randperm(1257).split(64):
            yield self.X[rows], self.y[rows]

    @property
    def test(self) -> Batches:
        return [(self.X[1257:], self.y[1257:])]


class Block(nn.Module):
    """A residual section: two layers beside nothing."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.rise, self.fall = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fall(self.rise(x).relu())


def residual_mlp(sections: int, width: int = 48, inner: int = 32) -> nn.Sequential:
    blocks = [Block(width, inner) for _ in range(sections)]
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), *blocks, nn.Linear(width, 10))


class ConvNet(nn.Module):
    """Convolutions with normalisation, pooling and a flattening in between; code of functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 5, 3)
        self.fc1, self.fc2 = nn.Linear(5 * 4, 7), nn.Linear(7, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.norm(self.conv1(x)).relu(), 2)
        x = torch.flatten(nn.functional.relu(self.conv2(x), inplace=True), 1)
        return self.fc2(torch.tanh(self.fc1(x)))


def enumerated(
    program: GatedProgram,
    probabilities: torch.Tensor,
    groups: dict[str, int],
    loss: Any,
    count: int,
) -> torch.Tensor:
    """The expected loss over all states of all gates, and so a function of their probabilities."""
    total = torch.zeros((), dtype=probabilities.dtype)
    for bits in itertools.product([0.0, 1.0], repeat=len(probabilities)):
        state = torch.tensor(bits, dtype=probabilities.dtype)
        weight = torch.where(state == 1, probabilities, 1 - probabilities).prod()
        masks = dict(zip(groups, state.split(list(groups.values())), strict=True))
        rows = {name: mask.expand(count, -1) for name, mask in masks.items()}
        total = total + weight * loss(rows)
    return total


def program_of(gates: UnitGates) -> GatedProgram:
    return gates._gated.program


class ResNet(nn.Module):
    """A block of convolutions beside a convolution, one beside nothing, and sizes asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.conv1, self.norm1 = nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.beside = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
        self.conv3, self.conv4 = nn.Conv2d(8, 5, 1), nn.Conv2d(5, 8, 1)
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        count = x.shape[0]
        x = torch.relu(self.stem(x))
        branch = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        x = torch.relu(branch + self.beside(x))
        x = x + self.conv4(torch.relu(self.conv3(x)))
        return self.last(x.mean(dim=(2, 3)).view(count, -1))


def depthwise() -> nn.Module:
    """Channels that go through a kernel of their own, and a convolution of two groups."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 1),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 1, groups=2),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


class Attending(nn.Module):
    """Heads of attention beside what passes by, and a mean over positions at the end."""

    def __init__(self, width: int = 8, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.last = nn.Linear(8, width), nn.Linear(width, 10)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.rise, self.fall = (
            nn.Linear(width, width),
            nn.Linear(width, 9),
            nn.Linear(9, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        weights = torch.softmax(q @ k.transpose(-2, -1), dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        x = x + self.fall(torch.relu(self.rise(x)))
        return self.last(x.mean(dim=1))
