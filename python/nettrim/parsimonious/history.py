"""The course of a training."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Epoch", "Widths"]

Widths = dict[str, int]


@dataclass(frozen=True)
class Epoch:
    """The state at the end of an epoch.

    Attributes
    ----------
    epoch : int
        From 1 on.
    loss : float
        Mean training loss of the epoch, with gates drawn at random, if there are any yet.
    widths : dict of str to int
        Units that are left, by layer.
    sections : int
        Gated sections that are left.
    keep_probabilities : dict of str to list of float
        Of the gates that are left.
    parameters, flops : float
        Weights of the layers, and operations for one sample: two for each multiplication.
    undecided : int
        Keep probabilities between 0.05 and 0.95.
    seconds : float
        Wall time of the epoch, without validation.
    validation_loss, accuracy : float or None
        With decided gates, on the validation data, if there are any; accuracy if targets are
        classes.
    """

    epoch: int
    loss: float
    widths: Widths
    sections: int
    keep_probabilities: dict[str, list[float]]
    parameters: float
    flops: float
    undecided: int
    seconds: float
    validation_loss: float | None = None
    accuracy: float | None = None
