"""Taking units out of layers, what normalises them, layers that read them, and an optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["Absent", "cut_section", "keep_features", "keep_units"]

Optimizer = torch.optim.Optimizer
WIDTHS = {
    "makes": ("out_features", "out_channels", "num_features"),
    "reads": ("in_features", "in_channels"),
}


class Absent(nn.Module):
    """Stands where the last layer of a section was: nothing is added to what passes by."""

    zero: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a single zero, whatever comes."""
        return self.zero


def keep_units(module: nn.Module, kept: torch.Tensor, optimizer: Optimizer | None) -> None:
    """Keep some outputs of a layer, or some channels of a batch normalisation.

    Parameters
    ----------
    module : torch.nn.Module
    kept : torch.Tensor of shape (n_left,)
        int64, ascending.
    optimizer : torch.optim.Optimizer or None
        Whose buffers go along.
    """
    for name in ("weight", "bias", "running_mean", "running_var"):
        _keep(module, name, 0, kept, optimizer)
    _set_width(module, "makes", len(kept))


def keep_features(
    module: nn.Module, kept: torch.Tensor, units: int, optimizer: Optimizer | None
) -> None:
    """Keep what a layer reads of some units.

    Parameters
    ----------
    module : torch.nn.Module
    kept : torch.Tensor of shape (n_left,)
        int64, ascending.
    units : int
        How many there were; behind a flattened convolution each is several features in a row.
    optimizer : torch.optim.Optimizer or None
    """
    weight: Any = module.weight
    features = torch.arange(weight.shape[1], device=kept.device).reshape(units, -1)[kept].ravel()
    _keep(module, "weight", 1, features, optimizer)
    _set_width(module, "reads", len(features))


def cut_section(model: nn.Module, names: tuple[str, ...], optimizer: Optimizer | None) -> None:
    """Put nothing in the place of a section's modules."""
    *inner, last = names
    gone = [p for name in names for p in model.get_submodule(name).parameters()]
    for name in inner:
        _replace(model, name, nn.Identity())
    _replace(model, last, Absent().to(gone[0].device))
    if optimizer is not None:
        _forget(optimizer, {id(p) for p in gone})


def _keep(
    module: Any, name: str, axis: int, kept: torch.Tensor, optimizer: Optimizer | None
) -> None:
    old = getattr(module, name, None)
    if not isinstance(old, torch.Tensor):
        return
    new = old.detach().index_select(axis, kept)
    if not isinstance(old, nn.Parameter):
        setattr(module, name, new)
        return
    parameter = nn.Parameter(new, requires_grad=old.requires_grad)
    if old.grad is not None:
        parameter.grad = old.grad.index_select(axis, kept)
    setattr(module, name, parameter)
    if optimizer is not None:
        _exchange(optimizer, old, parameter, axis, kept)


def _exchange(
    optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, axis: int, kept: torch.Tensor
) -> None:
    """Let an optimiser go on with a part of a parameter, and the same part of its buffers."""
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]
    state = optimizer.state.pop(old, None)
    if state is not None:
        optimizer.state[new] = {
            key: value.index_select(axis, kept)
            if isinstance(value, torch.Tensor) and value.shape == old.shape
            else value
            for key, value in state.items()
        }


def _forget(optimizer: Optimizer, gone: set[int]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in gone]
    for parameter in [p for p in optimizer.state if id(p) in gone]:
        del optimizer.state[parameter]


def _set_width(module: Any, side: str, width: int) -> None:
    for name in WIDTHS[side]:
        if hasattr(module, name):
            setattr(module, name, width)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module.train(model.training))
