#!/usr/bin/env bash
# moreau-cpu 0.4.1, daqp 0.11.0, numpy 2.4.6, scipy 1.17.1: linear and quadratic programs in which one variable grows
# up to a bound, or has none, by Moreau's interior-point solver, its active-set solver and DAQP, which that one wraps.
# Guess: a bound in the data is where the variable ends, however far away; without one the status says so, as the
# interior-point solver's does.
# Seen: up to 1e6 all three agree. Beyond it the active-set solver stops at a million, status Solved: 5e6 is answered by
# 1e6 and a fifth of the objective, in units such as bytes or grams no large number, and a program without a minimum is
# solved at the same place. Where the Hessian holds the variable it goes further: 1e7 is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    moreau-cpu==0.4.1 daqp==0.11.0 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" - <<'PYTHON' | grep '^x'
import daqp
import moreau_cpu
import numpy as np
import scipy.sparse as sp

c = np.array([-1.0, 1.0])  # the first wants to grow, the second is at its bound, zero

def by_moreau(kind, P, G, h):
    quadratic, rows = sp.csr_array(P), sp.csr_array(G)
    cones = moreau_cpu.Cones(num_nonneg_cones=len(h))
    parts = [part.tolist() for matrix in (quadratic, rows) for part in (matrix.indptr, matrix.indices)]
    solver = kind(2, len(h), *parts, cones)
    solver.setup(quadratic.data, rows.data)
    result = solver.solve(c, h)
    return int(result["status"]), float(result["x"][0])

def by_daqp(P, G, h):
    x, _, flag, _ = daqp.solve(P, c, G, h, np.full(len(h), -1e30), np.zeros(len(h), np.int32))
    return flag, x[0]

solved = int(moreau_cpu.SolverStatus.Solved)
bounded, positive = np.array([[1.0, 0], [0, -1]]), np.array([[-1.0, 0], [0, -1]])
for name, P in (("LP", np.zeros((2, 2))), ("QP", np.diag([0.0, 1]))):
    for upper in (5.0, 9e5, 2e6, 5e6):
        h = np.array([upper, 0])
        results = [by_moreau(kind, P, bounded, h) for kind in (moreau_cpu.Solver, moreau_cpu.ActiveSetSolver)]
        flag, exact = by_daqp(P, bounded, h)
        print(f"x <= {upper:g}, {name}: interior point {results[0][1]:g}, active set {results[1][1]:g}, DAQP {exact:g}")
        assert flag == 1 and np.isclose(exact, upper) and np.isclose(results[0][1], upper)
        assert [status for status, _ in results] == [solved, solved]
        assert np.isclose(results[1][1], min(upper, 1e6)), "this has changed"
    status, x = by_moreau(moreau_cpu.ActiveSetSolver, P, positive, np.zeros(2))
    other, _ = by_moreau(moreau_cpu.Solver, P, positive, np.zeros(2))
    print(f"x unbounded, {name}: active set {x:g}, {'Solved' if status == solved else status}")
    assert other == int(moreau_cpu.SolverStatus.DualInfeasible)
    assert status == solved and np.isclose(x, 1e6), "this has changed"
status, x = by_moreau(moreau_cpu.ActiveSetSolver, np.diag([1e-7, 1]), positive, np.zeros(2))
print(f"x held at 1e7 by the Hessian: active set {x:g}")
assert status == solved and np.isclose(x, 1e7)
PYTHON
