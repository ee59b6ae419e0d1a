#!/usr/bin/env bash
# threadpoolctl 3.8.0, scikit-learn 1.9.1 (OpenMP, OpenBLAS): threadpool_limits(1) around an executor of threads,
# each of which fits an estimator, with OMP_NUM_THREADS=4.
# Guess: the limit is of the whole process, as threadpoolctl's documentation says ("has a global effect"), so that every
# thread computes on one thread.
# Seen: so it is for OpenBLAS. For OpenMP the limit holds in the thread that set it and in no other: a worker of the
# executor has 4 again, and a fit in it starts three threads more. A limit inside of the worker's function holds.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check threadpoolctl==3.8.0
OMP_NUM_THREADS=4 "$work/env/bin/python" -W ignore - <<'PYTHON'
import os
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_info, threadpool_limits

print("threadpoolctl", version("threadpoolctl"))
X = np.random.default_rng(0).standard_normal((500, 4))

def fit():
    before = len(os.listdir("/proc/self/task"))
    HistGradientBoostingRegressor(max_iter=2).fit(X, X[:, 0])
    threads = {kind: {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == kind}
               for kind in ("blas", "openmp")}
    return threads, len(os.listdir("/proc/self/task")) - before

def limited_fit():
    with threadpool_limits(1):
        return fit()

with threadpool_limits(1), ThreadPoolExecutor(1) as executor:
    seen = {
        "the thread that set the limit": fit(),
        "the worker, setting it again": executor.submit(limited_fit).result(),
        "the worker": executor.submit(fit).result(),
    }
for name, (threads, started) in seen.items():
    print(f"{name}: {threads}, threads started by a fit: {started}")
*kept, (threads, started) = seen.values()
assert all(one == ({"blas": {1}, "openmp": {1}}, 0) for one in kept)
assert threads == {"blas": {1}, "openmp": {4}} and started == 3, "this has changed"
PYTHON
