"""Arrays from PyTorch: calibration data as users have them (tensors, loaders), tensors as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from ..._arrays import sample_array

__all__ = ["loaded", "pairs", "stored"]


def loaded(values: Any, name: str) -> NDArray[Any]:
    """Return samples as one array: int64 if they are whole numbers, else float64.

    Raises
    ------
    TypeError, ValueError
        If they are no finite numbers, or the batches of a loader do not fit each other.
    """
    return sample_array(_array(values, name), name)


def pairs(
    loader: Iterable[Any], name: str, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the batches of a loader of inputs and targets, where a model lives.

    Raises
    ------
    ValueError
        If there are no batches, or they are no pairs.
    """
    empty = True
    for batch in loader:
        if not isinstance(batch, (list, tuple)) or len(batch) != 2:
            raise ValueError(
                f"{name} must yield pairs of inputs and targets, got {type(batch).__name__}"
            )
        inputs, targets = (part.to(device) for part in batch)
        empty = False
        yield inputs, targets
    if empty:
        raise ValueError(f"{name} is empty, or can be walked only once")


def stored(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """Return the bytes of a tensor, of whatever type; NumPy does not know all of them."""
    values = tensor.detach().cpu().to_dense().contiguous().flatten()
    raw: NDArray[np.uint8] = values.view(torch.uint8).numpy()
    return raw


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
