"""A module without some of its units."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ....units.unit_map import CutTensor, UnitMap
from ..prepare import copy_model

__all__ = ["cut_module"]

Mask = NDArray[np.bool_]


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
    for tensor in units.tensors:
        if tensor.count(kept) < np.prod(tensor.shape):
            _cut(smaller, tensor, kept)
    for number in units.counts:
        owner, _, attribute = number.name.rpartition(".")
        setattr(smaller.get_submodule(owner), attribute, number.count(kept))
    return smaller


def _cut(model: nn.Module, tensor: CutTensor, kept: Mask) -> None:
    """Replace a parameter or buffer of a module by its part that is kept."""
    path, _, name = tensor.name.rpartition(".")
    owner: Any = model.get_submodule(path)
    whole = getattr(owner, name)
    with torch.no_grad():
        part = whole.detach()
        for axis, stays in tensor.stays(kept).items():
            part = part.index_select(axis, torch.tensor(np.flatnonzero(stays)).to(part.device))
    if name in owner._parameters:
        part = nn.Parameter(part, requires_grad=whole.requires_grad)
    setattr(owner, name, part)
