#!/usr/bin/env bash
# scikit-learn 1.9.1: LassoLars and Lasso, which minimise the same function, on 300 random designs of zeros and ones
# (20 samples, 8 features) and 300 of normal numbers, at two penalties.
# Guess: both reach the minimum to 1e-6, and LassoLars warns where it cannot.
# Seen: so it is for normal numbers. With zeros and ones, where correlations tie, LassoLars ends above the minimum in a
# fifth of the programs, by up to 132 %, and in four of five of these without any warning. Lasso is at the minimum
# every time, with a duality gap to show it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from sklearn.linear_model import Lasso, LassoLars

def fit(estimator, X, y):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        w = estimator.fit(X, y).coef_
    value = ((y - X @ w) ** 2).sum() / (2 * len(y)) + estimator.alpha * abs(w).sum()
    return value, bool(warned), getattr(estimator, "dual_gap_", None)

rng = np.random.default_rng(0)
designs = {
    "zeros and ones": lambda: rng.integers(0, 2, (20, 8)).astype(float),
    "normal numbers": lambda: rng.standard_normal((20, 8)),
}
seen = {}
for name, draw in designs.items():
    above, silent = [], 0
    for _ in range(300):
        X, y = draw(), rng.integers(-3, 4, 20).astype(float)
        for alpha in (0.01, 0.1):
            lars, warned, _ = fit(LassoLars(alpha=alpha, fit_intercept=False), X, y)
            tight = Lasso(alpha=alpha, fit_intercept=False, tol=1e-12, max_iter=200000)
            least, _, gap = fit(tight, X, y)
            assert gap < 1e-8
            excess = lars / least - 1
            if excess > 1e-4:
                above.append(excess)
                silent += not warned
    seen[name] = len(above), silent
    most = max(above, default=0)
    print(f"{name}: {len(above)} of 600 above the minimum, {silent} without a warning; at most {most:.1%}")
assert seen["normal numbers"] == (0, 0), "this has changed"
assert seen["zeros and ones"][0] > 60 and seen["zeros and ones"][1] > 30, "this has changed"
PYTHON
