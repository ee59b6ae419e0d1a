"""What leaving the zeros out is worth: a dense layer in CSR against the same one by BLAS.

    python bench/inference.py [--threads 2] [--repeats 30] [--batches 1 16 256 4096]
        [--sparsities 0.5 ... 0.99]

`Dense.forward`, bias and ReLU included, with random weights of which a share is zero, on random samples.
Both ways take turns; the smallest time of each counts, for whatever else runs on the machine can only add
to it. "faster" is how many times the layer takes less in CSR, "way" what `Dense.forward` does of itself.
SciPy's CSR product has one thread, whatever --threads gives to BLAS. The answers are compared in the same
run.

Writes inference.{json,md}, or inference_1.{json,md} with one thread, and below the table the sparsity from
which CSR is faster, interpolated.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise, product
from pathlib import Path
from unittest import mock

import numpy as np

import machine
from data import Array
from nettrim import Dense
from nettrim.network import dense
from tables import Row, Table
from timing import timed

SHAPES = ((784, 300), (300, 1000), (300, 100))
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
ALLOWED = 1e-12  # difference of the answers, relative to the largest


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 256, 4096])
    parser.add_argument("--sparsities", type=float, nargs="+", default=list(SPARSITIES))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


class InferenceTable(Table):
    """A table with the break-even of every shape and batch below."""

    def markdown(self) -> str:
        return f"{super().markdown()}\n{summary(self.rows)}\n"


def summary(rows: list[Row]) -> str:
    lines = ["| shape | batch | CSR is faster from |", "| --- | --- | --- |"]
    for (shape, batch), mine in groupby(rows, key=lambda row: (row["shape"], row["batch"])):
        lines.append(f"| {shape} | {batch} | {break_even(list(mine))} |")
    return "\n".join(lines)


def break_even(rows: list[Row]) -> str:
    """The sparsity at which the curve of the times' ratio crosses 1 for the last time."""
    points = [(row["sparsity"], np.log(row["faster"])) for row in rows]
    if points[-1][1] < 0:
        return "nowhere"
    for (before, below), (behind, above) in reversed(list(pairwise(points))):
        if below < 0 <= above:
            return f"{before + (behind - before) * below / (below - above):.1%}"
    return f"below {points[0][0]:.0%}"


def layers(shape: tuple[int, int], sparsity: float) -> list[Dense]:
    """One layer three times: as it chooses, never in CSR, always in CSR."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(shape[0] * shape[1])
    weights[rng.permutation(weights.size)[: round(sparsity * weights.size)]] = 0
    bias = rng.standard_normal(shape[1])
    made = [Dense(weights.reshape(shape), bias) for _ in range(3)]
    for layer, threshold in zip(made, (dense.SPARSE, -1.0, 1.0), strict=True):
        with mock.patch.object(dense, "SPARSE", threshold):
            layer.forward(np.zeros((1, shape[0])))  # decides once
    return made


def smallest(ways: tuple[Callable[[], Array], ...], repeats: int) -> list[float]:
    """Seconds of each way, which take turns."""
    rounds = [[timed(way)[1] for way in ways] for _ in range(repeats + 1)]
    return [min(times) for times in zip(*rounds[1:], strict=True)]  # the first call is never timed


def measured(about: Row, options: argparse.Namespace) -> Row:
    n_features, n_outputs = map(int, about["shape"].split("x"))
    chosen, by_blas, in_csr = layers((n_features, n_outputs), about["sparsity"])
    X = np.random.default_rng(1).standard_normal((about["batch"], n_features))
    expected = by_blas.forward(X)
    difference = float(np.abs(in_csr.forward(X) - expected).max() / np.abs(expected).max())
    assert difference <= ALLOWED, difference
    ways = (lambda: by_blas.forward(X), lambda: in_csr.forward(X))
    repeats = options.repeats * max(1, 256 // about["batch"])
    blas, csr = smallest(ways, repeats)
    return {
        "dense ms": 1e3 * blas,
        "CSR ms": 1e3 * csr,
        "faster": blas / csr,
        "way": "dense" if chosen._sparse is None else "CSR",
        "difference": difference,
        "load": os.getloadavg()[0],
    }


def wanted(options: argparse.Namespace) -> Iterator[Row]:
    """What every row is about."""
    for (n, m), batch, sparsity in product(SHAPES, options.batches, options.sparsities):
        yield {"shape": f"{n}x{m}", "batch": batch, "sparsity": sparsity}


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {**machine.header(), "repeats": options.repeats}
    name = "inference_1" if options.threads == 1 else "inference"
    title = "A dense layer with zeros: by BLAS and in CSR"
    table = InferenceTable(options.output / name, title, ["shape", "batch", "sparsity"], header)
    for about in wanted(options):
        if not table.has(**about):
            table.add({**about, **measured(about, options)})
    print(summary(table.rows))


if __name__ == "__main__":
    main()
