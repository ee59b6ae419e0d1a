#!/usr/bin/env bash
# statsmodels 0.15.0, scipy 1.17.1: one-sided exact interval of a proportion, 3 of 10, such as an accuracy.
# Guess: alternative="larger" goes with the test of that name and gives a lower bound, (low, 1), as it does in scipy's
# binomtest ("greater") and in statsmodels' own interval of a mean.
# Seen: proportion_confint(alternative="larger") gives (0, high), and "smaller" (low, 1): the bounds are those of
# scipy, each under the other's name. Who wants "at least this accuracy" gets a 0, or a bound from above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

k, n = 3, 10
sample = DescrStatsW(np.repeat([1.0, 0.0], [k, n - k]))
seen = {}
for ours, theirs in (("larger", "greater"), ("smaller", "less")):
    proportion = proportion_confint(k, n, alpha=0.05, method="beta", alternative=ours)
    mean = sample.tconfint_mean(alpha=0.05, alternative=ours)
    scipy = binomtest(k, n, alternative=theirs).proportion_ci(0.95, method="exact")
    seen[ours] = np.array([proportion, mean, tuple(scipy)], float)
    for name, (low, high) in zip(("statsmodels, proportion", "statsmodels, mean", "scipy, proportion"), seen[ours]):
        print(f"{ours}: {name}: ({low:.3f}, {high:.3f})")
assert np.isfinite(seen["larger"][1, 0]) and np.isinf(seen["larger"][1, 1]) and seen["larger"][2, 1] == 1
assert np.allclose(seen["larger"][0], seen["smaller"][2]), "this has changed"
assert np.allclose(seen["smaller"][0], seen["larger"][2]), "this has changed"
PYTHON
