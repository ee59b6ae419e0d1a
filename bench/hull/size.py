"""BranchHull of very many measurements, by a working set and by alternating directions.

    python -m bench.hull.size [--sizes 10000 100000] [--time-limit 60] [--threads 2]

Gains of 20 slow cosines times a signal of 50 of 2,000 columns: cosines drawn by chance, Haar
wavelets, or ten normal entries in a row; dictionaries are operators. Without and with 5 % of
uniform noise, to a gap of 1e-4.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import fft, sparse
from scipy.sparse.linalg import LinearOperator

import nettrim
from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Table

K, N, SUPPORT, IN_A_ROW = 20, 2000, 50, 10
DICTIONARIES = ("cosines", "wavelets", "sparse")
NOISE = (0.0, 0.05)
SOLVERS = ("working-set", "admm")
TOL = 1e-4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dictionaries", nargs="+", choices=DICTIONARIES, default=DICTIONARIES)
    parser.add_argument("--noise", type=float, nargs="+", default=NOISE)
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=SOLVERS)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def cosines(L: int, frequencies: Array) -> LinearOperator:
    """Columns of the cosine transform, of mean square 1."""

    def signal(c: Array) -> Array:
        spectrum = np.zeros(L)
        spectrum[frequencies] = c.ravel()
        return np.sqrt(L) * fft.idct(spectrum, norm="ortho")

    def correlations(s: Array) -> Array:
        return np.sqrt(L) * fft.dct(s.ravel(), norm="ortho")[frequencies]

    return LinearOperator((L, len(frequencies)), signal, correlations, dtype=np.float64)


def wavelets(L: int) -> LinearOperator:
    """The N widest Haar wavelets, of L samples."""
    leaves = 1 << (N - 1).bit_length()
    place = np.arange(L) * leaves // L

    def signal(c: Array) -> Array:
        c = np.append(c.ravel(), np.zeros(leaves - N))
        x = c[:1]
        while len(x) < leaves:
            detail = c[len(x) : 2 * len(x)] * np.sqrt(len(x))
            x = np.column_stack([x + detail, x - detail]).ravel()
        return x[place]

    def correlations(s: Array) -> Array:
        x = np.bincount(place, s.ravel(), leaves)
        c = np.empty(leaves)
        while len(x) > 1:
            half = len(x) // 2
            c[half : 2 * half] = (x[::2] - x[1::2]) * np.sqrt(half)
            x = x[::2] + x[1::2]
        c[0] = x[0]
        return c[:N]

    return LinearOperator((L, N), signal, correlations, dtype=np.float64)


def few_in_a_row(L: int, rng: np.random.Generator) -> sparse.csr_array:
    entries, columns = rng.standard_normal(L * IN_A_ROW), rng.integers(0, N, L * IN_A_ROW)
    begins = np.arange(0, L * IN_A_ROW + 1, IN_A_ROW)
    return sparse.csr_array((entries, columns, begins), shape=(L, N))


def measurements(L: int, dictionary: str, noise: float) -> tuple[Array, object, object, Array]:
    rng = np.random.default_rng(0)
    B, C = (
        cosines(L, np.arange(K)),
        {
            "cosines": lambda: cosines(L, K + np.sort(rng.permutation(L - K)[:N])),
            "wavelets": lambda: wavelets(L),
            "sparse": lambda: few_in_a_row(L, rng),
        }[dictionary](),
    )
    w = B @ np.append(2.0, rng.standard_normal(K - 1) / np.arange(1, K))
    m = np.zeros(N)
    m[rng.permutation(N)[:SUPPORT]] = rng.standard_normal(SUPPORT)
    y = w * (C @ m) * (1 + noise * rng.uniform(-1, 1, L))
    return y, B, C, np.sign(w)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    warnings.simplefilter("ignore", nettrim.RecoveryWarning)  # there is noise
    keys = ["L", "dictionary", "noise", "solver"]
    table = Table(options.output / "hull_size", "BranchHull by size", keys, machine.header())
    for L in options.sizes:
        for dictionary in options.dictionaries:
            for noise in options.noise:
                y, B, C, signs = measurements(L, dictionary, noise)
                for solver in options.solvers:
                    row = {"L": L, "dictionary": dictionary, "noise": noise, "solver": solver}
                    if table.has(**row):
                        continue
                    began = time.process_time()
                    s = nettrim.branch_hull(
                        y,
                        B,
                        C,
                        signs=signs,
                        solver=solver,
                        tol=TOL,
                        time_limit=options.time_limit,
                        n_threads=machine.threads(),
                    )
                    cpu = time.process_time() - began
                    row |= {"status": s.status, "objective": s.objective, "gap": s.gap}
                    row |= {"iterations": s.iterations, "seconds": s.seconds, "CPU s": cpu}
                    table.add(row)


if __name__ == "__main__":
    main()
