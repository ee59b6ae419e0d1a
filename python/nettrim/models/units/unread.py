"""The weights of a model in which no layer reads units that are to go."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..layer_view import Affine
from .unit_map import UnitMap

__all__ = ["without_reading"]


def without_reading(
    units: UnitMap, kept: NDArray[np.bool_], layers: Mapping[str, Affine]
) -> dict[int, Affine]:
    """Return weights that are zero on units that are not kept, by the positions of their layers.

    Parameters
    ----------
    units : UnitMap
    kept : ndarray of bool of shape (units.n_units,)
    layers : mapping from str to Affine
        All prunable layers, in the order of the view.
    """
    positions = {name: position for position, name in enumerate(layers)}
    unread = {}
    for layer in units.layers:
        affine = layers[layer.layer]
        weights = affine.weights * layer.reads(kept)[:, np.newaxis]
        unread[positions[layer.layer]] = affine._replace(weights=weights)
    return unread
