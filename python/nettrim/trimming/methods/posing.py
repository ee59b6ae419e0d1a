"""How layers are posed that are given a number of weights, or of units."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...base.arrays import Array
from ...budget.activations import LINEAR, RELU, SMOOTH, Activation, Shifted
from ...budget.data import BudgetData
from ...budget.wide import is_expensive, surgery_budget
from ...models.layer_view import LayerView, activate
from .layer_program import LayerProgram
from .method import LayerTask, Run

__all__ = ["is_left_to_surgery", "pose", "split_groups", "with_free_bias"]


def is_left_to_surgery(layer: LayerView, budget: float) -> bool:
    """Tell whether single weights of a layer in front of a ReLU go one by one, in the end."""
    return not is_expensive(*layer.shape) or budget <= surgery_budget(*layer.shape)


def pose(run: Run, task: LayerTask, *, cascaded: bool, budget: float = math.inf) -> LayerProgram:
    """Pose a layer's program, and say what of its error will count behind it.

    ``budget`` is how many weights are to be left, where that is known.
    """
    layer = task.layer
    signals = layer.affine.apply(task.original)
    Y = activate(signals, layer.activation)
    program = LayerProgram.of(layer, task.current if cascaded else task.original, Y)
    if layer.affine.groups > 1:
        return program
    if layer.activation == "relu" and not is_left_to_surgery(layer, budget):
        offset = layer.affine.offset
        return replace(program, Y=signals - offset, follower=Shifted(RELU, offset))
    if layer.factor is not None:
        return replace(program, row_weights=_row_weights(run, task, Y))
    if layer.follower is not None:
        return replace(program, follower=Shifted(_follower(layer), layer.affine.offset))
    return program


def with_free_bias(task: LayerTask) -> LayerTask:
    """Return the task with a bias to be fitted too: it takes over what units gave on average."""
    if task.layer.affine.groups > 1:
        return task
    return task._replace(layer=task.layer.with_free_bias)


def split_groups(layer: LayerView, program: LayerProgram, pattern: str | None) -> list[BudgetData]:
    """Return a layer's groups; a row of biases stays, and does not count."""
    affine = layer.affine
    weights = affine.stacked
    X = np.split(program.X, program.groups, axis=1)
    outputs = np.split(np.arange(weights.shape[1]), program.groups)
    return [
        BudgetData.of(
            X[g],
            program.Y[:, own],
            weights[:, own],
            program.follower or program.activation,
            None if program.follower or program.upper is None else program.upper[:, own],
            None if program.follower or program.active is None else program.active[:, own],
            np.arange(len(weights)) >= len(affine.weights),
            pattern,
            None if program.row_weights is None else program.row_weights[:, own],
        )
        for g, own in enumerate(outputs)
    ]


def _row_weights(run: Run, task: LayerTask, signals: Array) -> Array | None:
    """Return how much errors count where they are multiplied by another layer's output."""
    factor = next(layer for layer in run.layers if layer.name == task.layer.factor)
    size = _follower(factor).value(factor.affine.apply(task.original))
    size = size * _follower(task.layer).slope(signals)
    return size**2 if size.any() else None


def _follower(layer: LayerView) -> Activation:
    return LINEAR if layer.follower is None else SMOOTH[layer.follower]
