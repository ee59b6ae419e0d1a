#!/usr/bin/env bash
# sparse 0.19.3 (pydata), numpy 2.4.6: a DOK array, the format to build an array in, read and written at lists of places
# some of which are counted from the end, and written along slices that run backwards.
# Guess: as numpy's, which its indexing is modelled on: -1 is the last in a list as it is in d[-1, -1], which is right,
# and in lists of COO and GCXS.
# Seen: in a list it isn't counted from the end. What is read there is zero, whatever is stored; what is written goes to
# a key of its own, (-1, -1), so that with a 5 at (1, 2) and a 6 at ([-1], [-1]), the same place, two entries are
# stored, d.todense() has the 6, the list [1], [2] still the 5, and the way to COO, with which all arithmetic begins,
# raises. A slice that begins at 0 and runs backwards, one number in numpy, begins at the end: d[0::-1] = 7 fills the
# whole array. Other slices are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check sparse==0.19.3 numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON'
import numpy as np
import sparse

dense = np.array([[0.0, 1, 0], [2, 0, 3]])
for kind in (sparse.COO, sparse.GCXS, sparse.DOK):
    array = kind.from_numpy(dense)
    read = [array[-1, -1], array[-1].todense()[-1], array[::-1].todense()[0, -1]]
    if kind is not sparse.GCXS:  # which takes no pair of lists
        read.append(array[[0, -1], [1, -1]].todense()[-1])
    if kind is not sparse.DOK:  # which takes no single list
        read.append(array[[0, -1]].todense()[-1, -1])
    print(f"{kind.__name__}: the last number is {', '.join(str(float(number)) for number in read)}")
    assert read == ([3, 3, 3, 0] if kind is sparse.DOK else [3] * len(read)), "this has changed"

alone, listed = sparse.DOK((2, 3)), sparse.DOK((2, 3))
for array in (alone, listed):
    array[1, 2] = 5
alone[-1, -1] = 6
assert (alone.nnz, alone.todense()[1, 2], alone.to_coo().sum()) == (1, 6, 6)
listed[[-1], [-1]] = [6]
seen = listed.nnz, listed.todense()[1, 2], listed[[1], [2]].todense()[0]
print(f"written twice: {seen[0]} entries, {seen[1]} in the dense array, {seen[2]} read by a list")
assert seen == (2, 6, 5), "this has changed"
try:
    listed.to_coo()
    raise SystemExit("this has changed")
except ValueError as error:
    print(f"to COO: {error}")

for step in (-1, -2):
    for start in (None, 3, 2, 1, 0, -1, -3, -4):
        for stop in (None, 0, -3):
            array, exact = sparse.DOK(4), np.zeros(4)
            array[start:stop:step] = exact[start:stop:step] = 7
            if not np.array_equal(array.todense(), exact):
                print(f"d[{start}:{stop}:{step}] = 7: {array.todense()} in place of {exact}")
                assert start in (0, -4), "this has changed"
            else:
                assert start not in (0, -4) or stop == -3, "this has changed"
PYTHON
