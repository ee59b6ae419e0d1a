#!/usr/bin/env bash
# scipy 1.17.1, numpy 2.4.6: A.setdiag(values) with the values in float64, as numpy makes them, on arrays of float32 and
# of int32, in the six formats that have it, where the diagonal is stored already and where it is not.
# Guess: it works in place as numpy.fill_diagonal does, so that A keeps its type and the values are rounded or cut to
# it, in each format alike.
# Seen: DOK, LIL and DIA keep it. CSR and CSC keep it where the diagonal is stored; where one number of it is not, the
# whole array becomes float64 in place: float32 has doubled, and of int32, whose diagonal was cut to whole numbers a
# moment ago, it is no longer. COO becomes float64 each time. One number in place of a vector changes no type anywhere.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import scipy.sparse as sp

warnings.simplefilter("ignore", sp.SparseEfficiencyWarning)
hollow = np.array([[0, 1, 0], [2, 0, 0], [0, 4, 0]])
patterns = {"stored": hollow + 3 * np.eye(3, dtype=int), "stored but for one": hollow + np.diag([3, 3, 0])}
formats = (sp.csr_array, sp.csc_array, sp.coo_array, sp.dok_array, sp.lil_array, sp.dia_array)
values = np.array([1.1, 2.2, 3.3])

for dtype in (np.float32, np.int32):
    for pattern, dense in patterns.items():
        told = []
        for kind in formats:
            by_vector, by_number = (kind(dense.astype(dtype)) for _ in range(2))
            by_vector.setdiag(values)
            by_number.setdiag(2.7)
            widened = kind is sp.coo_array or kind in (sp.csr_array, sp.csc_array) and pattern != "stored"
            assert by_vector.dtype == (np.float64 if widened else dtype), "this has changed"
            assert by_number.dtype == dtype
            exact = dense.astype(by_vector.dtype)
            np.fill_diagonal(exact, values)
            assert np.array_equal(by_vector.toarray(), exact)
            told.append(f"{by_vector.format} {by_vector.dtype} {by_vector.diagonal().tolist()[:1]}")
        print(f"{np.dtype(dtype)}, diagonal {pattern}: {', '.join(told)}")
PYTHON
