"""What leaving the zeros out is worth: a dense layer in CSR against the same one by BLAS.

    python -m bench.networks.inference [--threads 1] [--repeats 30] [--batches 1 16 256 4096]
        [--sparsities 0.5 ... 0.99]

Milliseconds of `Dense.forward`, bias and ReLU included, with random weights of which a share is
zero, on random samples: by BLAS, to which zeros are numbers like others, and in CSR at every
sparsity. All ways take turns; the smallest time of each counts, for whatever else runs on the
machine can only add to it. SciPy's CSR product has one thread, whatever --threads gives to BLAS.
The last column is the sparsity from which CSR is faster, interpolated; "never" is at none of these
sparsities. The answers are compared in the same run.

Writes inference.{json,md}, or inference_2.{json,md} with two threads of BLAS. These need an idle
machine: with another program on the second processor OpenBLAS takes ten times longer, not twice.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path
from unittest import mock

import numpy as np

from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Row, Table
from bench.common.timing import timed
from nettrim import Dense
from nettrim.models.network import dense

SHAPES = ((784, 300), (300, 1000), (300, 100))
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
ALLOWED = 1e-12  # difference of the answers, relative to the largest
ENOUGH = 64  # samples; smaller batches are repeated more often


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 256, 4096])
    parser.add_argument("--sparsities", type=float, nargs="+", default=list(SPARSITIES))
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def layer(shape: tuple[int, int], sparsity: float, in_csr: bool) -> Dense:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(shape[0] * shape[1])
    weights[rng.permutation(weights.size)[: round(sparsity * weights.size)]] = 0
    made = Dense(weights.reshape(shape), rng.standard_normal(shape[1]))
    with mock.patch.object(dense, "SPARSE", 1.0 if in_csr else -1.0):
        made.forward(np.zeros((1, shape[0])))  # decides once
    return made


def compared(shape: tuple[int, int], sparsity: float, X: Array) -> Dense:
    """A layer in CSR that answers as by BLAS."""
    made, expected = layer(shape, sparsity, True), layer(shape, sparsity, False).forward(X)
    difference = np.abs(made.forward(X) - expected).max() / np.abs(expected).max()
    assert difference <= ALLOWED, difference
    return made


def smallest(ways: Sequence[Callable[[Array], Array]], X: Array, repeats: int) -> list[float]:
    """Milliseconds of each way."""
    rounds = [[timed(lambda way=way: way(X))[1] for way in ways] for _ in range(repeats + 1)]
    return [1e3 * min(times) for times in zip(*rounds[1:], strict=True)]  # the first is a warm-up


def break_even(sparsities: Sequence[float], faster: Sequence[float]) -> str:
    """Where the ratio of the times becomes larger than 1 for good."""
    points = list(zip(sparsities, np.log(faster), strict=True))
    if points[-1][1] < 0:
        return "never"
    for (before, below), (behind, above) in reversed(list(pairwise(points))):
        if below < 0 <= above:
            return f"{before + (behind - before) * below / (below - above):.1%}"
    return f"below {sparsities[0]:.0%}"


def measured(shape: tuple[int, int], batch: int, options: argparse.Namespace) -> Row:
    X = np.random.default_rng(1).standard_normal((batch, shape[0]))
    by_blas = layer(shape, 0.0, False)
    in_csr = [compared(shape, sparsity, X) for sparsity in options.sparsities]
    repeats = options.repeats * max(1, ENOUGH // batch)
    blas, *csr = smallest([made.forward for made in (by_blas, *in_csr)], X, repeats)
    columns = {f"CSR {s:g}": ms for s, ms in zip(options.sparsities, csr, strict=True)}
    faster = break_even(options.sparsities, [blas / ms for ms in csr])
    return {"BLAS": blas, **columns, "CSR is faster from": faster, "load": os.getloadavg()[0]}


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {**machine.header(), "repeats": options.repeats}
    name = "inference" if options.threads == 1 else f"inference_{options.threads}"
    title = "A dense layer with zeros: milliseconds by BLAS and in CSR"
    table = Table(options.output / name, title, ["shape", "batch"], header)
    for (n_features, n_outputs), batch in product(SHAPES, options.batches):
        about = {"shape": f"{n_features}x{n_outputs}", "batch": batch}
        if not table.has(**about):
            table.add({**about, **measured((n_features, n_outputs), batch, options)})


if __name__ == "__main__":
    main()
