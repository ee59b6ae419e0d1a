"""Batches to train on, and tensors as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["iterate_batches", "tensor_bytes"]


def iterate_batches(
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


def tensor_bytes(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """Return the bytes of a tensor, of whatever type; NumPy does not know all of them."""
    values = tensor.detach().cpu().to_dense().contiguous().flatten()
    raw: NDArray[np.uint8] = values.view(torch.uint8).numpy()
    return raw
