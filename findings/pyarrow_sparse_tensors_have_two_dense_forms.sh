#!/usr/bin/env bash
# pyarrow 26.0.1, scipy 1.17.1: sparse matrices in which one place has two entries, as a COO matrix has after it is put
# together from parts, in pyarrow's sparse tensors: SparseCOOTensor, SparseCSRMatrix and SparseCSCMatrix.
# Guess: entries of one place are summed, as scipy does and as every library of the field has it, or from_scipy refuses
# them; what one tensor gives as a dense array and as a scipy matrix is the same.
# Seen: from_scipy takes them as they are, to_tensor writes one after the other, so that the last one stays: of 1 and 2
# it makes 2. to_scipy of the same tensor gives a matrix that is 3 there. It is so in all three layouts. A COO tensor
# says has_canonical_format False, the other two say nothing. After sum_duplicates in scipy the two forms are equal.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" -W error - <<'PYTHON'
import numpy as np
import pyarrow
from scipy import sparse

values, indptr = np.array([1.0, 2.0, 3.0]), np.array([0, 2, 3])
doubled = {
    pyarrow.SparseCOOTensor: sparse.coo_matrix((values, ([0, 0, 1], [1, 1, 0])), shape=(2, 2)),
    pyarrow.SparseCSRMatrix: sparse.csr_matrix((values, np.array([1, 1, 0]), indptr), shape=(2, 2)),
    pyarrow.SparseCSCMatrix: sparse.csc_matrix((values, np.array([1, 1, 0]), indptr), shape=(2, 2)),
}
for layout, matrix in doubled.items():
    exact = matrix.toarray()
    tensor = layout.from_scipy(matrix)
    dense, back = tensor.to_tensor().to_numpy(), tensor.to_scipy().toarray()
    print(f"{layout.__name__}: scipy {exact.tolist()}, to_scipy {back.tolist()}, to_tensor {dense.tolist()},",
          f"canonical {getattr(tensor, 'has_canonical_format', 'not told')}")
    assert exact.max() == 3 and sorted(exact.ravel()) == [0, 0, 3, 3] and np.array_equal(back, exact)
    assert np.array_equal(dense != 0, exact != 0) and sorted(dense.ravel()) == [0, 0, 2, 3], "this has changed"
    assert layout is not pyarrow.SparseCOOTensor or not tensor.has_canonical_format
    single = matrix.copy()
    single.sum_duplicates()
    assert np.array_equal(layout.from_scipy(single).to_tensor().to_numpy(), exact)
PYTHON
