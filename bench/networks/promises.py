"""How small is a network of which a share of flips can be promised? Paths, and their rivals.

    python -m bench.networks.promises --data DIR [--networks ...] [--methods ...] [--rows 5000]

`nettrim.Promise(flips=.01)` with 95 % confidence, so many rows of calibration data and as many held
out; keyword spotting has 1,000 rows in all: 400 and 500 of them. "true flips" are counted on the
rows that are left, of LeNet-5 on 10,000 of them. The rivals get the same held-out rows, the same
test and the same confidence:

* magnitude: one threshold for all weights of the network. It needs no data and next to no time, so
  its path is as fine as can be, from careful to bold, and nothing is searched. Of LeNet-5, of which
  every model takes seconds, it begins at 8 % of the weights, a start that its own flips on some of
  the held-out rows have told: more careful models that might fail are skipped, in its favour.
* equal epsilons: the path of certified models as they are without regularisation, and without
  rounds of reweighted l1.

Work is told as the CPU time of the promise over that of one `nettrim.trim` to the sparsity, or the
epsilon, that was found. Writes bench/results/promises.{md,json}, a row as soon as it is finished;
run it again and it goes on.

"fashion" is trained first, see `train_fashion`, which needs nettrim[torch].
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.tables import RESULTS, Table
from bench.networks import train_fashion
from nettrim.promise.fixed_sequence import find_boldest
from nettrim.promise.target import Target

NETWORKS = ("mnist_lenet300", "mnist_fc", "fashion", "mnist_lenet5", "keyword_spotting")
METHODS = ("sparsity", "epsilon", "equal epsilons", "magnitude")
FLIPS = 0.01
FINE = 0.98  # ratio of the weights kept by neighbours on the path of magnitude
BEGINS = {"mnist_lenet5": 0.08}  # the path of magnitude; others at the whole network
REST = 10_000  # rows on which flips of LeNet-5 are counted
FEW = (400, 500)  # rows of keyword spotting: calibration and held-out


@dataclass(frozen=True)
class Case:
    """A trained network, and rows for its three purposes."""

    net: nettrim.Network
    X: data.Array
    held_out: data.Array
    rest: data.Array


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


@cache
def case(folder: Path, output: Path, name: str, rows: int) -> Case:
    if name == "keyword_spotting":
        net, X, _ = data.keyword_spotting(folder)
        different = np.unique(X, axis=0, return_index=True)[1]  # some rows are there twice
        rows = np.random.default_rng(0).permutation(different)
        return Case(net, *np.split(X[rows], np.cumsum(FEW)))
    kind = "fashion_mnist" if name == "fashion" else "mnist"
    X, _ = data.mnist(folder, "train", kind=kind)
    if name == "mnist_lenet5":
        images = X[: 2 * rows + REST].reshape(-1, 1, 28, 28)
        return Case(data.lenet5(folder), *np.split(images, [rows, 2 * rows]))
    net = fashion(folder, output) if name == "fashion" else data.trained(folder, name)
    return Case(net, *np.split(X, [rows, 2 * rows]))


def fashion(folder: Path, output: Path) -> nettrim.Network:
    file = output / ".unfinished" / "fashion.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        images = data.mnist(folder, "train", kind="fashion_mnist")
        np.savez(file, **train_fashion.train(*images))
    return data.stored(file)


def run(case: Case, method: str, begins: float) -> dict[str, Any]:
    """Find the boldest model that passes, and count its flips where nobody has looked."""
    began = time.process_time()
    found = by_magnitude(case, begins) if method == "magnitude" else by_path(case, method)
    model, kept, level, tested = found
    work = time.process_time() - began
    original = case.net.predict(case.rest).argmax(axis=1)
    flips = float(np.mean(model.predict(case.rest).argmax(axis=1) != original))
    return {
        "level": level,
        "weights kept": kept,
        "models tested": tested,
        "true flips": flips,
        "rest": len(case.rest),
        "work": None if method == "magnitude" else work / one_trim(case, method, level),
        "cpu s": work,
    }


def by_path(case: Case, method: str) -> tuple[nettrim.Network, float, float | None, int]:
    goal = nettrim.Promise(flips=FLIPS, path=path_of(method))
    result = nettrim.trim(case.net, case.X, goal, held_out=case.held_out, **options())
    promise = result.promise
    passed = [model for model in promise.models if model.passed]
    level = passed[-1].level if passed else promise.models[0].level
    kept = 1 - result.sparsity
    return result.model, kept if promise.kept else 1.0, level, len(promise.models)


def path_of(method: str) -> Any:
    if method != "equal epsilons":
        return method
    return nettrim.Error(0.1)


def one_trim(case: Case, method: str, level: float) -> float:
    """Return the CPU time of one trim of the same kind."""
    began = time.process_time()
    models = nettrim.Promise(flips=FLIPS, path=path_of(method)).models
    goal = replace(models, **{models.level: level})
    nettrim.trim(case.net, case.X, goal, **options())
    return time.process_time() - began


def options() -> dict[str, Any]:
    return {"n_threads": machine.threads(), "progress": False}


def by_magnitude(case: Case, begins: float) -> tuple[nettrim.Network, float, float | None, int]:
    layers = case.net.prunable_layers()
    sizes = np.sort(np.concatenate([np.abs(la.affine.weights).ravel() for la in layers]))
    original = [case.net.predict(case.held_out)]
    target = Target.of(flips=FLIPS)

    def at(kept: float) -> nettrim.Network:
        least = sizes[len(sizes) - max(round(kept * len(sizes)), 1)]
        weights = {}
        for k, layer in enumerate(layers):
            own = layer.affine.weights
            weights[k] = layer.affine._replace(weights=np.where(np.abs(own) < least, 0, own))
        return case.net.with_weights(weights)

    def path() -> Iterator[tuple[float, data.Array]]:
        kept = begins
        while kept > 1 / len(sizes):
            yield kept, target.losses(original, [at(kept).predict(case.held_out)])
            kept *= FINE

    found = find_boldest(target, path())
    kept = found.boldest.candidate
    return at(kept), kept, None, len(found.trials)


def main() -> None:
    chosen = arguments()
    machine.use_threads(chosen.threads)
    warnings.simplefilter("ignore", UserWarning)  # the rows tell what came out
    keys = ["network", "rows", "method"]
    title = "How small can a network be of which at most 1 % flips are promised?"
    table = Table(chosen.output / "promises", title, keys, machine.header())
    for name, method in product(chosen.networks, chosen.methods):
        rows = FEW[0] if name == "keyword_spotting" else chosen.rows
        about = {"network": name, "rows": rows, "method": method}
        if not table.has(**about):
            given = case(chosen.data, chosen.output, name, rows)
            table.add({**about, **run(given, method, BEGINS.get(name, 1.0))})


if __name__ == "__main__":
    main()
