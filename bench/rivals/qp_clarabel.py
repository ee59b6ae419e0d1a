"""Clarabel: interior point on cones, in the dual or the split form.

X'g gets a variable of its own in the dual form: its two bounds would otherwise hold X twice. The
three tolerances are set alike. Which of its two factorisations is faster depends on the layer.
"""

from __future__ import annotations

import clarabel
import numpy as np
from scipy import sparse

from bench.common import machine

from .column import Answer, Array, Column, DualForm, SplitForm

VARIANTS = ("dual qdldl", "dual faer", "split faer")


def solve(column: Column, variant: str, tol: float, limit: float) -> Answer:
    form, factorisation = variant.split()
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.time_limit = limit
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
    settings.direct_solve_method, settings.max_threads = factorisation, machine.threads()
    if form == "dual":
        return dual(DualForm.of(column), settings)
    return split(SplitForm.of(column), settings)


def dual(qp: DualForm, settings: clarabel.DefaultSettings) -> Answer:
    n, samples = qp.Xt.shape
    signs, eye = qp.signs(), sparse.eye(n)
    P = sparse.block_diag([qp.P, sparse.csc_matrix((n, n))], format="csc")
    bounds = sparse.vstack([eye, -eye])
    rows = sparse.vstack(
        [sparse.hstack([qp.Xt, -eye]), sparse.block_diag([signs, bounds])], format="csc"
    )
    b = np.concatenate([np.zeros(n + signs.shape[0]), np.ones(2 * n)])
    cones = [clarabel.ZeroConeT(n), clarabel.NonnegativeConeT(rows.shape[0] - n)]
    solution = run(P, np.append(qp.q, np.zeros(n)), rows, b, cones, settings)
    return qp.answer(np.array(solution.x[:samples]), np.array(solution.z[:n]), solution.status)


def split(qp: SplitForm, settings: clarabel.DefaultSettings) -> Answer:
    H, rows = qp.sparse()
    m = len(qp.G)
    rows = sparse.vstack([rows[:m], -rows[m:]], format="csc")
    cones = [clarabel.NonnegativeConeT(rows.shape[0])]
    solution = run(H.T.tocsc(), qp.c, rows, np.zeros(rows.shape[0]), cones, settings)
    return qp.answer(np.array(solution.x), np.array(solution.z[:m]), solution.status)


def run(
    P: sparse.csc_matrix,
    q: Array,
    rows: sparse.csc_matrix,
    b: Array,
    cones: list[object],
    settings: clarabel.DefaultSettings,
) -> clarabel.DefaultSolution:
    return clarabel.DefaultSolver(P, q, rows, b, cones, settings).solve()
