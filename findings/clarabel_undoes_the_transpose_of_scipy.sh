#!/usr/bin/env bash
# clarabel 0.11.1, osqp 1.1.3, scs 3.3.1, scipy 1.17.1: quadratic programs whose sparse matrices come from scipy, one
# of them as the transpose A.T of a csc matrix, which in scipy is a csr matrix.
# Guess: a solver that wants columns converts rows to them, as OSQP and SCS do, or refuses them, as Clarabel refuses
# coo matrices and dense ones.
# Seen: Clarabel takes the arrays of a csr matrix for those of a csc matrix: the program is solved with A where it was
# given A.T, with status Solved, where the matrix is square. An upper triangle of P in rows becomes a lower one, of
# which Clarabel reads the diagonal alone: Solved as well. With .tocsc() all three solvers agree.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check clarabel==0.11.1 osqp==1.1.3 scs==3.3.1 \
    scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import clarabel
import numpy as np
import osqp
import scs
from scipy import sparse

q, bound = np.array([-1.0, -4.0]), np.array([1.0, 2.0])

def by_clarabel(p, a):  # minimise x'Px / 2 + q'x so that a x <= bound
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    found = clarabel.DefaultSolver(p, q, a, bound, [clarabel.NonnegativeConeT(2)], settings).solve()
    return str(found.status), np.array(found.x)

def by_osqp(p, a):
    solver = osqp.OSQP()
    solver.setup(p, q, a, np.full(2, -np.inf), bound, verbose=False, eps_abs=1e-9, eps_rel=1e-9)
    found = solver.solve()
    return found.info.status, found.x

def by_scs(p, a):
    data = {"P": p, "A": a, "b": bound, "c": q}
    found = scs.SCS(data, {"l": 2}, verbose=False, eps_abs=1e-9, eps_rel=1e-9).solve()
    return found["info"]["status"], found["x"]

a, eye = sparse.csc_matrix([[3.0, 0.0], [1.0, 1.0]]), sparse.identity(2, format="csc")
assert a.T.format == "csr"
p, loose = sparse.csc_matrix([[2.0, 1.0], [0.0, 3.0]]), sparse.csc_matrix(np.eye(2) / 100)  # p: upper triangle
programs = {
    "a": (eye, a),
    "a.T": (eye, a.T),
    "a.T.tocsc()": (eye, a.T.tocsc()),
    "triangle in columns": (p, loose),
    "triangle in rows": (p.tocsr(), loose),
    "diagonal": (sparse.csc_matrix(np.diag(p.diagonal())), loose),
}
x = {}
for title, program in programs.items():
    for run in (by_clarabel, by_osqp, by_scs):
        status, x[title, run] = run(*(matrix.copy() for matrix in program))
        print(f"{title}, {run.__name__}: {status}, {x[title, run].round(4).tolist()}")
        assert status.lower() == "solved"

def same(one, run, other, other_run):
    return np.allclose(x[one, run], x[other, other_run], atol=1e-5)

for right in ("a", "a.T.tocsc()", "triangle in columns", "diagonal"):
    assert same(right, by_clarabel, right, by_osqp) and same(right, by_scs, right, by_osqp)
for rows, right, wrong in (("a.T", "a.T.tocsc()", "a"), ("triangle in rows", "triangle in columns", "diagonal")):
    assert not same(right, by_osqp, wrong, by_osqp)
    assert all(same(rows, run, right, run) for run in (by_osqp, by_scs))
    assert same(rows, by_clarabel, wrong, by_clarabel), "this has changed"
for refused in (a.T.tocoo(), a.T.toarray()):
    try:
        by_clarabel(eye, refused)
    except (AttributeError, NotImplementedError):
        continue
    raise AssertionError("this has changed")
PYTHON
