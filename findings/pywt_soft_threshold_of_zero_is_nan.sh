#!/usr/bin/env bash
# PyWavelets 1.9.0: pywt.threshold(mode="soft") of coefficients some of which are zero, as a proximal step.
# Guess: it is the proximal map of the l1 norm: zero stays zero at every threshold, and threshold 0 changes nothing.
# Seen: threshold 0, as at the end of a path of penalties or for a component without penalty, makes every zero a NaN
# (NumPy warns of an invalid value); at 1e-300 all is well. So does "garrote", at 1e-300 too, where "hard" is right.
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
for value, mode in ((0.0, "soft"), (0.0, "garrote"), (1e-300, "garrote")):
    assert np.array_equal(np.isnan(pywt.threshold(x, value, mode)), x == 0), "this has changed"
PYTHON
