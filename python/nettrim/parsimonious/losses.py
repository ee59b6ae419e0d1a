"""The loss of every sample, by which units are judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["Loss", "cross_entropy", "sample_losses"]

Loss = Callable[[Any, Any], torch.Tensor]  # one value for each sample


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of every sample."""
    return F.cross_entropy(outputs, targets, reduction="none")


def sample_losses(loss: Loss, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """Return what a loss says of every sample.

    Raises
    ------
    ValueError
        If it does not return one value for each.
    """
    losses = loss(outputs, targets)
    if losses.shape != (len(targets),):
        raise ValueError(
            "loss must return one value for each sample, of shape "
            f"({len(targets)},) (reduction='none'), got shape {tuple(losses.shape)}"
        )
    return losses
