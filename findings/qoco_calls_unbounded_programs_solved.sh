#!/usr/bin/env bash
# qoco 0.3.2, clarabel 0.11.1, numpy 2.4.6, scipy 1.17.1: linear and quadratic programs that have no minimum, such as a
# model in which one bound was forgotten.
# Guess: QOCO has no status for unbounded, so it ends in a numerical error or at the limit of iterations, as it does on
# programs without a feasible point.
# Seen: it ends as QOCO_SOLVED, with an objective below -1e12 and an x as large: residuals are measured relative to the
# numbers at hand, so that a gradient off by all of c is small beside x. Clarabel says DualInfeasible each time. With
# the forgotten bound both are at the minimum.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    qoco==0.3.2 clarabel==0.11.1 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" - <<'PYTHON'
import clarabel
import numpy as np
import qoco
import scipy.sparse as sp

def by_qoco(P, c, G, h):
    solver = qoco.QOCO()
    quadratic = sp.csc_matrix(P) if P.any() else None
    none = np.array([], int)
    solver.setup(len(c), len(h), 0, quadratic, c, None, None, sp.csc_matrix(G), h, len(h), 0, none, verbose=0)
    result = solver.solve()
    return result.status, result.obj, abs(P @ result.x + c + G.T @ result.z).max()

def by_clarabel(P, c, G, h):
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    quadratic, cones = sp.triu(sp.csc_matrix(P), format="csc"), [clarabel.NonnegativeConeT(len(h))]
    return str(clarabel.DefaultSolver(quadratic, c, sp.csc_matrix(G), h, cones, settings).solve().status)

zero, half = np.zeros((3, 3)), np.diag([1.0, 1.0, 0.0])
c = np.array([1.0, 1.0, -1.0])  # the third wants to grow
below = -np.eye(3), np.zeros(3)  # x >= 0
above = np.vstack([-np.eye(3), [[0, 0, 1]]]), np.array([0.0, 0, 0, 5])  # and x3 <= 5
never = np.vstack([-np.eye(3), [[0, 0, 1]]]), np.array([0.0, 0, 0, -5])  # and x3 <= -5
for name, P in (("LP", zero), ("QP", half)):
    for kind, bounds, status in (("bounded", above, "Solved"), ("unbounded", below, "DualInfeasible")):
        seen, objective, off = by_qoco(P, c, *bounds)
        print(f"{name}, {kind}: {seen}, objective {objective:.3g}, gradient off by {off:.1g}; Clarabel {status}")
        assert by_clarabel(P, c, *bounds) == status
        assert seen == "QOCO_SOLVED", "this has changed"
        if kind == "bounded":
            assert np.isclose(objective, -5, atol=1e-4) and off < 1e-5
        else:
            assert objective < -1e12 and off > 0.5, "this has changed"
    seen, *_ = by_qoco(P, c, *never)
    print(f"{name}, infeasible: {seen}")
    assert "SOLVED" not in seen and by_clarabel(P, c, *never) == "PrimalInfeasible"
PYTHON
