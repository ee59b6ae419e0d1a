"""Layers in front of a GELU at given sparsities: nettrim against ALPS and ExactOBS.

    python -m bench.layer.compare_behind [--text FILE] [--rows 1000 8000] [--repeats 5]
        [--threads 2] [--rivals ALPS ExactOBS] [--output DIR]

The first feed-forward layers of blocks 1 and 4 of the real all-MiniLM-L6-v2, whole, on real text
(see bench/common/minilm.py). Errors are those behind the GELU, on the rows that were used and on
others; the rivals, which look in front of it, leave the biases as they are. Seconds are medians;
ExactOBS is not timed, for one run gives it all sparsities.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.special import ndtr

import nettrim
from bench.common import machine, minilm
from bench.common.data import Array
from bench.common.tables import RESULTS, Table
from bench.layer.compare_linear import BLOCKS, measured
from bench.rivals import alps, exact_obs

SPARSITIES = (0.5, 0.7, 0.9)
HELD_OUT = 3000  # samples, at most
KEYS = ("layer", "rows", "sparsity")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--text", type=Path, metavar="FILE")
    parser.add_argument("--rows", type=int, nargs="+", default=(1000, 8000))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of all")
    parser.add_argument("--rivals", nargs="+", default=("ALPS", "ExactOBS"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


class Behind:
    """A layer with its biases, and what is lost behind the GELU."""

    def __init__(self, layer: minilm.LinearLayer) -> None:
        self.given = layer
        self.X, self.held_out = with_ones(layer.X), with_ones(layer.held_out)
        self.weights = np.vstack([layer.weights, layer.bias])
        self.outputs = self.X @ self.weights

    @cached_property
    def trace(self) -> exact_obs.Trace:
        return exact_obs.trace(self.given.X, self.given.weights)

    def keep(self, sparsity: float) -> int:
        return round((1 - sparsity) * self.given.weights.size)

    def with_bias(self, weights: Array) -> Array:
        return np.vstack([weights, self.given.bias])

    def errors(self, weights: Array) -> tuple[float, float]:
        return error(self.X, self.weights, weights), error(self.held_out, self.weights, weights)


def with_ones(X: Array) -> Array:
    return np.column_stack([X, np.ones(len(X))])


def gelu(z: Array) -> Array:
    return z * ndtr(z)


def error(X: Array, weights: Array, few: Array) -> float:
    wanted = gelu(X @ weights)
    return float(np.linalg.norm(gelu(X @ few) - wanted) / np.linalg.norm(wanted))


def ours(layer: Behind, sparsity: float, n_threads: int) -> Callable[[], Array]:
    keep = np.arange(len(layer.weights)) == len(layer.weights) - 1
    return lambda: (
        nettrim.solve_layer_budget(
            layer.X,
            layer.outputs,
            weights=layer.weights,
            keep=keep,
            activation="gelu",
            sparsity=sparsity,
            n_threads=n_threads,
        ).weights
    )


def compare(layer: Behind, sparsity: float, options: argparse.Namespace) -> dict[str, object]:
    given, keep = layer.given, layer.keep(sparsity)
    theirs, their_seconds = measured(
        lambda: alps.prune(given.X, given.weights, keep), options.repeats
    )
    own, seconds = measured(ours(layer, sparsity, options.threads), options.repeats)
    alps_errors, errors = layer.errors(layer.with_bias(theirs)), layer.errors(own)
    row = {
        "layer": given.name,
        "rows": len(given.X),
        "sparsity": sparsity,
        "ALPS error": alps_errors[0],
        "ALPS held out": alps_errors[1],
        "error ratio": errors[0] / alps_errors[0],
        "held-out ratio": errors[1] / alps_errors[1],
        "ALPS seconds": their_seconds,
        "time ratio": seconds / their_seconds,
    }
    if "ExactOBS" in options.rivals:
        surgery = layer.errors(layer.with_bias(layer.trace.at(keep)))
        row["error over ExactOBS"] = errors[0] / surgery[0]
        row["held-out over ExactOBS"] = errors[1] / surgery[1]
    return row


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    table = Table(
        options.output / "compare_behind",
        "Behind a GELU: nettrim over rivals",
        KEYS,
        machine.header(),
    )
    for rows in options.rows:
        for layer in minilm.layers(BLOCKS, rows, min(rows, HELD_OUT), options.text):
            if not layer.name.endswith("ffn1"):
                continue
            behind = Behind(layer)
            for sparsity in SPARSITIES:
                if not table.has(layer=layer.name, rows=rows, sparsity=sparsity):
                    table.add(compare(behind, sparsity, options))
    for name in [key for key in table.rows[0] if "ratio" in key or "over" in key]:
        ratios = [row[name] for row in table.rows]
        mean = statistics.geometric_mean(ratios)
        print(f"{name}: geometric mean {mean:.3f}, largest {max(ratios):.3f}")


if __name__ == "__main__":
    main()
