"""A module without some of its units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ....units.unit_map import CutTensor, UnitMap
from ..prepare import copy_model

__all__ = ["cut_module", "cut_units"]

Mask = NDArray[np.bool_]
Change = Callable[[torch.Tensor], torch.Tensor]
Exchange = Callable[[nn.Parameter, nn.Parameter, Change], object]


def cut_module(model: nn.Module, units: UnitMap, kept: Mask) -> nn.Module:
    """Return a copy of a module with the units that are kept.

    Parameters
    ----------
    model : torch.nn.Module
        Without wrappers.
    units : UnitMap
    kept : ndarray of bool of shape (units.n_units,)
    """
    smaller: nn.Module = copy_model(model)
    cut_units(smaller, units, kept)
    return smaller


def cut_units(
    model: nn.Module, units: UnitMap, kept: Mask, on_exchange: Exchange | None = None
) -> None:
    """Take the units that are not kept out of a module.

    Parameters
    ----------
    model : torch.nn.Module
    units : UnitMap
    kept : ndarray of bool of shape (units.n_units,)
    on_exchange : callable, optional
        Takes every parameter that another one has replaced, that one, and what cuts a tensor like
        the first to one like the second.
    """
    for tensor in units.tensors:
        if tensor.count(kept) < np.prod(tensor.shape):
            _cut(model, tensor, kept, on_exchange)
    for number in units.counts:
        owner, _, attribute = number.name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, number.count(kept))


def _cut(model: nn.Module, tensor: CutTensor, kept: Mask, on_exchange: Exchange | None) -> None:
    """Replace a parameter or buffer of a module by its part that is kept."""
    path, _, name = tensor.name.rpartition(".")
    owner: Any = model.get_submodule(path)
    whole = getattr(owner, name)
    places = {
        axis: torch.tensor(np.flatnonzero(stays)).to(whole.device)
        for axis, stays in tensor.stays(kept).items()
    }

    def part_of(values: torch.Tensor) -> torch.Tensor:
        for axis, chosen in places.items():
            values = values.index_select(axis, chosen)
        return values

    part = part_of(whole.detach())
    if name in owner._parameters:
        part = nn.Parameter(part, requires_grad=whole.requires_grad)
        if on_exchange is not None:
            on_exchange(whole, part, part_of)
    setattr(owner, name, part)
