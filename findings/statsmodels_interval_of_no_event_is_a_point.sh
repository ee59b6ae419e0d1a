#!/usr/bin/env bash
# statsmodels 0.15.0: 95 % intervals where nothing, or everything, was seen: the rate behind 0 events
# (confint_poisson), the ratio of 10 of 10 and 10 of 10 (confint_proportions_2indep).
# Guess: an interval contains its estimate and has a width: 0 events say that the rate is between 0 and about 3, as the
# rule of three has it; methods differ in the upper end. Wald's, which everyone knows to collapse, aside.
# Seen: "midp-c", which counts as nearly exact, gives [3.00, 3.00], and "sqrt" [0.96, 0.96]: points that leave the
# estimate out, so that a rate of 0.05 is missed at least 95 times of 100. From one event on both are fine. For the
# ratio of 10 of 10 to 10 of 10 the default method gives [1, 1], as if ten samples were enough for certainty, and
# "score" [1, 1.40], though the ratio the other way round is the same one. For 9 and 9 both are fine.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from scipy.stats import poisson
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.stats.rates import confint_poisson

def covered(method, rate):
    """The chance that the interval holds the true rate, summed over all counts."""
    counts = np.arange(60)
    intervals = (confint_poisson(count, 1.0, method=method) for count in counts)
    holds = [low <= rate <= high for low, high in intervals]
    return float(poisson.pmf(counts, rate)[holds].sum())

at_zero, shares = {}, {}
for method in ("exact-c", "score", "midp-c", "sqrt"):
    at_zero[method] = np.array(confint_poisson(0, 1.0, method=method))
    at_one = np.array(confint_poisson(1, 1.0, method=method))
    shares[method] = {rate: covered(method, rate) for rate in (0.05, 0.5, 5.0)}
    told = ", ".join(f"{share:.0%} of a rate of {rate}" for rate, share in shares[method].items())
    print(f"{method}: 0 events {at_zero[method].round(2)}, 1 event {at_one.round(2)}; covers {told}")
    assert at_one[0] < 1 < at_one[1]
for method in ("exact-c", "score"):
    assert at_zero[method][0] == 0 and at_zero[method][1] > 3 and min(shares[method].values()) > 0.9
for method in ("midp-c", "sqrt"):
    assert np.ptp(at_zero[method]) < 1e-6 and at_zero[method][0] > 0.9, "this has changed"
    assert shares[method][0.05] < 0.1 and shares[method][5.0] > 0.9

ratios = {}
for method in (None, "score"):
    for both in (9, 10):
        ratios[method, both] = np.array(confint_proportions_2indep(both, 10, both, 10, method=method, compare="ratio"))
        print(f"ratio of {both} of 10 to {both} of 10, {method or 'default'}: {ratios[method, both].round(3)}")
assert np.ptp(ratios[None, 9]) > 0.4 and np.ptp(ratios[None, 10]) < 1e-6, "this has changed"
assert ratios["score", 10][0] > 0.999 and ratios["score", 10][1] > 1.3, "this has changed"
PYTHON
