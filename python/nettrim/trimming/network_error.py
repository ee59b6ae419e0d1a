"""The error of the network as a target: one epsilon for all layers, and room for the last one.

Errors of networks grow about as their layers' do: on logarithmic axes the curve is nearly straight,
and its root is found in few steps by chords between the points nearest to it. In a deep cascade it
has steps as well: answers differ by the tolerance they are solved to, and layers behind make much
of that. There the last layer is given more room, of which the output makes no more than it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from ..base.errors import ConvergenceWarning, LargeErrorWarning, warn_user
from ..results.trim_result import TrimResult
from .goals.error import Error
from .job import Job
from .path import Path
from .walk import Walk

__all__ = ["trim_to_network_error"]

NEAR = math.log(1.01)  # to the logarithm of the error that is wanted
NARROW = 0.1  # logarithm of the ratio of two epsilons between which there is no more to be found
MOST = 12  # models, for each of the two numbers that are searched
FARTHEST = 2.5  # a step may change a logarithm by so much
ALL = math.log(1.0)  # of an epsilon that leaves no weight
TINY = 1e-300


class _Point(NamedTuple):
    """A model: the logarithm of what is searched, and that of its error over the wanted one."""

    at: float
    excess: float
    walk: Walk

    @property
    def distance(self) -> tuple[float, float]:
        """How far it is from what is wanted; of two as far the bolder one is nearer."""
        return abs(self.excess), -self.at


def trim_to_network_error(job: Job[Any], goal: Error, wanted: float) -> TrimResult[Any]:
    """Trim a network so that its output errs by as much as is wanted.

    Parameters
    ----------
    job : Job
    goal : Error
    wanted : float
        Relative error of the outputs that count, on the calibration samples.

    Warns
    -----
    ConvergenceWarning
        If no error as near as that was found; the nearest model is returned.
    """
    path = Path(job, goal)
    with job.running() as run, run.hushed(LargeErrorWarning):
        below, best = _search(
            lambda at: path.trim(run, math.exp(-at)), wanted, math.log(wanted), most=ALL
        )
        is_over = _is_found(best) or job.scheme != "cascade"
        if below is not None and below.at < ALL and not is_over:
            careful = goal.with_care(math.exp(-below.at))
            first = math.log(goal.kappa or 1.0)

            def with_room(at: float) -> Walk:
                return path.trim_to(run, replace(careful, kappa=math.exp(at)))

            start = below._replace(at=first)
            _, best = _search(with_room, wanted, _beyond(start), start)
    if not _is_found(best):
        warn_user(
            f"network: no epsilon was found that moves the output by {wanted:.3g}; the nearest "
            f"moves it by {wanted * math.exp(best.excess):.3g}",
            ConvergenceWarning,
        )
    return job.assess(best.walk, goal)


def _is_found(point: _Point) -> bool:
    """Tell whether a model is as wanted; what was interrupted is as good as it gets."""
    return point.walk.interrupted or abs(point.excess) <= NEAR


def _search(
    trim: Callable[[float], Walk],
    wanted: float,
    at: float,
    known: _Point | None = None,
    most: float = math.inf,
) -> tuple[_Point | None, _Point]:
    """Return the boldest model that errs by less than is wanted, if any, and the nearest one."""
    below, above = known, None
    best = known
    for _ in range(MOST):
        walk = trim(at)
        point = _Point(at, math.log(max(walk.network_error(), TINY) / wanted), walk)
        if best is None or point.distance < best.distance or walk.interrupted:
            best = point
        if point.excess < 0:
            below = point
        else:
            above = point
        narrow = below and above and abs(above.at - below.at) < NARROW
        if _is_found(point) or narrow or (point is below and at >= most):
            break
        at = min(_between(below, above) if below and above else _beyond(point), most)
    assert best is not None
    return below, best


def _beyond(point: _Point) -> float:
    """Return where the root is if errors grow as what is searched does."""
    return point.at - math.copysign(min(abs(point.excess), FARTHEST), point.excess)


def _between(below: _Point, above: _Point) -> float:
    """Return where the chord has its root, not too near to its ends."""
    share = below.excess / (below.excess - above.excess)
    return below.at + min(max(share, 0.1), 0.9) * (above.at - below.at)
