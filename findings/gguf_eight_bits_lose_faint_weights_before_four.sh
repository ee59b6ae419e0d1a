#!/usr/bin/env bash
# gguf 0.19.0, numpy 2.4.6: weights half of which are zero, quantised to Q8_0, 8 bits in blocks of 32 with a scale each.
# Guess: as every block has its own scale, the error is half a percent at any size of the weights, and 8 bits are never
# worse than 4.
# Seen: the scale, the largest weight over 127, is kept in half precision, which has few digits below 6e-5 and ends at
# 6e-8. Weights around 1e-4 have twice the error, around 1e-5 it is a tenth, and around 1e-6 all but every 250th
# becomes zero, without a warning. Q4_0 divides by 8 in place of 127 and stays at 10 % there, so that 4 bits are
# better than 8 from 1e-5 on. MXFP4, whose scale is a power of two, doesn't mind the size at all.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6
"$work/env/bin/python" -W error - <<'PYTHON'
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import quants

rng = np.random.default_rng(0)
unit = rng.standard_normal((64, 256)).astype(np.float32)
unit[:, ::2] = 0
error, left = {}, {}
for kind in (Kind.Q8_0, Kind.Q4_0, Kind.MXFP4):
    for size in (1, 1e-3, 1e-4, 1e-5, 1e-6):
        weight = unit * np.float32(size)
        again = quants.dequantize(quants.quantize(weight, kind), kind)
        error[kind.name, size] = float(np.linalg.norm(again / size - unit) / np.linalg.norm(unit))
        left[kind.name, size] = np.count_nonzero(again) / np.count_nonzero(weight)
        print(f"{kind.name}, weights of {size:g}: {error[kind.name, size]:.1%} off,",
              f"{left[kind.name, size]:.1%} of the nonzeros are left")

assert error["Q8_0", 1] < 0.006 and error["Q8_0", 1e-3] < 0.006
assert error["Q8_0", 1e-4] > 1.8 * error["Q8_0", 1] and error["Q8_0", 1e-5] > 0.08, "this has changed"
assert left["Q8_0", 1e-6] < 0.005 and error["Q8_0", 1e-6] > 0.99, "this has changed"
assert max(error["Q4_0", size] for size in (1, 1e-5, 1e-6)) < 0.11
assert error["Q4_0", 1e-5] < error["Q8_0", 1e-5], "this has changed"
assert max(error["MXFP4", size] for size in (1, 1e-5, 1e-6)) < 0.14
PYTHON
