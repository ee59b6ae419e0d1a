"""Wanda: in every output the weights with the largest |w| times the norm of their feature stay.

Sun, Liu, Bair, Kolter, "A Simple and Effective Pruning Approach for Large Language Models" (ICLR
2024). Every output keeps as many weights as the others, as published; what does not divide goes,
one weight each, to the outputs whose next score is largest.
"""

from __future__ import annotations

import numpy as np

from .quadratic import Array, largest


def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    scores = np.abs(weights) * np.linalg.norm(X, axis=0)[:, None]
    each, left = divmod(keep, weights.shape[1])
    order = np.argsort(-scores, axis=0, kind="stable")
    mask = np.zeros(weights.shape, bool)
    np.put_along_axis(mask, order[:each], True, axis=0)
    if left:
        following = order[each]
        outputs = largest(np.take_along_axis(scores, following[None], axis=0)[0], left)
        mask[following[outputs], outputs] = True
    return weights * mask
