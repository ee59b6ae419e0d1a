"""Time of certified solves in products: the time of one X @ W of the same shapes.

    python -m bench.layer.products --data DIR [--samples 2000 10000] [--epsilons 0.05 0.1 0.3]
        [--solver auto] [--threads 2] [--repeats 5]

Layers of trained networks, each of them twice: as a ReLU layer, Y = max(X W + b, 0), and as a
linear one, Y = X W + b; logits count as either. epsilon is relative to the norm of Y. A solve is a
whole call of `solve_layer`, from the arrays to the certificate at 1e-6; the median of the repeats
counts.

The product is NumPy's, in double precision and with the same threads: the median of 21, measured
right before the solves. `build/bench_layer` measures the product of our own core in the same way;
where the two differ, BLAS does not know the processor (see common/machine.py).
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.tables import RESULTS, Row, Table
from bench.common.timing import product_seconds, timed

LAYERS = {"mnist_lenet300": (1, 2, 3), "mnist_fc": (2, 3)}
ACTIVATIONS = ("relu", "linear")
TOL = 1e-6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--samples", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.05, 0.1, 0.3])
    parser.add_argument("--solver", default="auto", choices=["auto", "newton", "admm"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


class ProductTable(Table):
    """A table with the median and the worst of its products below."""

    def markdown(self) -> str:
        return f"{super().markdown()}\n{summary(self.rows)}\n"


def summary(rows: list[Row]) -> str:
    lines = []
    for activation in ACTIVATIONS:
        mine = [row for row in rows if row["activation"] == activation]
        if mine:
            median = statistics.median(row["products"] for row in mine)
            worst = max(mine, key=lambda row: row["products"])
            certified = sum(row["status"] == "optimal" for row in mine)
            lines.append(
                f"- {activation}: median {median:.0f} products, worst {worst['products']:.0f} "
                f"({worst['network']}, layer {worst['layer']}, {worst['samples']} samples, "
                f"epsilon {worst['epsilon']:g}); {certified} of {len(mine)} certified"
            )
    return "\n".join(lines)


def wanted(options: argparse.Namespace) -> Iterator[Row]:
    """What every row is about."""
    for network in options.networks:
        cases = product(LAYERS[network], ACTIVATIONS, options.samples, options.epsilons)
        for layer, activation, samples, epsilon in cases:
            yield {
                "network": network,
                "layer": layer,
                "activation": activation,
                "samples": samples,
                "epsilon": epsilon,
            }


def arrays(folder: Path, about: Row) -> tuple[data.Array, data.Array]:
    net = data.trained(folder, about["network"])
    images, _ = data.mnist(folder, "train", about["samples"])
    X, _, _ = data.layer_data(net, images, about["layer"])
    layer = net.layers[about["layer"] - 1]
    Z = X @ np.vstack([layer.weights, layer.bias])
    return X, np.maximum(Z, 0) if about["activation"] == "relu" else Z


def measured(about: Row, options: argparse.Namespace) -> Row:
    X, Y = arrays(options.data, about)
    one_product = product_seconds(X, Y)
    epsilon = about["epsilon"] * float(np.linalg.norm(Y))

    def solve() -> nettrim.LayerSolution:
        return nettrim.solve_layer(
            X,
            Y,
            epsilon=epsilon,
            activation=about["activation"],
            solver=options.solver,
            tol=TOL,
            n_threads=machine.threads(),
        )

    solutions, times = zip(*(timed(solve) for _ in range(options.repeats)), strict=True)
    solution, solve_seconds = solutions[0], statistics.median(times)
    return {
        "status": solution.status,
        "solver": solution.solver,
        "iterations": solution.iterations,
        "kept share": solution.nonzeros / solution.weights.size,
        "gap": solution.gap,
        "product ms": 1e3 * one_product,
        "solve s": solve_seconds,
        "products": solve_seconds / one_product,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {**machine.header(), "tol": TOL, "solver": options.solver, "repeats": options.repeats}
    keys = ["network", "layer", "activation", "samples", "epsilon"]
    title = "Certified solves in products X @ W"
    table = ProductTable(options.output / "products", title, keys, header)
    for about in wanted(options):
        if not table.has(**about):
            table.add({**about, **measured(about, options)})
    print(summary(table.rows))


if __name__ == "__main__":
    main()
