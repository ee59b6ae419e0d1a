#!/usr/bin/env bash
# MAPIE 1.6.0: MultiLabelClassificationController(method="rcps") chooses a threshold whose risk is at most alpha with
# 90 % confidence. One label a sample, found if its score, uniform on [0, 1], is above the threshold: the risk of a
# threshold is the threshold itself, so a broken promise can be counted.
# Guess: in at most 10 % of 400 calibrations the chosen threshold's risk is above alpha, by whichever bound.
# Seen: so it is with "hoeffding" (never). With "wsr", the bound by betting and the default, it is 18 %:
# samples are halved for memory's sake, each half's capital starts at one, and the largest of the one is multiplied
# with the largest of the other, which is no capital that a bettor could have had.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check mapie==1.6.0 scikit-learn==1.9.1 \
  scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from mapie.risk_control import MultiLabelClassificationController
from scipy.stats import binomtest

samples, alpha, confidence, repeats = 40, 0.204, 0.9, 400
labels = np.tile([1, 0], (samples, 1))

def chosen(scores, bound):
    controller = MultiLabelClassificationController(
        lambda scores: scores, risk="recall", method="rcps", rcps_bound=bound, target_level=1 - alpha,
        confidence_level=confidence, predict_params=np.arange(0, 0.4, 0.01),
    )
    return controller.calibrate(scores, labels).best_predict_param.item()

seen = {}
for bound in ("hoeffding", "wsr"):
    rng = np.random.default_rng(0)
    draws = (np.column_stack([rng.random(samples), np.zeros(samples)]) for _ in range(repeats))
    broken = sum(chosen(scores, bound) > alpha for scores in draws)
    seen[bound] = binomtest(broken, repeats, 1 - confidence, alternative="greater").pvalue
    print(f"{bound}: {broken} of {repeats} promises broken; by chance with probability {seen[bound]:.0e}")
assert seen["hoeffding"] > 0.01
assert seen["wsr"] < 1e-4, "this has changed"
PYTHON
