"""What an optimiser goes on with when a part of a module is taken out; sections without layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["Absent", "cut_section", "exchange"]

Optimizer = torch.optim.Optimizer


class Absent(nn.Module):
    """Stands where the last layer of a section was: nothing is added to what passes by."""

    zero: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a single zero, whatever comes."""
        return self.zero


def cut_section(model: nn.Module, names: tuple[str, ...], optimizer: Optimizer | None) -> None:
    """Put nothing in the place of a section's modules."""
    *inner, last = names
    gone = [p for name in names for p in model.get_submodule(name).parameters()]
    for name in inner:
        _replace(model, name, nn.Identity())
    _replace(model, last, Absent().to(gone[0].device))
    if optimizer is not None:
        _forget(optimizer, {id(p) for p in gone})


def exchange(
    optimizer: Optimizer,
    old: nn.Parameter,
    new: nn.Parameter,
    part_of: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """Let an optimiser go on with a part of a parameter, and the same part of its buffers."""
    if old.grad is not None:
        new.grad = part_of(old.grad)
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]
    state = optimizer.state.pop(old, None)
    if state is not None:
        optimizer.state[new] = {
            key: part_of(value)
            if isinstance(value, torch.Tensor) and value.shape == old.shape
            else value
            for key, value in state.items()
        }


def _forget(optimizer: Optimizer, gone: set[int]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in gone]
    for parameter in [p for p in optimizer.state if id(p) in gone]:
        del optimizer.state[parameter]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module.train(model.training))
