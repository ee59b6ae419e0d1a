"""Random modules of PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch._dynamo  # takes long, and a call that is cut off within would leave half of it
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from support.random_entry import Random, pick
from support.random_networks import Array, Blueprint


class Built(nn.Module):
    """The module of a blueprint, which returns one output as it is and several packed."""

    def __init__(self, plan: Blueprint, packed: str) -> None:
        super().__init__()
        self.plan, self.packed = plan, packed
        groups = {stage.name: stage for stage in plan.stages if stage.kind == "conv"}
        dtype = torch.tensor(plan.weights[f"{plan.heads[0]}.weight"]).dtype
        self.parts = nn.ModuleDict()
        for key, weight in plan.weights.items():
            name, _, part = key.partition(".")
            if part != "weight":
                continue
            if name in groups:
                stage, bias = groups[name], f"{name}.bias" in plan.weights
                channels = weight.shape[1] * stage.groups
                self.parts[name] = nn.Conv2d(
                    channels,
                    len(weight),
                    weight.shape[2:],
                    padding=stage.padding,
                    groups=stage.groups,
                    bias=bias,
                )
            elif name == "norm":
                self.parts[name] = nn.BatchNorm2d(len(weight))
            else:
                bias = f"{name}.bias" in plan.weights
                self.parts[name] = nn.Linear(weight.shape[1], len(weight), bias=bias)
        self.to(dtype).eval()

    def forward(self, signal: Any) -> Any:
        """Walk the stages."""
        for stage in self.plan.stages:
            if stage.kind == "skip":
                inner = torch.relu(self.parts[f"{stage.name}a"](signal))
                signal = signal + self.parts[f"{stage.name}b"](inner)
            elif stage.name:
                signal = self.parts[stage.name](signal)
            elif stage.kind == "flatten":
                signal = signal.flatten(1)
            elif stage.kind == "mean":
                signal = signal.mean((2, 3))
            elif stage.kind == "relu6":
                signal = nn.functional.relu6(signal)
            else:
                signal = torch.relu(signal)
        ends = [self.parts[head](signal) for head in self.plan.heads]
        if len(ends) == 1:
            return ends[0]
        return (
            dict(zip(self.plan.heads, ends, strict=True)) if self.packed == "dict" else tuple(ends)
        )


class Recurrent(nn.Module):
    """A linear layer behind what is left alone."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, 4, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, signal: Any) -> Any:
        """Return the last state's image."""
        return self.out(self.lstm(signal[:, None])[0][:, -1])


class Tied(nn.Module):
    """A layer that is read twice, and one that is not."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.code = nn.Linear(size, 4)
        self.free = nn.Linear(4, 4)

    def forward(self, signal: Any) -> Any:
        """Decode with the weights that encoded."""
        hidden = torch.relu(self.free(torch.relu(self.code(signal))))
        return nn.functional.linear(hidden, self.code.weight.t())


def odd(rng: Random, size: int) -> nn.Module:
    """Return a module with something beyond linear layers and ReLUs."""
    torch.manual_seed(int(rng.integers(2**31)))
    hidden = int(rng.integers(1, 8))
    follower = pick(
        rng, [nn.GELU(), nn.Tanh(), nn.LeakyReLU(0.0), nn.Hardtanh(0, 6), nn.Identity()]
    )
    chain = nn.Sequential(nn.Linear(size, hidden), follower, nn.Linear(hidden, 2))
    return pick(rng, [chain, Recurrent(size), Tied(size)]).eval()


def brought(X: Array, rng: Random) -> Any:
    """Return samples as an array, a tensor, a loader, a list of batches, or pairs with labels."""
    tensor = torch.tensor(X)
    labelled = TensorDataset(tensor, torch.zeros(len(X)))
    others = [tensor, list(tensor.split(7)), DataLoader(labelled, batch_size=5)]
    return pick(rng, others) if rng.random() < 0.3 else X


def joined(X: Any) -> Any:
    """Return samples that came in any of these forms as one array."""
    if isinstance(X, DataLoader):
        return np.concatenate([batch[0].numpy() for batch in X])
    if isinstance(X, list) and X and isinstance(X[0], torch.Tensor):
        return np.concatenate([batch.numpy() for batch in X])
    return X


def outputs(module: Any, X: Any) -> list[Array]:
    """Return all outputs of a copy in float64."""
    import copy

    with torch.no_grad():
        told = copy.deepcopy(module).double().eval()(torch.tensor(np.asarray(X, dtype=float)))
    ends = told.values() if isinstance(told, dict) else told if isinstance(told, tuple) else [told]
    return [end.numpy() for end in ends]
