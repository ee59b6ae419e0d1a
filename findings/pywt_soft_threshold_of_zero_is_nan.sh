#!/usr/bin/env bash
# PyWavelets 1.9.0: pywt.threshold(mode="soft") of coefficients some of which are zero, as a proximal step.
# Guess: it is the proximal map of the l1 norm: zero stays zero at every threshold, and threshold 0 changes nothing.
# Seen: threshold 0, as at the end of a path of penalties or of a component without penalty, makes every zero a NaN
# (a RuntimeWarning says "invalid value"), and so do thresholds per entry where one is 0; at 1e-300 all is well.
# "hard" and "garrote" stay as they should be, but for what is printed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check pywavelets==1.9.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import pywt

x = np.array([-2.0, 0.0, 0.0, 0.5])
for mode in ("soft", "hard", "garrote"):
    print(mode, {value: pywt.threshold(x, value, mode).tolist() for value in (1.0, 1e-300, 0.0)})
exact = np.sign(x) * np.maximum(abs(x) - 1, 0)
assert np.array_equal(pywt.threshold(x, 1.0, "soft"), exact)
assert np.array_equal(pywt.threshold(x, 1e-300, "soft"), x)
at_zero = pywt.threshold(x, 0.0, "soft")
assert np.array_equal(np.isnan(at_zero), x == 0), "this has changed"
PYTHON
