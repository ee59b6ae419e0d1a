"""PIQP: proximal interior point. Dense backend on the split form, or sparse one on the dual form.

Bounds go in as bounds, not as rows (the solver's interface has them apart, and they cost nothing in
a factorisation). Accuracy is asked for by the absolute tolerances, the duality gap among them, as
in PIQP's documentation ("eps_abs", "eps_duality_gap_abs"); the relative ones are off.
"""

from __future__ import annotations

import numpy as np
import piqp

from .column import Answer, Column, DualForm, SplitForm

VARIANTS = ("dense split", "sparse dual")


def solve(column: Column, variant: str, tol: float, limit: float) -> Answer:
    """PIQP knows no time limit; an interior-point method needs none."""
    if variant == "dense split":
        return split(SplitForm.of(column), tol)
    return dual(DualForm.of(column), tol)


def split(qp: SplitForm, tol: float) -> Answer:
    solver = with_tolerance(piqp.DenseSolver(), tol)
    n, m = len(qp.c), len(qp.G)
    rows = (np.asfortranarray(qp.G), None, np.zeros(m)) if m else (None, None, None)
    solver.setup(np.asfortranarray(qp.H), qp.c, None, None, *rows, np.zeros(n), None)
    status = solver.solve()
    return qp.answer(solver.result.x, np.asarray(solver.result.z_u), status)


def dual(qp: DualForm, tol: float) -> Answer:
    solver = with_tolerance(piqp.SparseSolver(), tol)
    ones = np.ones(qp.Xt.shape[0])
    solver.setup(qp.P, qp.q, None, None, qp.Xt, -ones, ones, None, qp.upper)
    status = solver.solve()
    result = solver.result
    return qp.answer(result.x, np.asarray(result.z_u) - np.asarray(result.z_l), status)


def with_tolerance(
    solver: piqp.DenseSolver | piqp.SparseSolver, tol: float
) -> piqp.DenseSolver | piqp.SparseSolver:
    solver.settings.eps_abs = solver.settings.eps_duality_gap_abs = tol
    solver.settings.eps_rel = solver.settings.eps_duality_gap_rel = 0.0
    return solver
