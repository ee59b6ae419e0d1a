"""Two sides of a proof, where a program is too large for the engine that solves its parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..base.arrays import Array
from .program import HullProgram, HullRow

__all__ = ["HullPoint", "HullProof", "find_depths", "grow", "prove"]

ZERO_WIDTH = 1e-9  # of the largest v: what rounding makes of one that is to be zero


class HullPoint(NamedTuple):
    """A balanced point of a program; its objective is infinite where no factor makes it one."""

    h: Array
    m: Array
    xi: Array
    objective: float


class HullProof(NamedTuple):
    """Multipliers that the dual program allows, and the bound they prove."""

    p: Array
    q: Array
    bound: float


def prove(program: HullProgram, p: Array, q: Array, pull_h: Array, pull_m: Array) -> HullProof:
    """Return the bound of multipliers with their right signs, and ``A' p`` and ``D' q``.

    The formula: docs/mathematics/branch_hull.md#the-dual-and-the-certificate.
    """
    order = np.inf if program.regularizer == "l1" else 2
    size_p, size_q = (float(np.linalg.norm(pull, order)) for pull in (pull_h, pull_m))
    if program.slack_penalty is not None:
        size_q = max(size_q, float((np.abs(q) / program.slack_penalty).max()))
    if not (size_p > 0 and size_q > 0):
        return HullProof(p, q, 0.0)
    p, q = p / size_p, q / size_q
    positive = program.r > 0
    total = float((np.sqrt(program.r) * np.sqrt(p) * np.sqrt(q, where=positive, out=0 * q)).sum())
    if program.regularizer == "l1":
        return HullProof(p, q, 2 * total)
    return HullProof(2 * total * p, 2 * total * q, 2 * total**2)


def grow(program: HullProgram, h: Array, m: Array, u: Array, v: Array) -> HullPoint:
    """Return the point that one factor, or slack, makes of another, with its signals."""
    kinds, hull = program.kinds, program.kinds == HullRow.HULL
    xi = _mend(program, u, v)
    v = v + xi
    width = ZERO_WIDTH * np.abs(v).max()
    inside = [
        bool((u >= 0).all()),
        bool(((u > 0) & (v > 0))[hull].all()),
        bool((v >= -width)[kinds == HullRow.QUADRANT].all()),
        bool((np.abs(v) <= width)[kinds == HullRow.RAY].all()),
    ]
    if not hull.any():
        return HullPoint(0 * h, 0 * m, 0 * xi, 0.0)
    if not all(inside):
        return HullPoint(h, m, xi, np.inf)
    root = np.sqrt(program.r[hull])
    growth = 1 / float(np.sqrt(((u[hull] / root) * (v[hull] / root)).min()))
    size_h, size_m = _sizes(program, h, m, xi)
    balance = np.sqrt(size_m / size_h)
    product = float(np.sqrt(size_h) * np.sqrt(size_m)) * growth
    objective = 2 * product if program.regularizer == "l1" else 2 * product**2
    of_m = growth / balance
    return HullPoint(h * (balance * growth), m * of_m, xi * of_m, objective)


def _mend(program: HullProgram, u: Array, v: Array) -> Array:
    """Return the slack that rows need, if there is any."""
    xi = np.zeros(len(u))
    if program.slack_penalty is None:
        return xi
    kinds = program.kinds
    with np.errstate(divide="ignore", over="ignore"):
        needed = np.where(u > 0, program.r / np.where(u > 0, u, 1), 0)
    xi = np.where(kinds == HullRow.HULL, np.maximum(needed - v, 0), xi)
    xi = np.where(kinds == HullRow.QUADRANT, np.maximum(-v, 0), xi)
    return np.where(kinds == HullRow.RAY, -v, xi)


def _sizes(program: HullProgram, h: Array, m: Array, xi: Array) -> tuple[float, float]:
    """Return the gauges whose product is minimised."""
    order = 1 if program.regularizer == "l1" else 2
    size_h, size_m = (float(np.linalg.norm(x, order)) for x in (h, m))
    if program.slack_penalty is not None:
        size_m += float(program.slack_penalty @ np.abs(xi))
    return size_h, size_m


def find_depths(program: HullProgram, u: Array, v: Array) -> Array:
    """Return how far every row is inside its hull, without slack; negative outside.

    It is the root of ``u v / r`` less one, and less than -1 where a sign is wrong.
    """
    kinds, hull = program.kinds, program.kinds == HullRow.HULL
    lowest = u / _mean_size(u)
    two_signs = hull | (kinds == HullRow.QUADRANT)
    lowest[two_signs] = np.minimum(lowest, v / _mean_size(v))[two_signs]
    right = lowest > 0
    product = np.sqrt(u, where=right, out=0 * u) * np.sqrt(v, where=right & hull, out=0 * v)
    depths = lowest.copy()
    depths[hull] = product[hull] / np.sqrt(program.r[hull])
    return np.where(right, depths - hull, lowest - 1)


def _mean_size(x: Array) -> float:
    return max(float(np.abs(x).mean()), np.finfo(float).tiny)
