#!/usr/bin/env bash
# proxsuite 0.8.0, osqp 1.1.3, piqp 0.7.0, clarabel 0.11.1: a strictly convex QP in a box, its Hessian given whole, as
# its upper and as its lower triangle (as HiGHS wants it).
# Guess: a solver takes either the whole matrix or one fixed triangle, the same in its dense and its sparse form, and
# refuses a matrix that is not symmetric where it wants the whole.
# Seen: none refuses. Most read the upper triangle and take the lower one for a diagonal matrix; of ProxQP the sparse
# solver reads the upper triangle and the dense one the lower. Each time "solved", to 1e-9, of another problem: a
# program that goes from one form of ProxQP to the other on a triangle silently loses its off-diagonal terms.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check proxsuite==0.8.0 osqp==1.1.3 \
  piqp==0.7.0 clarabel==0.11.1 scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import clarabel, numpy as np, osqp, piqp, proxsuite
from scipy.sparse import csc_matrix

rng = np.random.default_rng(0)
n = 5
B, q = rng.standard_normal((10, n)), rng.standard_normal(n)
P, A, u = B.T @ B, np.eye(n), np.full(n, 0.1)

def by_proxqp(kind, wrap, P):
    solver = getattr(proxsuite.proxqp, kind).QP(n, 0, n)
    solver.settings.eps_abs = 1e-9
    solver.init(wrap(P), q, None, None, wrap(A), -u, u)
    solver.solve()
    return solver.results.info.status.name, solver.results.x

def by_osqp(P):
    solver = osqp.OSQP()
    solver.setup(csc_matrix(P), q, csc_matrix(A), -u, u, verbose=False, eps_abs=1e-9, eps_rel=1e-9)
    result = solver.solve()
    return result.info.status, result.x

def by_piqp(kind, wrap, P):
    solver = getattr(piqp, kind)()
    solver.setup(wrap(P), q, None, None, wrap(A), -u, u)
    status = solver.solve()
    return status.name, solver.result.x

def by_clarabel(P):
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    cones = [clarabel.NonnegativeConeT(2 * n)]
    bounds = csc_matrix(np.vstack([A, -A])), np.concatenate([u, u])
    result = clarabel.DefaultSolver(csc_matrix(P), q, *bounds, cones, settings).solve()
    return str(result.status), result.x

solvers = {
    "ProxQP, dense": lambda P: by_proxqp("dense", np.asarray, P),
    "ProxQP, sparse": lambda P: by_proxqp("sparse", csc_matrix, P),
    "PIQP, dense": lambda P: by_piqp("DenseSolver", np.asarray, P),
    "PIQP, sparse": lambda P: by_piqp("SparseSolver", csc_matrix, P),
    "OSQP": by_osqp,
    "Clarabel": by_clarabel,
}
_, exact = by_clarabel(P)
reads = {}
for name, solve in solvers.items():
    off = {}
    for part, matrix in (("whole", P), ("upper", np.triu(P)), ("lower", np.tril(P))):
        status, x = solve(matrix)
        assert "solved" in status.lower(), (name, part, status)
        off[part] = np.linalg.norm(np.subtract(x, exact)) / np.linalg.norm(exact)
    assert off["whole"] < 1e-6, (name, off)
    reads[name] = [part for part in ("upper", "lower") if off[part] < 1e-6]
    print(f"{name}: solved; off by", ", ".join(f"{error:.0e} ({part})" for part, error in off.items()))
assert reads.pop("ProxQP, dense") == ["lower"], "this has changed"
assert all(parts == ["upper"] for parts in reads.values()), "this has changed"
PYTHON
