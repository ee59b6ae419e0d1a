"""HiGHS by its interior-point method for QPs ("hipo", needs highspy-extras): dual or split form.

All tolerances are set alike, and no less than 1e-10, the least that HiGHS takes. The regularisation
of the active-set method ("qp_regularization_value") is lowered: its default of 1e-7 is as large an
error.
"""

from __future__ import annotations

import highspy
import numpy as np
from scipy import sparse

from bench.common import machine

from .column import Answer, Array, Column, DualForm, SplitForm

VARIANTS = ("dual", "split")
TOLERANCES = (
    "primal_feasibility_tolerance",
    "dual_feasibility_tolerance",
    "ipm_optimality_tolerance",
    "optimality_tolerance",
)


def solve(column: Column, variant: str, tol: float, limit: float, method: str = "hipo") -> Answer:
    solver = configured(method, tol, limit)
    if variant == "dual":
        return dual(DualForm.of(column), solver)
    return split(SplitForm.of(column), solver)


def configured(method: str, tol: float, limit: float) -> highspy.Highs:
    solver = highspy.Highs()
    settings = {
        "output_flag": False,
        "solver": method,
        "threads": machine.threads(),
        "time_limit": limit,
        "qp_regularization_value": 1e-11,
    }
    for name, value in (settings | dict.fromkeys(TOLERANCES, max(tol, 1e-10))).items():
        solver.setOptionValue(name, value)
    return solver


def dual(qp: DualForm, solver: highspy.Highs) -> Answer:
    n, samples = qp.Xt.shape
    bounds = (np.full(samples, -np.inf), qp.upper, -np.ones(n), np.ones(n))
    x, z = run(solver, qp.P, qp.q, qp.Xt, bounds)
    return qp.answer(x, -z, solver.getModelStatus().name)


def split(qp: SplitForm, solver: highspy.Highs) -> Answer:
    H, rows = qp.sparse()
    m, n = qp.G.shape
    bounds = (np.zeros(n), np.full(n, np.inf), np.full(m, -np.inf), np.zeros(m))
    x, z = run(solver, H, qp.c, rows[:m], bounds)
    return qp.answer(x, -z, solver.getModelStatus().name)


def run(
    solver: highspy.Highs,
    H: sparse.csc_matrix,
    c: Array,
    rows: sparse.csc_matrix,
    bounds: tuple[Array, Array, Array, Array],
) -> tuple[Array, Array]:
    """Pass a model, lower triangle of the Hessian, and read variables and multipliers of rows."""
    model = highspy.HighsModel()
    lp, hessian, columns = model.lp_, model.hessian_, rows.tocsc()
    lp.num_row_, lp.num_col_ = rows.shape
    lp.col_cost_ = c
    lp.col_lower_, lp.col_upper_, lp.row_lower_, lp.row_upper_ = bounds
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = columns.indptr, columns.indices
    lp.a_matrix_.value_ = columns.data
    hessian.dim_, hessian.format_ = len(c), highspy.HessianFormat.kTriangular
    hessian.start_, hessian.index_, hessian.value_ = H.indptr, H.indices, H.data
    solver.passModel(model)
    solver.run()
    solution = solver.getSolution()
    return np.array(solution.col_value), np.array(solution.row_dual)
