#!/usr/bin/env bash
# highspy 1.16.0: a strictly convex QP of six unknowns, its whole objective times 1, 1e-4, 1e-6, 1e-8.
# Guess: the minimiser stays where it is, if need be with tighter tolerances; "Optimal" means the optimum of the
# objective that was passed.
# Seen: HiGHS adds 1e-7 to the diagonal of the Hessian (qp_regularization_value), whatever the objective's size. At
# 1e-6, as of a loss that is a mean, the answer is 0.3 % off, at 1e-8 16 %, each time with status Optimal; tolerances
# of 1e-10 change nothing, and the objective that is reported is that of the answer. With the option at zero all
# four agree.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check highspy==1.16.0 numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON'
import highspy, numpy as np

rng = np.random.default_rng(0)
n, m = 6, 3
B, y = rng.standard_normal((20, n)), rng.standard_normal(20)
Q, c, A = B.T @ B, -B.T @ y, rng.standard_normal((m, n))
upper = A @ np.linalg.solve(Q, -c) - 0.1

def solve(scale, **options):
    highs = highspy.Highs()
    for name, value in {"output_flag": False, **options}.items():
        highs.setOptionValue(name, value)
    model = highspy.HighsModel()
    lp, hessian = model.lp_, model.hessian_
    lp.num_col_, lp.num_row_, lp.col_cost_ = n, m, scale * c
    lp.col_lower_, lp.col_upper_ = np.full(n, -highspy.kHighsInf), np.full(n, highspy.kHighsInf)
    lp.row_lower_, lp.row_upper_ = np.full(m, -highspy.kHighsInf), upper
    lp.a_matrix_.start_, lp.a_matrix_.index_ = np.arange(0, m * n + 1, m), np.tile(np.arange(m), n)
    lp.a_matrix_.value_ = A.T.ravel()
    hessian.dim_, hessian.format_ = n, highspy.HessianFormat.kTriangular
    hessian.start_ = np.cumsum([0, *range(n, 0, -1)])
    hessian.index_ = np.concatenate([np.arange(k, n) for k in range(n)])
    hessian.value_ = scale * np.concatenate([Q[k:, k] for k in range(n)])
    highs.passModel(model)
    highs.run()
    return np.array(highs.getSolution().col_value), highs.modelStatusToString(highs.getModelStatus())

exact, _ = solve(1, qp_regularization_value=0.0)
tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
for title, options in (("default", {}), ("tight", tight), ("not regularised", {"qp_regularization_value": 0.0})):
    off = {}
    for scale in (1, 1e-4, 1e-6, 1e-8):
        x, status = solve(scale, **options)
        off[scale] = np.linalg.norm(x - exact) / np.linalg.norm(exact)
        assert status == "Optimal", status
    print(f"{title}:", ", ".join(f"times {scale:g}: {error:.1e} off" for scale, error in off.items()))
    if title == "not regularised":
        assert max(off.values()) < 1e-9
    else:
        assert off[1] < 1e-7 and off[1e-6] > 1e-3 and off[1e-8] > 0.1, "this has changed"
PYTHON
