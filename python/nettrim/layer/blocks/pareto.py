r"""The curve of the least l1 norm for each residual: which penalty leads to which residual.

Minimising :math:`\Vert R\Vert^2 + \lambda\Vert U\Vert_1` finds the point :math:`(r, l)` of the
curve :math:`l(r)` at which its slope is :math:`-2r/\lambda`. The curve is convex, and its steepness
:math:`2r/\lambda`, the norm of the multipliers, changes slowly along it; the penalty that leads to
a given residual is therefore looked for as the steepness there. Two solves give the steepness at
two points and, by the difference of their norms, its mean between them: a parabola, and steps that
converge faster than Newton's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Point", "next_penalty"]

ELASTICITY = 0.6  # of the residual by the penalty, where nothing else is known: between 0 and 1
REACH = 5.0  # a step changes the steepness by at most so much, and by more the longer it takes
UNSURE = 10.0  # the noise is a bound; residuals are usually so many times better
WAYWARD = 3.0  # a parabola may lead so many times further than the chord


class Point(NamedTuple):
    """What the solves at one penalty say.

    Attributes
    ----------
    penalty, residual, l1 : float
    noise : float
        How far the residual can be from that of the optimum, relatively.
    """

    penalty: float
    residual: float
    l1: float
    noise: float

    @property
    def steepness(self) -> float:
        """Minus the slope of the curve."""
        return 2 * self.residual / self.penalty


def next_penalty(points: Sequence[Point], epsilon: float) -> float:
    """Return a penalty whose residual should be epsilon.

    Parameters
    ----------
    points : sequence of Point
        All there are, in the order they were found; at least one.
    epsilon : float
        Positive.

    Returns
    -------
    float
        Between the penalties that are known to be too small and too large.
    """
    last = points[-1]
    other = _partner(points, epsilon)
    if other is not None:
        steepness = _interpolate(last, other, epsilon)
    elif len(points) == 1 or _side(last, epsilon) == 0:
        steepness = last.steepness * (epsilon / last.residual) ** (1 - 1 / ELASTICITY)
    else:  # the residual does not move: as far as a step goes
        steepness = math.inf if last.residual > epsilon else 0.0
    reach = math.pow(REACH, 1 + len(points) / 4)
    steepness = min(max(steepness, last.steepness / reach), last.steepness * reach)
    penalty = 2 * epsilon / steepness
    low = max((p.penalty for p in points if _side(p, epsilon) < 0), default=0.0)
    high = min((p.penalty for p in points if _side(p, epsilon) > 0), default=math.inf)
    if 0 < low < high < math.inf and _creeps(points, epsilon):
        return math.sqrt(low * high)
    if penalty <= low:
        return math.sqrt(low * min(high, REACH * low))
    if penalty >= high:
        return math.sqrt(high * max(low, high / REACH))
    return penalty


def _creeps(points: Sequence[Point], epsilon: float) -> bool:
    """Tell whether the last step left most of the way: steepness jumps where the curve ends."""
    before, last = (math.log(p.residual / epsilon) for p in points[-2:])
    return before * last > 0 and abs(last) > abs(before) / 2


def _side(point: Point, epsilon: float) -> int:
    """Return on which side of epsilon the residual is: -1, 1, or 0 where noise leaves it open."""
    distance = math.log(point.residual / epsilon)
    return 0 if abs(distance) <= point.noise else int(math.copysign(1, distance))


def _partner(points: Sequence[Point], epsilon: float) -> Point | None:
    """Return the point nearest to epsilon that noise does not hide from the last one."""
    last = points[-1]
    near = sorted(points[:-1], key=lambda p: abs(math.log(p.residual / epsilon)))
    for point in near:
        apart = abs(math.log(point.residual / last.residual))
        if point.noise + last.noise < UNSURE * apart and point.penalty != last.penalty:
            return point
    return None


def _interpolate(last: Point, other: Point, epsilon: float) -> float:
    """Read the steepness at epsilon off the parabola, or off the chord far outside."""
    a, b = (last, other) if last.residual < other.residual else (other, last)
    width = b.residual - a.residual
    place = (epsilon - a.residual) / width
    chord = a.steepness + (b.steepness - a.steepness) * place
    bend = 6 * ((a.l1 - b.l1) / width - (a.steepness + b.steepness) / 2)
    parabola = chord + bend * place * (1 - place)
    if 0 <= place <= 1:
        return parabola
    ratio = (parabola - last.steepness) / ((chord - last.steepness) or math.inf)
    return parabola if 1 / WAYWARD < ratio < WAYWARD else chord
