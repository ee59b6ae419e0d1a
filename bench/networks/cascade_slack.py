"""The two slacks of the cascade on the same input: "positive" is never denser in l1 than "paper".

    python -m bench.networks.cascade_slack --data DIR [--network mnist_lenet300] [--samples 1000]
        [--threads 2]

Both programs of a layer have the same ball and the same input; they differ in the upper bound on
the inactive entries, XW for "paper" and max(XW, 0) for "positive", and the larger bound gives the
larger feasible set. So the optimum of "positive" can only be smaller. Solved numerically, its
certified lower bound must not exceed the objective of "paper", and its objective may do so by no
more than its own gap. The walk goes on with the weights of "positive".
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.tables import RESULTS, Table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="mnist_lenet300")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.02, 0.05, 0.1, 0.2])
    parser.add_argument("--gamma", type=float, default=1.1)
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def with_ones(signal: data.Array) -> data.Array:
    return np.column_stack([signal, np.ones(len(signal))])


def walk(
    net: nettrim.Network, X: data.Array, epsilon: float, options: argparse.Namespace, table: Table
) -> None:
    """Cascade over the hidden layers; the last layer is linear and has no inactive entry."""
    solve = partial(nettrim.solve_layer, tol=options.tol, n_threads=machine.threads())
    original = trimmed = X
    for k, layer in enumerate(net.layers[:-1], start=1):
        target, inputs = layer.forward(original), with_ones(trimmed)
        if k == 1:
            answer = solve(inputs, target, epsilon=epsilon * float(np.linalg.norm(target)))
        else:
            stacked = np.vstack([layer.weights, layer.bias])
            Z = inputs @ stacked
            radius = float(np.sqrt(options.gamma) * np.linalg.norm((Z - target)[target > 0]))
            paper = solve(inputs, target, epsilon=radius, upper=Z)
            answer = solve(inputs, target, epsilon=radius, upper=np.maximum(Z, 0.0))
            about = {"network": options.network, "samples": len(X), "epsilon": epsilon, "layer": k}
            table.add({**about, **compare(stacked, paper, answer, options.tol)})
        original, trimmed = target, np.maximum(inputs @ answer.weights, 0.0)


def compare(
    stacked: data.Array, paper: nettrim.LayerSolution, positive: nettrim.LayerSolution, tol: float
) -> dict[str, Any]:
    within_gap = positive.objective <= paper.objective * (1 + 2 * tol)
    return {
        "l1 before": float(np.abs(stacked).sum()),
        "l1 paper": paper.objective,
        "l1 positive": positive.objective,
        "weights paper": int(np.count_nonzero(paper.weights[:-1])),
        "weights positive": int(np.count_nonzero(positive.weights[:-1])),
        "never denser": bool(within_gap and positive.dual_bound <= paper.objective * (1 + tol)),
        "status": f"{paper.status} {positive.status}",
        "seconds": [paper.seconds, positive.seconds],
    }


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {**machine.header(), "tol": options.tol, "gamma": options.gamma}
    keys = ["network", "samples", "epsilon", "layer"]
    table = Table(
        options.output / "cascade_slack", "Slack of the cascade, same input for both", keys, header
    )
    net = data.trained(options.data, options.network)
    images, _ = data.mnist(options.data, "train", options.samples)
    for epsilon in options.epsilons:
        if not table.has(
            network=options.network, samples=options.samples, epsilon=epsilon, layer=2
        ):
            walk(net, images, epsilon, options, table)
    if not all(row["never denser"] for row in table.rows):
        raise SystemExit("a layer is denser with slack='positive'")


if __name__ == "__main__":
    main()
