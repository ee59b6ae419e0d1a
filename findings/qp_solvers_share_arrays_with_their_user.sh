#!/usr/bin/env bash
# osqp 1.1.3, qpalm 1.3.0, piqp 0.7.0, proxsuite 0.8.0, qoco 0.3.2, scs 3.3.1, numpy 2.4.6, scipy 1.17.1: one solver
# object that solves twice, with other data the second time, as along a path of penalties.
# Guess: what a solver was given it copies, and what it gives back is the user's: an x of the first solve stays what it
# was, and update changes the solver's numbers alone.
# Seen: so it is for QOCO and SCS. The x that QPALM, PIQP and ProxQP (dense and sparse) give is a view of the solver's
# memory: a list of solutions along a path ends as so many times the last one. OSQP's x is a copy, but its
# update(Px=..., Ax=...) writes the new numbers into the user's own matrices, those that setup was given: who checks the
# first solution against his data checks it against the second program.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check osqp==1.1.3 qpalm==1.3.0 piqp==0.7.0 \
    proxsuite==0.8.0 qoco==0.3.2 scs==3.3.1 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" - <<'PYTHON'
import numpy as np
import osqp
import piqp
import qoco
import qpalm
import scipy.sparse as sp
import scs
from proxsuite import proxqp

# min x^2 - 2 a x with x <= 5: the minimiser is a
P, G, h, low = sp.csc_matrix([[2.0]]), sp.csc_matrix([[1.0]]), np.array([5.0]), np.array([-1e20])
first, second = np.array([-2.0]), np.array([-6.0])  # a = 1, a = 3

def by_osqp():
    solver = osqp.OSQP()
    solver.setup(P, first, G, low, h, verbose=False)
    yield solver.solve().x
    solver.update(q=second)
    yield solver.solve().x

def by_qpalm():
    data, settings = qpalm.Data(1, 1), qpalm.Settings()
    data.Q, data.q, data.A, data.bmin, data.bmax, settings.verbose = P, first, G, low, h, 0
    solver = qpalm.Solver(data, settings)
    solver.solve()
    yield solver.solution.x
    solver.update_q(second)
    solver.solve()
    yield solver.solution.x

def by_piqp(kind, form):
    solver = kind()
    solver.setup(form(P), first, None, None, form(G), None, h)
    solver.solve()
    yield solver.result.x
    solver.update(c=second)
    solver.solve()
    yield solver.result.x

def by_proxqp(kind, form):
    solver = kind(1, 0, 1)
    solver.init(form(P), first, None, None, form(G), low, h)
    solver.solve()
    yield solver.results.x
    solver.update(g=second)
    solver.solve()
    yield solver.results.x

def by_qoco():
    solver = qoco.QOCO()
    solver.setup(1, 1, 0, P, first, None, None, G, h, 1, 0, np.array([], int), verbose=0)
    yield solver.solve().x
    solver.update_vector_data(c=second)
    yield solver.solve().x

def by_scs():
    solver = scs.SCS({"P": P, "A": G, "b": h, "c": first}, {"l": 1}, verbose=False)
    yield solver.solve()["x"]
    solver.update(c=second)
    yield solver.solve()["x"]

def dense(matrix):
    return matrix.toarray()

solvers = {
    "OSQP": (by_osqp(), True),
    "QOCO": (by_qoco(), True),
    "SCS": (by_scs(), True),
    "QPALM": (by_qpalm(), False),
    "PIQP, dense": (by_piqp(piqp.DenseSolver, dense), False),
    "PIQP, sparse": (by_piqp(piqp.SparseSolver, sp.csc_matrix), False),
    "ProxQP, dense": (by_proxqp(proxqp.dense.QP, dense), False),
    "ProxQP, sparse": (by_proxqp(proxqp.sparse.QP, sp.csc_matrix), False),
}
for name, (solves, stays) in solvers.items():
    x = next(solves)
    assert np.isclose(x[0], 1, atol=1e-2)
    latest = next(solves)
    assert np.isclose(latest[0], 3, atol=1e-2)
    print(f"{name}: the x of the first solve is {x[0]:.2f} after the second")
    assert np.isclose(x[0], 1, atol=1e-2) == stays, "this has changed"

mine = sp.csc_matrix([[2.0]]), sp.csc_matrix([[1.0]])
solver = osqp.OSQP()
solver.setup(mine[0], first, mine[1], low, h, verbose=False)
solver.update(Px=np.array([8.0]), Ax=np.array([4.0]))
print("OSQP: the user's matrices after update(Px, Ax):", *(matrix.data[0] for matrix in mine), "in place of 2 and 1")
assert [matrix.data[0] for matrix in mine] == [8, 4], "this has changed"
PYTHON
