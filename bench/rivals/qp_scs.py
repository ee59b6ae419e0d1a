"""SCS: operator splitting on cones with acceleration, in the dual or the split form.

The bounds of X'g are one box cone, as SCS's documentation advises for two-sided rows. The absolute
tolerance alone decides when to stop and the limit of iterations is out of the way. The
factorisation is the default (MKL Pardiso where the wheel has it), QDLDL, or dense LAPACK for the
dense split form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scs
from scipy import sparse

from .column import Answer, Column, DualForm, SplitForm

VARIANTS = ("dual auto", "dual qdldl", "split cpu_dense")


def solve(column: Column, variant: str, tol: float, limit: float) -> Answer:
    form, factorisation = variant.split()
    settings = {
        "linear_solver": scs.LinearSolver(factorisation),
        "eps_abs": tol,
        "eps_rel": 0.0,
        "max_iters": 1_000_000,
        "time_limit_secs": limit,
        "verbose": False,
    }
    if form == "dual":
        return dual(DualForm.of(column), settings)
    return split(SplitForm.of(column), settings)


def dual(qp: DualForm, settings: dict[str, Any]) -> Answer:
    signs = qp.signs()
    n, b = qp.Xt.shape[0], signs.shape[0]
    top = sparse.csc_matrix((1, len(qp.q)))  # a box cone begins with its own scale, here 1
    data = {
        "P": qp.P,
        "c": qp.q,
        "A": sparse.vstack([signs, top, -qp.Xt], format="csc"),
        "b": np.concatenate([np.zeros(b), [1.0], np.zeros(n)]),
    }
    cone = {"l": b, "bl": -np.ones(n), "bu": np.ones(n)}
    solution = scs.SCS(data, cone, **settings).solve()
    return qp.answer(solution["x"], -solution["y"][b + 1 :], solution["info"]["status"])


def split(qp: SplitForm, settings: dict[str, Any]) -> Answer:
    H, rows = qp.sparse()
    m = len(qp.G)
    data = {
        "P": H.T.tocsc(),
        "c": qp.c,
        "A": sparse.vstack([rows[:m], -rows[m:]], format="csc"),
        "b": np.zeros(rows.shape[0]),
    }
    solution = scs.SCS(data, {"l": rows.shape[0]}, **settings).solve()
    return qp.answer(solution["x"], solution["y"][:m], solution["info"]["status"])
