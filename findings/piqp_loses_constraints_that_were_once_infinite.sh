#!/usr/bin/env bash
# piqp 0.7.0, numpy 2.4.6, scipy 1.17.1: a QP in which a bound is infinite at first and finite later, by setup and
# update, as one solver object is kept for a path of budgets, a branch of a search or the steps of a controller.
# Guess: an infinite bound is a row that does not bind for now; a bound that update makes finite binds, as it does for
# bounds of single variables.
# Seen: the row is set to zero in the solver's copy of G for good. After the update 0 <= h is what is solved: status
# PIQP_SOLVED, the minimiser without the constraint, in the dense solver and in the sparse one. Infinite by an update
# between two others it is lost in the dense solver too; the sparse one ends at its limit of iterations. While the bound
# is infinite a line on the terminal tells that rows of G are set to zero; the update that should bring them back tells
# nothing. G given again along with h_u brings them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check piqp==0.7.0 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" - <<'PYTHON'
import numpy as np
import piqp
import scipy.sparse as sp

# the nearest point to (2, 1) with x + y <= h: (0.55, -0.45) for h = 0.1
P, c, G = np.eye(2), np.array([-2.0, -1.0]), np.array([[1.0, 1.0]])
free, bound = np.array([2.0, 1.0]), np.array([0.55, -0.45])
h, none = np.array([0.1]), np.array([np.inf])

def solver(kind, upper):
    made, form = kind(), np.asarray if kind is piqp.DenseSolver else sp.csc_matrix
    made.setup(form(P), c, None, None, form(G), None, upper)
    return made, form(G)

def solved(made):
    assert made.solve() == piqp.PIQP_SOLVED
    return made.result.x.copy()

for kind in (piqp.DenseSolver, piqp.SparseSolver):
    made, rows = solver(kind, 2 * h)
    assert np.isclose(solved(made).sum(), 0.2, atol=1e-5)
    made.update(h_u=h)  # from finite to finite
    assert np.allclose(solved(made), bound, atol=1e-5)
    made.update(h_u=none)
    made.update(h_u=h)
    status, between = made.solve(), made.result.x.copy()
    if kind is piqp.DenseSolver:
        assert status == piqp.PIQP_SOLVED and np.allclose(between, free, atol=1e-5), "this has changed"
    else:
        assert status == piqp.PIQP_MAX_ITER_REACHED, "this has changed"
    print(f"{kind.__name__}: x + y <= 0.1, infinite in between: x + y = {between.sum():.3f}, {status}")

    made, rows = solver(kind, none)
    assert np.allclose(solved(made), free, atol=1e-5)
    made.update(h_u=h)
    lost = solved(made)
    made.update(h_u=h, G=rows)
    again = solved(made)
    print(f"{kind.__name__}: infinite in setup: x + y = {lost.sum():.3f}; with G given again {again.sum():.3f}")
    assert np.allclose(lost, free, atol=1e-5), "this has changed"
    assert np.allclose(again, bound, atol=1e-5), "this has changed"
PYTHON
