"""Time of certified programs of units in products: the time of one X @ W of the same shapes.

    python -m bench.layer.products_units --data DIR [--samples 2000] [--epsilons 0.05 0.1 0.3]
        [--cases lenet300-2 ...] [--tol 1e-4] [--solver auto]

Readers of trained networks: the second and third layer of LeNet-300-100, whose units are inputs of
one feature each; the first, whose units are squares of two by two pixels; and the dense layer
behind the convolutions of LeNet-5, whose units are channels of 7 x 7 features. Biases cost nothing.
epsilon is relative to the norm of Y. One thread; the product is NumPy's, in double precision, the
median of 21 measured in the same process. Both times are of the processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.tables import RESULTS, Row, Table
from bench.common.timing import PRODUCTS

ALWAYS = -1


class Reader(NamedTuple):
    """A layer, the unit of each of its features, and what follows it."""

    X: data.Array
    Y: data.Array
    groups: data.Labels
    activation: str


def dense_reader(folder: Path, layer: int, samples: int) -> Reader:
    net = data.trained(folder, "mnist_lenet300")
    images, _ = data.mnist(folder, "train", samples)
    X, Y, activation = data.layer_data(net, images, layer)
    return Reader(X, Y, np.append(np.arange(X.shape[1] - 1), ALWAYS), activation)


def pixel_reader(folder: Path, samples: int) -> Reader:
    reader = dense_reader(folder, 1, samples)
    row, column = np.divmod(np.arange(784), 28)
    return reader._replace(groups=np.append(row // 2 * 14 + column // 2, ALWAYS))


def channel_reader(folder: Path, samples: int) -> Reader:
    net = data.lenet5(folder)
    images, _ = data.mnist(folder, "train", samples)
    before = len(net.layers) - 2
    X, Y, activation = data.layer_data(net, images.reshape(-1, 1, 28, 28), before + 1)
    return Reader(X, Y, np.append(np.repeat(np.arange(64), 49), ALWAYS), activation)


CASES: dict[str, Callable[[Path, int], Reader]] = {
    "lenet300-2": lambda folder, samples: dense_reader(folder, 2, samples),
    "lenet300-3": lambda folder, samples: dense_reader(folder, 3, samples),
    "lenet300-1": pixel_reader,
    "lenet5-3": channel_reader,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--samples", type=int, nargs="+", default=[2000])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.05, 0.1, 0.3])
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--solver", default="auto", choices=["auto", "admm"])
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def product_seconds(X: data.Array, Y: data.Array) -> float:
    W = np.ones((X.shape[1], Y.shape[1]))
    times = []
    for _ in range(PRODUCTS + 1):
        start = time.process_time()
        X @ W
        times.append(time.process_time() - start)
    return statistics.median(times[1:])


def measured(about: Row, options: argparse.Namespace) -> Row:
    reader = CASES[about["case"]](options.data, about["samples"])
    one_product = product_seconds(reader.X, reader.Y)
    start = time.process_time()
    solution = nettrim.solve_units(
        reader.X,
        reader.Y,
        groups=reader.groups,
        activation=reader.activation,
        epsilon=about["epsilon"] * float(np.linalg.norm(reader.Y)),
        solver=options.solver,
        tol=options.tol,
        n_threads=1,
    )
    seconds = time.process_time() - start
    return {
        "features": reader.X.shape[1],
        "outputs": reader.Y.shape[1],
        "units": len(solution.norms),
        "kept": solution.n_kept,
        "status": solution.status,
        "iterations": solution.iterations,
        "gap": solution.gap,
        "product ms": 1e3 * one_product,
        "solve s": seconds,
        "products": seconds / one_product,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    options = arguments()
    machine.use_threads(1)
    header = {**machine.header(), "tol": options.tol, "solver": options.solver}
    title = "Certified programs of units in products X @ W"
    table = Table(options.output / "products_units", title, ["case", "samples", "epsilon"], header)
    for case, samples, epsilon in product(options.cases, options.samples, options.epsilons):
        about = {"case": case, "samples": samples, "epsilon": epsilon}
        if not table.has(**about):
            table.add({**about, **measured(about, options)})


if __name__ == "__main__":
    main()
