"""Every entry point, with threads in this process and then in a child; see test_fork.

Run as ``python -c "from support import forked; forked.main(*ways)"`` by processes of their own: a
child that waits for ever is to be stopped from outside.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import nettrim
from nettrim.models.network import Dense

PATIENCE = 60  # seconds, for all entry points

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((80, 12)), RNG.standard_normal((12, 20))
Y = np.maximum(X @ W, 0)
# Large enough for the solver to use its threads.
LARGE_X, LARGE_W = RNG.standard_normal((1600, 40)), RNG.standard_normal((40, 50))
LARGE_Y = np.maximum(LARGE_X @ LARGE_W, 0)
EPSILON = 0.5 * float(np.linalg.norm(LARGE_Y))
B, C = RNG.standard_normal((2, 300, 40))
H = np.eye(40)[1]
IMAGE = np.ones((8, 8))
IMAGE[3:6, 2:5] = 2
WIDE = nettrim.Network([Dense(LARGE_W)])
NETWORK = nettrim.Network([Dense(W, np.ones(20)), Dense(W.T, activation="linear")])


def hull(**options):
    return nettrim.branch_hull((B @ H) * (C @ H), B, C, signs=B @ H, **options).h


def budget(method):
    return lambda n: (
        nettrim.solve_layer_budget(
            X, Y, weights=W, sparsity=0.6, method=method, n_threads=n
        ).weights
    )


def by_executor(n):
    with ThreadPoolExecutor(2) as executor:
        return layer(executor=executor, max_iter=5)(n)


def layer(max_iter=20, **options):
    return lambda n: (
        nettrim.solve_layer(
            LARGE_X, LARGE_Y, epsilon=EPSILON, max_iter=max_iter, n_threads=n, **options
        ).weights
    )


def trimmed(network, X, **options):
    return lambda n: nettrim.trim(network, X, n_threads=n, **options).model.layers[0].weights


JOBS: dict[str, Callable[[int], np.ndarray]] = {
    "newton": layer(solver="newton"),
    "admm": layer(solver="admm", tol=1e-3),
    "linear": layer(activation="linear"),
    "float32": layer(dtype=np.float32, tol=1e-4),
    "blocks": layer(block_outputs=25, max_iter=5),
    "groups": layer(groups=5),
    "executor": by_executor,
    "penalty": lambda n: (
        nettrim.solve_layer(LARGE_X, LARGE_Y, penalty=1.0, max_iter=5, n_threads=n).weights
    ),
    "trace": lambda n: (
        nettrim.trace(LARGE_X, LARGE_Y, epsilons=[EPSILON], max_iter=5, n_threads=n)[0].weights
    ),
    "surgery": budget("surgery"),
    "budget by admm": budget("admm"),
    "reweighted": budget("reweighted"),
    "trace_budget": lambda n: nettrim.trace_budget(X, Y, weights=W, n_threads=n).at(0.5).weights,
    "hull by newton": lambda n: hull(solver="newton", n_threads=n),
    "hull by admm": lambda n: hull(solver="admm", n_threads=n),
    "hull by lp": lambda n: hull(solver="lp", tol=0.1, n_threads=n),
    "image": lambda n: nettrim.separate_image(IMAGE, modes=4, tol=1e-2, n_threads=n).reflectance,
    "trim to an error": trimmed(WIDE, LARGE_X, epsilon=0.1),
    "trim to a sparsity": trimmed(NETWORK, X, sparsity=0.5),
}


def differing(expected: dict[str, np.ndarray]) -> list[str]:
    """Run everything with threads asked for; return what differs by more than rounding."""
    different = []
    for name, job in JOBS.items():
        print(name, end=" ", flush=True)  # the last word of a child that hangs
        if not np.allclose(job(2), expected[name], rtol=1e-3, atol=1e-3):
            different.append(name)
    return different


def main(*ways: str) -> None:
    """Use threads, then a child in one way after another, and threads again in front of each."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # forks beside threads
    expected = {name: job(2) for name, job in JOBS.items()}
    for way in ways:
        print(f"\n{way}:", end=" ", flush=True)
        layer(solver="admm")(2)
        assert WAYS[way](expected) == [], way


def by_fork(expected):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = len(differing(expected))
        finally:
            sys.stdout.flush()
            os._exit(status)
    return [] if os.waitpid(child, 0)[1] == 0 else ["in the child"]


def by_pool(expected):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map_async(differing, [expected]).get(PATIENCE)[0]


def by_data_loader(expected):
    from torch.utils.data import DataLoader

    class Samples:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            return differing(expected)

    loader = DataLoader(
        Samples(), num_workers=1, multiprocessing_context="fork", timeout=PATIENCE, collate_fn=list
    )
    return next(iter(loader))[0]


def by_loky(expected):
    from loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=1)
    alone = executor.submit(len, expected).result(PATIENCE)
    assert alone == len(JOBS)
    return executor.submit(differing, expected).result(PATIENCE)


def by_dask(expected):
    import dask

    with dask.config.set({"multiprocessing.context": "fork"}):
        (told,) = dask.compute(
            dask.delayed(differing)(expected), scheduler="processes", num_workers=1
        )
    return told


WAYS = {
    "fork": by_fork,
    "pool": by_pool,
    "loader": by_data_loader,
    "loky": by_loky,
    "dask": by_dask,
}
