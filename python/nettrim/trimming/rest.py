"""Units first, then weights: a goal of another kind for what is left of a model.

The smaller model is trimmed as any other is, and its layers are put back into those of the original
one, with zeros in the place of the units that are gone. So errors and bounds are those of the
original network, and what is delivered is the smaller model with the layers of the second walk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.layer_view import Affine
from ..results.trim_result import TrimResult
from .goals.goal import Goal
from .goals.units import Units
from .job import Job
from .methods.to_units import ToUnits
from .walk import Walk

__all__ = ["trim_rest"]

TITLE = "then"  # of the second walk

Mask = NDArray[np.bool_]


def trim_rest(job: Job[Any], goal: Units, then: Goal) -> TrimResult[Any]:
    """Take units from a model, and trim what is left; Ctrl-C leaves what is finished."""
    with job.running() as run:
        method = goal.method(run, job.scheme, job.pool)
        walk = job.walk(run, goal, method)
        if not walk.interrupted:
            _go_on(job, walk, method, then)
    return job.assess(walk, goal)


def _go_on(job: Job[Any], walk: Walk, method: ToUnits, then: Goal) -> None:
    """Trim the smaller model, and put its layers back into the walk that made it."""
    run, opened = walk.run, job.opened.with_model(walk.deliver().model)
    position_of = {layer.name: position for position, layer in enumerate(run.layers)}
    originals = [position_of[layer.name] for layer in opened.layers]
    left = {position: method.entries_left(position) for position in run.chosen}
    chosen = [number for number, position in enumerate(originals) if position in left]
    rest = replace(run, opened=opened, chosen=chosen)
    second = replace(job, opened=opened, chosen=chosen).walk(rest, then, title=TITLE)
    for number, affine in second.weights.items():
        position, solved = originals[number], second.solved[number]
        whole = _within(walk.weights[position], affine, *left[position])
        walk.weights[position] = run.view.keep(position, whole)
        seconds = walk.solved[position].seconds + solved.seconds
        walk.solved[position] = replace(solved, seconds=seconds)
    walk.measured, walk.interrupted = [], second.interrupted


def _within(whole: Affine, part: Affine, features: Mask, outputs: Mask) -> Affine:
    """Return a layer with another one in the place of some of its features and outputs."""
    weights = whole.weights.copy()
    weights[np.ix_(features, outputs)] = part.weights
    if whole.bias is None or part.bias is None:
        return whole._replace(weights=weights)
    bias = whole.bias.copy()
    bias[outputs] = part.bias
    return whole._replace(weights=weights, bias=bias)
