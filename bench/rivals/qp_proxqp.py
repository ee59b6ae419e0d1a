"""ProxQP: proximal augmented Lagrangian, dense backend on the split form.

Bounds go in as bounds ("box_constraints"). The backend, full KKT matrix or primal matrix, is left
to the solver's own estimate of the cost ("DenseBackend.Automatic"); the gap is checked
("check_duality_gap"). It starts cold: without the default initial guess, which is one solve without
inequalities, it is no slower.
"""

from __future__ import annotations

import numpy as np
from proxsuite import proxqp

from .column import Answer, Column, SplitForm

VARIANTS = ("dense split",)
FREE = 1e20  # what ProxQP takes for infinity


def solve(column: Column, variant: str, tol: float, limit: float) -> Answer:
    """ProxQP knows no time limit."""
    qp = SplitForm.of(column)
    n, m = len(qp.c), len(qp.G)
    solver = proxqp.dense.QP(
        n, 0, m, True, proxqp.dense.HessianType.Dense, proxqp.dense.DenseBackend.Automatic
    )
    settings = solver.settings
    settings.eps_abs, settings.eps_rel = tol, 0.0
    settings.check_duality_gap, settings.eps_duality_gap_abs = True, tol
    settings.initial_guess = proxqp.InitialGuess.NO_INITIAL_GUESS
    below = np.full(m, -FREE)
    solver.init(qp.H, qp.c, None, None, qp.G, below, np.zeros(m), np.zeros(n), np.full(n, FREE))
    solver.solve()
    return qp.answer(solver.results.x, solver.results.z[:m], solver.results.info.status)
