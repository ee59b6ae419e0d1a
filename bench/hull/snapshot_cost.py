"""CPU time of BranchHull by the number of snapshots: as they are, and spelled out for one.

    python -m bench.hull.snapshot_cost [--threads 1]

40 sensors, gains of 8 dimensions, scenes of 12 in a common or an own space, normal, with 10 % of
noise; l2 to 1e-6. Spelled out, the dictionaries are Kronecker products, which one factorisation of
the size of h and all m takes at every step.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import scipy

import nettrim
from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Table

SENSORS, K, N = 40, 8, 12
SNAPSHOTS = (1, 10, 30, 100, 300, 1000, 3000)
LARGEST_SPELLED_OUT = 100


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def measurements(J: int, own: bool) -> tuple[Array, Array, list[Array], Array]:
    rng = np.random.default_rng(J)
    B, m = rng.standard_normal((SENSORS, K)), rng.standard_normal((N, J))
    C = [rng.standard_normal((SENSORS, N)) for _ in range(J if own else 1)]
    w = B @ rng.standard_normal(K)
    x = np.stack([C[j % len(C)] @ m[:, j] for j in range(J)], axis=1)
    return w[:, None] * x * np.exp(0.1 * rng.standard_normal(x.shape)), B, C, np.sign(w)


def solve(*program: Array, signs: Array) -> tuple[nettrim.HullSolution, float]:
    began = time.process_time()
    s = nettrim.branch_hull(
        *program, signs=signs, regularizer="l2", solver="newton", n_threads=machine.threads()
    )
    return s, time.process_time() - began


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    warnings.simplefilter("ignore", nettrim.RecoveryWarning)  # there is noise
    y, B, C, signs = measurements(1, own=False)
    solve(y, B, C[0], signs=signs)  # loads what the first solve loads
    title = "CPU time by snapshots"
    table = Table(options.output / "snapshot_cost", title, ["own C", "J"], machine.header())
    for own in (False, True):
        for J in SNAPSHOTS:
            if table.has(**{"own C": own, "J": J}):
                continue
            y, B, C, signs = measurements(J, own)
            s, seconds = solve(y, B, C if own else C[0], signs=signs)
            row = {"own C": own, "J": J, "status": s.status, "steps": s.iterations}
            row |= {"CPU s": seconds, "ms a step and snapshot": 1e3 * seconds / s.iterations / J}
            spelled = difference = None
            if J <= LARGEST_SPELLED_OUT:
                joint = scipy.linalg.block_diag(*(C if own else C * J))
                flat, spelled = solve(
                    y.T.ravel(), np.tile(B, (J, 1)), joint, signs=np.tile(signs, J)
                )
                difference = abs(flat.objective / s.objective - 1)
            table.add({**row, "spelled out, CPU s": spelled, "difference": difference})


if __name__ == "__main__":
    main()
