#!/usr/bin/env bash
# scipy 1.17.1: two sparse matrices on one pattern, B = csr_array((values, A.indices, A.indptr)), as one makes one of
# gradients or of squared weights beside a pruned matrix; A is a product of sparse matrices.
# Guess: what only reads A, such as its norm, its maximum, abs(A) or spsolve(A, b), leaves A's arrays alone, so B stays
# what it is; what works in place says so in its name or its documentation, as A.sort_indices() does.
# Seen: a product has its indices in no order within a row, and each of these sorts them, in A's own arrays: A's values
# move along, B's don't, and B is silently another matrix. A sum, a product with a vector, A.max(axis=0) and the
# conversions to CSC and BSR change nothing, nor does anything once the indices are sorted; copy=True for B is safe.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from scipy.sparse import csr_array, eye_array, linalg, random_array

def pair(in_order=False, copy=False):
    rng = np.random.default_rng(0)
    left, right = (random_array((8, 8), density=0.3, rng=rng, format="csr") + eye_array(8) for _ in range(2))
    A = left @ right
    if in_order:
        A.sort_indices()
    else:
        assert not A.has_sorted_indices
    return A, csr_array((A.data**2, A.indices, A.indptr), shape=A.shape, copy=copy)

def changed(read, **options):
    A, B = pair(**options)
    before = A.toarray(), B.toarray()
    assert np.allclose(before[1], before[0] ** 2)
    read(A)
    assert np.array_equal(A.toarray(), before[0])
    return np.linalg.norm(B.toarray() - before[1]) / np.linalg.norm(before[1])

reads = {
    "abs(A)": abs,
    "A.max()": lambda A: A.max(),
    "A.argmax(axis=1)": lambda A: A.argmax(axis=1),
    "A.power(2)": lambda A: A.power(2),
    "A.count_nonzero(axis=0)": lambda A: A.count_nonzero(axis=0),
    "norm(A)": linalg.norm,
    "spsolve(A, b)": lambda A: linalg.spsolve(A, np.ones(8)),
    "A.sum(axis=1)": lambda A: A.sum(axis=1),
    "A.max(axis=0)": lambda A: A.max(axis=0),
    "A + A": lambda A: A + A,
    "A @ b": lambda A: A @ np.ones(8),
    "A.tocsc()": lambda A: A.tocsc(),
    "A.tobsr()": lambda A: A.tobsr((2, 2)),
}
off = {name: changed(read) for name, read in reads.items()}
for name, error in off.items():
    print(f"after {name}: B is {error:.0%} off")
assert [name for name, error in off.items() if error > 0.1] == list(reads)[:7], "this has changed"
assert all(error == 0 for error in list(off.values())[7:]), "this has changed"
for options in ({"in_order": True}, {"copy": True}):
    assert not any(changed(read, **options) for read in reads.values())
PYTHON
