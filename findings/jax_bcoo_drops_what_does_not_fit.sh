#!/usr/bin/env bash
# jax 0.10.2 (CPU): BCOO.fromdense, BCSR.fromdense and sum_duplicates with a number of entries (nse), which they need
# under jit, that is smaller than what the matrix has.
# Guess: outside of jit, where the numbers are known, that is an error.
# Seen: none, neither inside nor outside: the entries that come last are dropped, whatever their size, with no
# warning, and products are those of another matrix. sum_duplicates(nse) drops likewise. A matrix that was pruned
# to a size and has grown a few weights since loses its last rows.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
"$work/env/bin/python" -W error - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

rng = np.random.default_rng(0)
W = rng.standard_normal((6, 5)).astype(np.float32) * (rng.random((6, 5)) < 0.5)
x, entries = jnp.ones((1, 6)), int((W != 0).sum())
whole = sparse.BCOO.fromdense(jnp.asarray(W))
twice = sparse.BCOO(
    (jnp.concatenate([whole.data, whole.data]) / 2, jnp.concatenate([whole.indices, whole.indices])), shape=W.shape
)
few = entries - 5
seen = {
    "BCOO": sparse.BCOO.fromdense(jnp.asarray(W), nse=few).todense(),
    "BCSR": sparse.BCSR.fromdense(jnp.asarray(W), nse=few).todense(),
    "BCOO, jit": jax.jit(lambda w: sparse.BCOO.fromdense(w, nse=few).todense())(jnp.asarray(W)),
    "sum_duplicates": twice.sum_duplicates(nse=few).todense(),
}
assert whole.nse == entries and np.allclose(whole.todense(), W)
for name, stored in seen.items():
    lost = np.flatnonzero(np.asarray(stored) != W)
    off = float(jnp.linalg.norm(x @ stored - x @ W) / jnp.linalg.norm(x @ W))
    largest = abs(W.ravel()[lost]).max()
    print(f"{name}: {entries} entries, nse={few}: {len(lost)} lost, up to {largest:.2f}; x @ W {off:.0%} off")
    assert np.array_equal(lost, np.flatnonzero(W)[few:]), "this has changed"
PYTHON
