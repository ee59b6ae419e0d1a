"""Error on samples that were not used, at equal weights kept: drawn to the original ones or not.

    python -m bench.layer.compare_regularised --data DIR [--samples 2000] [--outputs 48]
        [--threads 2] [--output DIR]

Layers of trained networks, most of whose outputs are active on fewer samples than they have
features, and one with many. Each is solved at some epsilons as it is, and with what
`nettrim.Error(regularise="auto")` chooses for it at that epsilon; errors are those behind the
activation, on samples that were not used. The plain program's error at as many weights is read off
its curve, or is the least of it where few rows allow it no more weights.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier

import nettrim
from bench.common import data, machine
from bench.common.data import Array
from bench.common.layers import Layer
from bench.common.tables import RESULTS, Table
from nettrim.budget.data import BudgetData
from nettrim.budget.optimal_brain_surgeon import Regularisation
from nettrim.trimming.methods.regularising import choose_regularisation

EPSILONS = (0.02, 0.05, 0.1)
PLAIN_EPSILONS = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
HELD_OUT = 5000
TOL = 1e-4
KEYS = ("layer", "epsilon")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--outputs", type=int, default=48, help="of each layer, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def layers(options: argparse.Namespace) -> list[Layer]:
    folder, count = options.data, options.samples
    digits = data.mnist(folder, "train", count + HELD_OUT)[0]
    clothes = data.mnist(folder, "train", count + HELD_OUT, kind="fashion_mnist")[0]
    dense = {
        "mnist_lenet300, 1": (data.trained(folder, "mnist_lenet300"), digits, 1),
        "mnist_fc, 1": (data.trained(folder, "mnist_fc"), digits, 1),
        "Fashion-MNIST 784-256-256-10, 1": (clothes_network(folder), clothes, 1),
        "mnist_fc, 3": (data.trained(folder, "mnist_fc"), digits, 3),
        "mnist_lenet300, 2": (data.trained(folder, "mnist_lenet300"), digits, 2),
    }
    found = [part(name, *given, options) for name, given in dense.items()]
    lenet5 = data.lenet5(folder)
    found.insert(3, part("mnist_lenet5, dense", lenet5, digits.reshape(-1, 1, 28, 28), 6, options))
    return found


def part(
    name: str, network: nettrim.Network, images: Array, number: int, options: argparse.Namespace
) -> Layer:
    layer = network.layers[number - 1]
    X, _, _ = data.layer_data(network, images, number)
    W = np.vstack([layer.weights, layer.bias])
    chosen = np.unique(np.linspace(0, W.shape[1] - 1, options.outputs).round().astype(int))
    return Layer(name, X[: options.samples], X[options.samples :], W[:, chosen])


def clothes_network(folder: Path) -> nettrim.Network:
    images, labels = data.mnist(folder, "train", kind="fashion_mnist")
    classifier = MLPClassifier((256, 256), max_iter=5, random_state=0)
    classifier.fit(images[10_000:], labels[10_000:])
    return data.network(list(zip(classifier.coefs_, classifier.intercepts_, strict=True)))


def plain_curve(layer: Layer, n_threads: int) -> tuple[Array, Array]:
    """Weights kept and unseen errors, in ascending order of weights."""
    curve = nettrim.trace(
        layer.X,
        layer.Y,
        epsilons=layer.size * np.array(PLAIN_EPSILONS),
        tol=TOL,
        n_threads=n_threads,
    )
    points = sorted((s.nonzeros, layer.error(layer.unseen, s.weights)) for s in curve)
    kept, errors = np.array(points, dtype=float).T
    return kept, errors


def plain_error(curve: tuple[Array, Array], kept: int) -> float:
    """The plain program's error at a number of weights; of no more than it can use the least."""
    weights, errors = curve
    if kept > weights[-1]:
        return float(errors.min())
    return float(np.exp(np.interp(np.log(kept), np.log(weights), np.log(errors))))


def compare(
    layer: Layer, curve: tuple[Array, Array], epsilon: float, n_threads: int
) -> dict[str, object]:
    active_rows = int(np.median(np.count_nonzero(layer.Y, axis=0)))
    few = active_rows < layer.X.shape[1]
    began = time.process_time()
    chosen = choose(layer, epsilon, n_threads) if few else None
    choice = time.process_time() - began
    drawn = {} if chosen is None else {**vars(chosen), "original": layer.weights}
    began = time.process_time()
    answer = nettrim.solve_layer(
        layer.X,
        layer.Y,
        epsilon=epsilon * layer.size,
        tol=TOL,
        n_threads=n_threads,
        **drawn,
    )
    seconds = time.process_time() - began
    error, plain = layer.error(layer.unseen, answer.weights), plain_error(curve, answer.nonzeros)
    return {
        "layer": layer.name,
        "active rows": active_rows,
        "features": layer.X.shape[1],
        "epsilon": epsilon,
        "ridge": 0.0 if chosen is None else chosen.ridge,
        "pull": 0.0 if chosen is None else chosen.pull,
        "status": answer.status,
        "kept": f"{answer.nonzeros / answer.weights.size:.1%}",
        "error, used": layer.error(layer.X, answer.weights),
        "error, unseen": error,
        "plain, unseen": plain,
        "ratio": error / plain,
        "CPU s, choice": choice,
        "CPU s, solve": seconds,
    }


def choose(layer: Layer, epsilon: float, n_threads: int) -> Regularisation | None:
    posed = BudgetData.of(layer.X, layer.Y, layer.weights, "relu", None, None, None, None)
    return choose_regularisation(posed, epsilon, n_threads)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    table = Table(
        options.output / "compare_regularised",
        "Weights drawn to the original ones: unseen error at equal weights kept",
        KEYS,
        machine.header(),
    )
    for layer in layers(options):
        missing = [e for e in EPSILONS if not table.has(layer=layer.name, epsilon=e)]
        curve = plain_curve(layer, options.threads) if missing else None
        for epsilon in missing:
            table.add(compare(layer, curve, epsilon, options.threads))
    ratios = [row["ratio"] for row in table.rows if row["active rows"] < row["features"]]
    print(
        f"unseen error over the plain program's: geometric mean "
        f"{statistics.geometric_mean(ratios):.3f}, largest {max(ratios):.3f}"
    )


if __name__ == "__main__":
    main()
