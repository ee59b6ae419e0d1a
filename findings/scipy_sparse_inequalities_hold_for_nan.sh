#!/usr/bin/env bash
# scipy 1.17.1, numpy 2.4.6: sparse arrays in which one number is a NaN, as a diverged weight or a gap in the data:
# inequalities, and the place of the largest and smallest.
# Guess: as NumPy's: no inequality holds for a NaN; argmax gives the NaN's place, where max is a NaN too, or leaves it
# out.
# Seen: an inequality that holds for zero holds for NaN in all seven formats: it's worked out as what is left by its
# opposite, so that A < 1 and A > -1, A <= 0 and A >= 0 all hold, while A > 1 and A < -1 don't. A NaN passes for a
# small weight in abs(A) < threshold, and so it does between two arrays in A <= B and A >= B. argmax of the whole array
# gives neither the NaN's place nor that of the largest number, but a zero's, with larger numbers there; so does argmin.
# max and min are NaN, == and != and the places along an axis are NumPy's, and without a NaN all are.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON'
import operator
import warnings

import numpy as np
import scipy.sparse as sp

warnings.simplefilter("ignore", sp.SparseEfficiencyWarning)
sane = np.array([[5.0, 2, 0], [-1, 0, 3]])
dense = np.where(sane == 5, np.nan, sane)
other = np.array([[1.0, 0, 0], [0, 0, -2]])
formats = (sp.csr_array, sp.csc_array, sp.coo_array, sp.bsr_array, sp.dia_array, sp.lil_array, sp.dok_array)
signs = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}

for kind in formats:
    told = []
    for sign, compare in signs.items():
        for number in (-1, 0, 1):
            seen, exact = compare(kind(dense), number).toarray(), compare(dense, number)
            expected = exact.copy()
            if sign in ("<", ">", "<=", ">="):
                expected[0, 0] = compare(0, number)
            assert np.array_equal(seen, expected), "this has changed"
            assert np.array_equal(compare(kind(sane), number).toarray(), compare(sane, number))
            if seen[0, 0] and not exact[0, 0]:
                told.append(f"{sign} {number}")
        seen, exact = compare(kind(dense), kind(other)).toarray(), compare(dense, other)
        assert seen[0, 0] == (sign in ("<=", ">=", "!=")) and not exact[0, 0] == (sign != "!="), "this has changed"
    print(f"{kind.__name__}: a NaN is {', '.join(told)}")

for kind in formats[:4]:
    array = kind(dense)
    found = dense.ravel()[[array.argmax(), array.argmin()]]
    print(f"{kind.__name__}: argmax and argmin at {found}, max and min {array.max()}, {array.min()}")
    assert not found.any(), "this has changed"
    assert np.isnan([array.max(), array.min()]).all()
    assert np.array_equal(array.argmax(axis=0), dense.argmax(axis=0))
    assert (kind(sane).argmax(), kind(sane).argmin()) == (sane.argmax(), sane.argmin())
PYTHON
