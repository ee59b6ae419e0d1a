#!/usr/bin/env bash
# datasets 5.2.0 (Hugging Face): columns of integers read by with_format("numpy").
# Guess: integers stay what they are; a missing one makes the column floats with a NaN that still hold the others, in
# float64 as pandas does, and what does not fit raises.
# Seen: one missing value makes the column float32: of 2**24 + 1 and 2**24 + 3, numbers such as row ids have, the one
# becomes 2**24, the other 2**24 + 4, in rows that miss nothing, and only in batches where one does. uint64 is cast to
# int64 without a check: 2**63 + 5 comes out negative. with_format("pandas") has them all right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 numpy==2.4.6
cd "$work"
HF_HUB_OFFLINE=1 HF_HOME="$work" "$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from datasets import Dataset

ids = [2**24 + 1, 2**24 + 3, None, 5]
large = np.array([2**63 + 5, 1, 2, 3], np.uint64)
data = Dataset.from_dict({"id": ids, "large": large})
print(data.features)
for kind in ("pandas", "numpy"):
    rows = data.with_format(kind)
    whole, part = np.asarray(rows[:]["id"]), np.asarray(rows[:2]["id"])
    hashes = np.asarray(rows[:]["large"])
    print(f"{kind}: id {whole.dtype} {whole.tolist()}, first two alone {part.dtype} {part.tolist()}")
    print(f"  large {hashes.dtype} {hashes.tolist()}")
    assert part.tolist() == ids[:2]
    same = whole[:2].tolist() == ids[:2], hashes.tolist() == large.tolist()
    assert same == ((True, True) if kind == "pandas" else (False, False)), "this has changed"
PYTHON
