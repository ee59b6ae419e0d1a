"""CVXPY with Clarabel: the constrained form, as a user of a modelling language writes it.

The only rival that takes epsilon: minimise ||u||_1 subject to ||A u - y|| <= epsilon and B u <= 0.
The ball is stated as a cone (`cvxpy.SOC`), whose dual is a vector of full accuracy. The time is
that of `Problem.solve`, with the translation to cones, which is part of the tool.
"""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np

from bench.common import machine

from .column import Answer, Column

VARIANTS = ("epsilon",)


def solve(column: Column, variant: str, tol: float, limit: float) -> Answer:
    u = cp.Variable(column.A.shape[1])
    ball = cp.SOC(cp.Constant(column.epsilon), column.A @ u - column.y)
    rows = [column.B @ u <= 0] if len(column.B) else []
    problem = cp.Problem(cp.Minimize(cp.norm1(u)), [ball, *rows])
    settings = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tol)
    settings |= {"time_limit": limit, "max_threads": machine.threads()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the certificate decides that
        problem.solve(solver=cp.CLARABEL, **settings)
    if u.value is None:
        return Answer(np.zeros(u.size), np.zeros(len(column.active)), problem.status)
    _, fit = ball.dual_value
    return Answer(
        u.value, np.concatenate([np.ravel(fit), *(-row.dual_value for row in rows)]), problem.status
    )
