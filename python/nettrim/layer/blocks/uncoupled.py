"""A layer in blocks that nothing couples: a penalty is given, or no error is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..options import Form
from ..solution import LayerSolution
from .block import BlockStart, describe_engine
from .dispatcher import Dispatcher
from .penalty_step import relative_gap

__all__ = ["solve_uncoupled"]


def solve_uncoupled(
    dispatcher: Dispatcher, form: Form, starts: Sequence[BlockStart]
) -> LayerSolution:
    """Solve blocks that nothing couples: a penalty is given, or no error is allowed or possible."""
    forms = [form] * len(dispatcher.blocks)
    status = None
    try:
        results = dispatcher.solve(forms, starts, all_multipliers=True)
    except KeyboardInterrupt:
        results = dispatcher.step_here(forms, starts, all_multipliers=True)
        status = "interrupted"
    solutions = [result.solution for result in results]
    unsolved = [s.status for s in solutions if not s.converged]
    if "infeasible" in unsolved:  # which one block proves of all
        status = "infeasible"
    residual = math.hypot(*(s.residual for s in solutions))
    answer = LayerSolution(
        weights=np.hstack([s.weights for s in solutions]),
        objective=sum(s.objective for s in solutions),
        dual_bound=sum(s.dual_bound for s in solutions),
        gap=relative_gap(sum(s.objective for s in solutions), sum(s.dual_bound for s in solutions)),
        residual=residual,
        violation=max(s.violation for s in solutions),
        epsilon=residual if form.epsilon is None else form.epsilon,
        penalty=form.penalty or (np.inf if form.epsilon else 0.0),
        status=status or (unsolved[0] if unsolved else "optimal"),
        iterations=dispatcher.iterations,
        **describe_engine(results),
        seconds=dispatcher.seconds,
        dual=np.hstack([s.dual for s in solutions]),
    )
    dispatcher.report(answer.objective, answer.dual_bound, answer.residual, answer.violation)
    return answer
