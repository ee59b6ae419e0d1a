"""How many weights do rounds of reweighted l1 save within the same error, and for how much work?

    python -m bench.layer.compare_reweighted --data DIR [--samples 2000] [--tokens 1000]
        [--rounds 3] [--text FILE] [--output DIR]

ReLU layers of trained networks, and linear layers of a real transformer on real text (see
bench/common/minilm.py), the latter posed by their Gram matrices. Each is solved at some epsilons,
relative to its output, as it is and with 1, 2, ... rounds more of
`nettrim.solve_layer(reweighted=)`, every round certified to 1e-4. "kept" is the share of weights;
"unseen" the error behind the activation on samples that were not used; "l1 gap" how far the l1 norm
is from the least; "work" the processor time over that of the first round, in one thread. Of linear
layers "ALPS kept" is the share of weights at which ALPS has the same error on the samples used.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import nettrim
from bench.common import data, machine, minilm
from bench.common.layers import Layer
from bench.common.tables import RESULTS, Table
from bench.rivals import alps

DENSE = {"mnist_lenet300": (1, 2)}
EPSILONS = (0.01, 0.05, 0.15)
LINEAR, BLOCKS, OUTPUTS = ("q", "o", "ffn1"), [1, 4], 128
LINEAR_EPSILONS = (0.05, 0.1, 0.2)
UNSEEN = 5000
TOL = 1e-4
HALVINGS = 8  # of the interval of the share that ALPS keeps
KEYS = ("layer", "epsilon", "rounds")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=1000, help="samples of the transformer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", type=Path, metavar="FILE")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def layers(options: argparse.Namespace) -> Iterator[tuple[Layer, tuple[float, ...]]]:
    count = options.samples
    images, _ = data.mnist(options.data, "train", count + UNSEEN)
    for name, numbers in DENSE.items():
        network = data.trained(options.data, name)
        for number in numbers:
            layer, (X, _, _) = network.layers[number - 1], data.layer_data(network, images, number)
            W = np.vstack([layer.weights, layer.bias])
            yield Layer(f"{name}, {number}", X[:count], X[count:], W, "relu"), EPSILONS
    for linear in minilm.layers(BLOCKS, options.tokens, options.tokens, options.text):
        if linear.name.split()[1] in LINEAR:
            W = linear.weights[:, :OUTPUTS]
            yield Layer(linear.name, linear.X, linear.held_out, W, "linear"), LINEAR_EPSILONS


def rows(layer: Layer, epsilon: float, rounds: int) -> Iterator[dict[str, Any]]:
    radius, posed = epsilon * layer.size, (layer.X, layer.Y)
    if layer.activation == "linear":
        posed = (nettrim.Gram.of(*posed),)
    rival = None if layer.activation == "relu" else share_of_alps(layer, epsilon)
    first = 0.0
    for k in range(rounds + 1):
        began = time.process_time()
        s = nettrim.solve_layer(*posed, epsilon=radius, tol=TOL, n_threads=1, reweighted=k)
        spent = time.process_time() - began
        first = first or spent
        if not s.converged or (k and s.first is None):
            raise SystemExit(f"{layer.name}, epsilon {epsilon}, {k} rounds: {s}")
        l1 = float(np.abs(s.weights).sum())
        yield {
            "layer": layer.name,
            "epsilon": epsilon,
            "rounds": k,
            "kept": s.nonzeros / s.weights.size,
            "unseen": layer.error(layer.unseen, s.weights),
            "l1 gap": 1 - (s.first or s).dual_bound / l1,
            "work": spent / first,
            "ALPS kept": rival,
        }


def share_of_alps(layer: Layer, epsilon: float) -> float:
    """The share of weights at which ALPS errs by epsilon, to half a hundredth of all."""
    least, most = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (least + most) / 2
        weights = alps.prune(layer.X, layer.weights, round(share * layer.weights.size))
        if layer.error(layer.X, weights) > epsilon:
            least = share
        else:
            most = share
    return most


def main() -> None:
    options = arguments()
    machine.use_threads(1)
    table = Table(
        options.output / "compare_reweighted",
        "Rounds of reweighted l1, within the same error",
        KEYS,
        machine.header(),
    )
    for layer, epsilons in layers(options):
        for epsilon in epsilons:
            if not table.has(layer=layer.name, epsilon=epsilon, rounds=options.rounds):
                for row in rows(layer, epsilon, options.rounds):
                    if not table.has(**{key: row[key] for key in KEYS}):
                        table.add(row)


if __name__ == "__main__":
    main()
