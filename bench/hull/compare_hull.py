"""l1-BranchHull to a certified gap: nettrim, the published method, Clarabel, and linear programs.

    python -m bench.hull.compare_hull [--seeds 5] [--threads 1]

Signals of +-1 on random supports in normal dictionaries, some with noise. Every answer is measured
by the same scale-free certificate (a feasible point against any nonnegative multipliers), to 1e-6.
The published method runs with rho = 1 and its per-point `numpy.roots`; it is asked for its
certificate every 20 iterations, and the time of asking is not counted. Where noise slows it down
beyond --cap seconds, it is given up. Clarabel gets the cones directly, without a modelling
language. Medians over the seeds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import clarabel
import numpy as np
from scipy import sparse

import nettrim
from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Table
from bench.common.timing import timed
from bench.rivals import published_branch_hull

TOL = 1e-6
LOOK_EVERY = 20
CASES = (  # measurements, coefficients of h and of m, support, noise
    (100, 100, 100, 5, 0.0),
    (150, 140, 140, 7, 0.05),
    (400, 300, 300, 10, 0.0),
    (400, 300, 300, 10, 0.05),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cap", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def instance(case: tuple[int, int, int, int, float], seed: int) -> tuple[Array, ...]:
    """Dictionaries, measurements and signs."""
    L, K, N, support, noise = case
    rng = np.random.default_rng(seed)
    B, C = (rng.standard_normal((L, size)) / np.sqrt(L) for size in (K, N))
    h, m = np.zeros(K), np.zeros(N)
    for x in (h, m):
        x[rng.choice(len(x), support, replace=False)] = rng.choice([-1.0, 1.0], support)
    w = B @ h
    return B, C, w * (C @ m) * (1 + noise * rng.standard_normal(L)), np.sign(w)


def gap(A: Array, D: Array, r: Array, h: Array, m: Array, p: Array, q: Array) -> float:
    """Of a point, grown into the hulls, against what any multipliers prove."""
    u, v = A @ h, D @ m
    if (u <= 0).any() or (v <= 0).any():
        return np.inf
    product = np.abs(h).sum() * np.abs(m).sum() / (u * v / r).min()
    p, q = np.maximum(p, 0), np.maximum(q, 0)
    steepest = np.abs(A.T @ p).max() * np.abs(D.T @ q).max()
    bound = np.sqrt(r * p * q).sum() ** 2 / steepest if steepest > 0 else 0.0
    return float(1 - np.sqrt(bound / product))


def published(A: Array, D: Array, r: Array, cap: float) -> float | None:
    """Seconds of the iterations, or none if they did not get there."""
    asking, began, reached = 0.0, time.perf_counter(), False

    def look(iteration: int, h: Array, m: Array, p: Array, q: Array) -> bool:
        nonlocal asking, reached
        if iteration % LOOK_EVERY:
            return False
        value, took = timed(lambda: gap(A, D, r, h, m, p, q))
        asking += took
        reached = value <= TOL
        return reached or time.perf_counter() - began > cap

    _, took = timed(lambda: published_branch_hull.solve(A, D, r, look))
    return took - asking if reached else None


def conic(A: Array, D: Array, r: Array) -> tuple[float, float]:
    """Seconds of Clarabel's set-up and solve, and the gap of its answer."""
    (L, K), N = A.shape, D.shape[1]
    n = K + N
    identity = sparse.eye_array(n)
    signals = [
        sparse.csr_array(np.hstack([A, np.zeros((L, N))])),
        sparse.csr_array(np.hstack([np.zeros((L, K)), D])),
    ]
    cones = sparse.vstack(
        [-(signals[0] + signals[1]), signals[1] - signals[0], sparse.csr_array((L, n))]
    )
    order = np.arange(3 * L).reshape(3, L).T.ravel()
    rows = sparse.vstack(
        [
            sparse.hstack([identity, -identity]),
            sparse.hstack([-identity, -identity]),
            sparse.hstack([sparse.csr_array(cones)[order], sparse.csr_array((3 * L, n))]),
        ],
        format="csc",
    )
    right = np.concatenate(
        [np.zeros(2 * n), np.column_stack([np.zeros((L, 2)), 2 * np.sqrt(r)]).ravel()]
    )
    cost = np.concatenate([np.zeros(n), np.ones(n)])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_rel = settings.tol_gap_abs = settings.tol_feas = 1e-7
    kinds = [clarabel.NonnegativeConeT(2 * n), *[clarabel.SecondOrderConeT(3)] * L]
    nothing = sparse.csc_array((2 * n, 2 * n))

    def solve() -> Any:
        return clarabel.DefaultSolver(nothing, cost, rows, right, kinds, settings).solve()

    solution, took = timed(solve)
    x, z = np.array(solution.x), np.array(solution.z)[2 * n :].reshape(L, 3)
    return took, gap(A, D, r, x[:K], x[K:n], z[:, 0] + z[:, 1], z[:, 0] - z[:, 1])


def ours(y: Array, B: Array, C: Array, signs: Array, solver: str) -> float | None:
    """Seconds of the whole call, or none if it is not certified."""

    def solve() -> nettrim.HullSolution:
        return nettrim.branch_hull(
            y, B, C, signs=signs, solver=solver, tol=TOL, n_threads=machine.threads()
        )

    solution, took = timed(solve)
    return took if solution.converged else None


def measured(case: tuple[int, int, int, int, float], options: argparse.Namespace) -> dict[str, Any]:
    times: dict[str, list[float | None]] = {"newton": [], "lp": [], "clarabel": [], "published": []}
    gaps: list[float] = []
    for seed in range(options.seeds):
        B, C, y, signs = instance(case, seed)
        A, D, r = signs[:, None] * B, (np.sign(y) * signs)[:, None] * C, np.abs(y)
        for solver in ("newton", "lp") if case[0] < 400 else ("newton",):
            times[solver].append(ours(y, B, C, signs, solver))
        took, error = conic(A, D, r)
        times["clarabel"].append(took)
        gaps.append(error)
        times["published"].append(published(A, D, r, options.cap))
    medians = {
        name: statistics.median(found) if found and None not in found else None
        for name, found in times.items()
    }
    newton = medians["newton"]
    ratios = {
        f"{name} / newton": medians[name] and medians[name] / newton
        for name in ("clarabel", "published")
    }
    return {**medians, **ratios, "gap of clarabel": max(gaps), "load": os.getloadavg()[0]}


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {
        **machine.header(),
        "tol": TOL,
        "seeds": options.seeds,
        "clarabel": clarabel.__version__,
    }
    keys = ["measurements", "h", "m", "support", "noise"]
    table = Table(
        options.output / "compare_hull", "l1-BranchHull to a certified 1e-6, seconds", keys, header
    )
    for case in CASES:
        about = dict(zip(keys, case, strict=True))
        if not table.has(**about):
            table.add({**about, **measured(case, options)})


if __name__ == "__main__":
    main()
