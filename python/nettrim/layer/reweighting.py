r"""Rounds of a layer's program, each at costs that the answer before it tells.

A weight of size :math:`|w|` costs :math:`1 / (|w| + \delta)` in the next round: what is nearly zero
becomes dear and what is large cheap, so that the norm comes nearer to a count of the weights
(Candes, Wakin and Boyd, 2008). Every round is convex and proves its own optimum; the constraints
are those of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..base.limits import Listener
from .data import LayerData
from .solution import LayerSolution

__all__ = ["solve_in_rounds"]

# delta, over the mean size of the weights in use. The smaller, the fewer weights are left, but
# below this by a hundredth of them: docs/mathematics/layer.md.
SOFTNESS = 0.03

Solve = Callable[[LayerData, LayerSolution | None, Listener | None], LayerSolution]


def solve_in_rounds(
    solve: Solve, data: LayerData, reweighted: int, callback: Listener | None
) -> LayerSolution:
    """Solve a layer, and again at the costs that its answer tells, as often as is asked for.

    A round that does not converge, as it is out of time, leaves the answer that there was.

    Parameters
    ----------
    solve : callable
        Solves one round of the layer, from the answer before, None at first; and who hears of it.
    data : LayerData
    reweighted : int
        Rounds after the first.
    callback : Listener or None
    """
    first = answer = solve(data, None, callback)
    for _ in range(reweighted):
        if not answer.converged or answer.nonzeros == 0:
            break
        heard = None if callback is None else _hear_after(answer, callback)
        found = solve(_at_next_costs(data, answer), answer, heard)
        answer = replace(
            replace(found, first=first) if found.converged else answer,
            iterations=answer.iterations + found.iterations,
            seconds=answer.seconds + found.seconds,
        )
        if found.status == "interrupted":
            return replace(answer, status="interrupted")
        if not found.converged:
            break
    return answer


def _at_next_costs(data: LayerData, answer: LayerSolution) -> LayerData:
    """Return the layer at the costs that an answer tells; it costs as much as it did."""
    weights = np.compress(data.live, answer.weights, axis=0)
    sizes = np.abs(weights).astype(np.float64)
    used = sizes > 0
    costs = 1 / (sizes / float(sizes[used].mean()) + SOFTNESS)
    if data.costs is not None:
        costs *= data.costs
    return replace(data, costs=costs * (data.norm(sizes) / float(costs[used] @ sizes[used])))


def _hear_after(answer: LayerSolution, callback: Listener) -> Listener:
    """Return what tells of a round with the iterations and seconds of those before it."""

    def heard(iteration: int, *numbers: float) -> object:
        *others, seconds = numbers
        return callback(answer.iterations + iteration, *others, answer.seconds + seconds)

    return heard
