#!/usr/bin/env bash
# moreau-cpu 0.4.1, numpy 2.4.6, scipy 1.17.1: the gradient of a function of a QP's solution with respect to its data,
# as a layer of a network needs it (backward), with the Hessian given whole and as its upper triangle, both of which
# the solver takes.
# Guess: the triangle's gradient is the whole one's, where an entry off the diagonal counts for both of its places.
# Seen: so it is by the active-set solver. By the interior-point solver, which has the same interface, entries off the
# diagonal get half of their slope when the triangle was given, for functions of x and of the multipliers z; with the
# whole matrix they are right, and the solution is in both forms. A descent on the triangle, or one that goes from one
# solver to the other, takes another way.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check moreau-cpu==0.4.1 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" - <<'PYTHON' | grep '^by'
import moreau_cpu
import numpy as np
import scipy.sparse as sp

rng = np.random.default_rng(1)
B, G, h, c = rng.standard_normal((4, 4)), rng.standard_normal((3, 4)), np.full(3, 0.1), rng.standard_normal(4)
P, up = B @ B.T + np.eye(4), np.triu_indices(4)
weights = {"x": rng.standard_normal(4), "z": rng.standard_normal(3)}
rows = sp.csr_array(G)

def solved(kind, matrix):
    quadratic = sp.csr_array(matrix)
    parts = [part.tolist() for form in (quadratic, rows) for part in (form.indptr, form.indices)]
    solver = kind(4, 3, *parts, moreau_cpu.Cones(num_nonneg_cones=3), enable_grad=True)
    solver.setup(quadratic.data, rows.data)
    return solver, solver.solve(c, h)

def value(matrix, of):
    return weights[of] @ solved(moreau_cpu.ActiveSetSolver, matrix)[1][of]

def differences(of):
    """By the entries of the upper triangle, each in both of its places."""
    step, slopes = 1e-5, []
    for i, j in zip(*up):
        change = np.zeros((4, 4))
        change[i, j] = change[j, i] = step
        slopes.append((value(P + change, of) - value(P - change, of)) / (2 * step))
    return np.array(slopes)

def folded(gradient):
    """A gradient of the whole P as one of its upper triangle."""
    whole = gradient.reshape(4, 4)
    return (whole + whole.T - np.diag(whole.diagonal()))[up]

off = up[0] != up[1]
for kind in (moreau_cpu.Solver, moreau_cpu.ActiveSetSolver):
    for of in "xz":
        exact = differences(of)
        for form, matrix in (("whole", P), ("triangle", np.triu(P))):
            solver, result = solved(kind, matrix)
            assert (np.asarray(result["z"]) > 1e-3).sum() >= 2
            upstream = [weights[of] if of == name else np.zeros(len(weights[name])) for name in "xz"]
            gradient = np.asarray(solver.backward(*upstream)["dP_values"]).ravel()
            gradient = folded(gradient) if form == "whole" else gradient
            share = gradient[off] / exact[off]
            print(f"by {kind.__name__}, a function of {of}, P's {form}: {share.round(3)} of slopes off the diagonal")
            assert np.allclose(gradient[~off], exact[~off], atol=1e-4)
            half = kind is moreau_cpu.Solver and form == "triangle"
            assert np.allclose(share, 0.5 if half else 1, atol=1e-3), "this has changed"
PYTHON
