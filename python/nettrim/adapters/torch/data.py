"""Calibration data as users of PyTorch have them: arrays, tensors, loaders."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from ..._arrays import finite_array

__all__ = ["loaded"]


def loaded(values: Any, name: str) -> NDArray[Any]:
    """Return samples as one array: int64 if they are whole numbers, else float64.

    Raises
    ------
    TypeError, ValueError
        If they are no finite numbers, or the batches of a loader do not fit each other.
    """
    values = _array(values, name)
    array = finite_array(values, name)
    if array.ndim == 0:
        raise ValueError(f"{name} must hold samples along its first axis, got a number")
    if np.asarray(values).dtype.kind in "iu":
        return np.ascontiguousarray(values, dtype=np.int64)
    return np.ascontiguousarray(array, dtype=np.float64)


def _array(values: Any, name: str) -> Any:
    """Return data as NumPy understands them."""
    if isinstance(values, DataLoader):
        return _joined([_array(_input(batch, name), name) for batch in values], name)
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()


def _joined(batches: list[NDArray[Any]], name: str) -> NDArray[Any]:
    if not batches:
        raise ValueError(f"{name} is empty: the loader has no batches")
    try:
        return np.concatenate(batches)
    except ValueError as error:
        raise ValueError(f"{name} has batches that do not fit each other: {error}") from None


def _input(batch: Any, name: str) -> torch.Tensor:
    """Return what a model takes from a batch: the first item."""
    item = batch[0] if isinstance(batch, (list, tuple)) and batch else batch
    if not isinstance(item, torch.Tensor):
        raise TypeError(
            f"{name} must have batches that are or start with a tensor, got {type(item).__name__}"
        )
    return item
