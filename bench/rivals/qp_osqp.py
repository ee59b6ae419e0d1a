"""OSQP: alternating directions with polishing, in the dual or the split form.

Polishing is on, as its documentation advises for accurate answers, and the limit of iterations is
out of the way; rho adapts. The absolute tolerance alone decides when to stop. The factorisation is
QDLDL's, or MKL Pardiso's where osqp-mkl and mkl are installed: faster on the larger layers, slower
on the others.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from .column import Answer, Column, DualForm, SplitForm

with contextlib.suppress(OSError):  # osqp-mkl does not look for MKL where pip puts it
    for library in ("libiomp5.so", "libmkl_rt.so.2"):
        ctypes.CDLL(str(Path(sys.prefix, "lib", library)), mode=ctypes.RTLD_GLOBAL)

import osqp

ALGEBRAS = [name for name in ("builtin", "mkl") if osqp.algebra_available(name)]
VARIANTS = (*(f"dual {name}" for name in ALGEBRAS), "split builtin")


def solve(column: Column, variant: str, tol: float, limit: float) -> Answer:
    form, algebra = variant.split()
    solver = osqp.OSQP(algebra=algebra)
    settings = {
        "eps_abs": tol,
        "eps_rel": 0.0,
        "polishing": True,
        "max_iter": 1_000_000,
        "time_limit": limit,
        "verbose": False,
    }
    if form == "dual":
        return dual(DualForm.of(column), solver, settings)
    return split(SplitForm.of(column), solver, settings)


def dual(qp: DualForm, solver: osqp.OSQP, settings: dict[str, Any]) -> Answer:
    signs = qp.signs()
    n, b = qp.Xt.shape[0], signs.shape[0]
    rows = sparse.vstack([qp.Xt, signs], format="csc")
    below = np.append(-np.ones(n), np.full(b, -np.inf))
    above = np.append(np.ones(n), np.zeros(b))
    solver.setup(qp.P, qp.q, rows, below, above, **settings)
    result = solver.solve(raise_error=False)
    return qp.answer(result.x, result.y[:n], result.info.status)


def split(qp: SplitForm, solver: osqp.OSQP, settings: dict[str, Any]) -> Answer:
    H, rows = qp.sparse()
    m, n = qp.G.shape
    below = np.append(np.full(m, -np.inf), np.zeros(n))
    above = np.append(np.zeros(m), np.full(n, np.inf))
    solver.setup(H.T.tocsc(), qp.c, rows, below, above, **settings)
    result = solver.solve(raise_error=False)
    return qp.answer(result.x, result.y[:m], result.info.status)
