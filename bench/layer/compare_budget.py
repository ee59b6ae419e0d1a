"""One layer at a given sparsity: `nettrim.solve_layer_budget` against one-shot pruners, same data.

    python -m bench.layer.compare_budget --data DIR [--fashion FILE] [--networks ...]
        [--layers ...] [--seeds 3] [--sparsities .5 .7 .8 .9 .95] [--methods ...] [--threads 2]
        [--output DIR]

Every ReLU layer of three networks, three draws of 2,000 calibration and 2,000 other rows from the
training images. Each method gets the same X and W, the bias as a row of W, and the same damping,
and may leave as many nonzeros in the whole layer as the others; that is checked. The error is that
of the outputs after the ReLU, ||max(X U, 0) - max(X W, 0)|| / ||max(X W, 0)||, on both halves.
Seconds are those of one sparsity alone: where one trace serves all of them, it is charged to each.
nettrim stands in the tables twice: with one call of `solve_layer_budget` for each sparsity, and
with one `trace_budget` for all of them.

`--fashion` is the file that `train_fashion.py` writes; without it that network is left out. Every
case is written as it is finished (compare_budget_cases.json), and no case is measured twice;
compare_budget.md and compare_budget.png are drawn from that file.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Row, Table
from bench.common.timing import timed
from bench.layer import summarise_budget
from bench.layer.summarise_budget import ONE_TRACE, OURS
from bench.rivals import one_shot

NETWORKS = ("mnist_lenet300", "mnist_fc", "fashion")
METHODS = (*one_shot.NAMES, OURS, ONE_TRACE)
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
ROWS = 2000
KEYS = ("network", "layer", "seed", "sparsity", "method")


def parser(about: str, methods: tuple[str, ...], seeds: int) -> argparse.ArgumentParser:
    """The options of a comparison of methods on these networks."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fashion", type=Path, metavar="FILE")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--threads", type=int, default=2, help="of every method")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser


def arguments() -> argparse.Namespace:
    options = parser(__doc__, METHODS, seeds=3)
    options.add_argument(
        "--layers", type=int, nargs="+", help="counted from 1; default all ReLU layers"
    )
    options.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES)
    return options.parse_args()


@dataclass(frozen=True)
class Source:
    """A trained network and the images it was trained on."""

    folder: Path
    name: str
    fashion: Path | None

    @cached_property
    def net(self) -> nettrim.Network:
        if self.name == "fashion":
            return data.stored(self.fashion)
        return data.trained(self.folder, self.name)

    def images(self, part: str) -> tuple[Array, data.Labels]:
        kind = "fashion_mnist" if self.name == "fashion" else "mnist"
        return data.mnist(self.folder, part, kind=kind)

    @cached_property
    def training(self) -> Array:
        return self.images("train")[0]

    def draw(self, seed: int) -> tuple[Array, Array]:
        """Images for calibration, and as many others."""
        order = np.random.default_rng(seed).permutation(len(self.training))
        return self.training[order[:ROWS]], self.training[order[ROWS : 2 * ROWS]]


def sources(options: argparse.Namespace) -> list[Source]:
    wanted = [name for name in options.networks if name != "fashion" or options.fashion]
    return [Source(options.data, name, options.fashion) for name in wanted]


@dataclass(frozen=True)
class Case:
    """One layer: its inputs on both halves of a draw, its weights with the bias as last row."""

    X: Array
    unseen: Array
    weights: Array

    @classmethod
    def of(cls, source: Source, layer: int, seed: int) -> Case:
        inputs = (data.layer_data(source.net, half, layer)[0] for half in source.draw(seed))
        return cls(*inputs, weights_of(source.net.layers[layer - 1]))

    def keep(self, sparsity: float) -> int:
        return round((1 - sparsity) * self.weights.size)

    def ready(self, method: str) -> Callable[[float], Array]:
        """The method, waiting for a sparsity; a trace is taken here."""
        if method in one_shot.NAMES:
            pruned = one_shot.ready(method, self.X, self.weights)
            return lambda sparsity: pruned(self.keep(sparsity))
        Y, threads = np.maximum(self.X @ self.weights, 0.0), machine.threads()
        if method == ONE_TRACE:
            trace = nettrim.trace_budget(self.X, Y, weights=self.weights, n_threads=threads)
            return lambda sparsity: trace.at(sparsity).weights
        return lambda sparsity: (
            nettrim.solve_layer_budget(
                self.X, Y, weights=self.weights, sparsity=sparsity, n_threads=threads
            ).weights
        )

    def row(self, sparsity: float, weights: Array, seconds: float) -> Row:
        nonzeros, keep = int(np.count_nonzero(weights)), self.keep(sparsity)
        if nonzeros > keep:
            raise RuntimeError(f"{nonzeros} weights are left where {keep} are allowed")
        return {
            "calibration": self.error(self.X, weights),
            "held-out": self.error(self.unseen, weights),
            "nonzeros": nonzeros,
            "allowed": keep,
            "seconds": seconds,
            "load": os.getloadavg()[0],
        }

    def error(self, X: Array, weights: Array) -> float:
        Y = np.maximum(X @ self.weights, 0.0)
        return float(np.linalg.norm(np.maximum(X @ weights, 0.0) - Y) / np.linalg.norm(Y))


def weights_of(layer: nettrim.Dense) -> Array:
    return np.vstack([layer.weights, layer.bias])


def wanted(options: argparse.Namespace, source: Source) -> Iterator[tuple[int, int]]:
    """Layers, and the seeds of each."""
    relu = [k for k, layer in enumerate(source.net.layers, 1) if layer.activation == "relu"]
    for layer in relu:
        if options.layers is None or layer in options.layers:
            yield from ((layer, seed) for seed in range(options.seeds))


def measure(about: Row, case: Case, sparsities: list[float], table: Table) -> None:
    """One method on one layer, at all the sparsities that are missing."""
    at, before = timed(lambda: case.ready(about["method"]))
    for sparsity in sparsities:
        weights, seconds = timed(lambda sparsity=sparsity: at(sparsity))
        row = case.row(sparsity, weights, before + seconds)
        table.add({**{key: about.get(key, sparsity) for key in KEYS}, **row})


def compare(source: Source, options: argparse.Namespace, table: Table) -> None:
    for layer, seed in wanted(options, source):
        case: Case | None = None
        for method in options.methods:
            about = {"network": source.name, "layer": layer, "seed": seed, "method": method}
            missing = [s for s in options.sparsities if not table.has(**about, sparsity=s)]
            if missing:
                case = case or Case.of(source, layer, seed)
                measure(about, case, missing, table)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    path = options.output / "compare_budget"
    title = "One-shot pruning of single layers at given sparsities"
    table = Table(Path(f"{path}_cases"), title, KEYS, machine.header())
    for source in sources(options):
        compare(source, options, table)
    summarise_budget.write(table.path.with_suffix(".json"), path)


if __name__ == "__main__":
    main()
