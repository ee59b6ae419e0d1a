"""Trim real networks by both schemes and keep the account of every run.

    python -m bench.networks.trim_networks --data DIR [--networks ...] [--samples 1000 5000]
        [--threads 2]

Writes bench/results/trim_networks.{md,json}, one row per run, each as soon as it is finished. Run
it again after a crash and it goes on: finished rows stay, the run that was cut short starts behind
its last finished layer.

The two-spiral network is trained here (200 samples, all of them calibration data, accuracy on the
same); the MNIST networks are calibrated on training images, tested on the test images, and their
held-out discrepancy is on 5,000 training images that were not used.
"""

from __future__ import annotations

import argparse
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import nettrim
from bench.common import data, machine
from bench.common.tables import RESULTS, Table

EPSILONS = (0.02, 0.05, 0.1, 0.2)
SCHEMES = ("parallel", "cascade")
NETWORKS = ("spiral", "mnist_lenet300", "mnist_fc")
HELD_OUT = 5000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument(
        "--samples", type=int, nargs="+", default=[1000, 5000], help="of the MNIST networks"
    )
    parser.add_argument("--epsilons", type=float, nargs="+", default=EPSILONS)
    parser.add_argument("--schemes", nargs="+", default=SCHEMES, choices=SCHEMES)
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--max-iter", type=int, help="of each layer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


@dataclass(frozen=True)
class Case:
    """A trained network, what it is calibrated with, and where its accuracy is measured."""

    name: str
    net: nettrim.Network
    X: data.Array
    test: tuple[data.Array, data.Labels]
    held_out: data.Array | None = None

    @property
    def accuracy(self) -> float:
        return data.accuracy(self.net, *self.test)


def spiral(folder: Path) -> Case:
    points, labels = data.spiral(folder)
    return Case("spiral", data.spiral_network(points, labels), points, (points, labels))


def mnist(folder: Path, name: str, samples: int) -> Case:
    images, _ = data.mnist(folder, "train")
    test = data.mnist(folder, "t10k")
    return Case(name, data.trained(folder, name), images[:samples], test, images[-HELD_OUT:])


def wanted(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What every row is about, small networks first."""
    for network in options.networks:
        for samples in [200] if network == "spiral" else options.samples:
            for epsilon, scheme in product(options.epsilons, options.schemes):
                yield {"network": network, "samples": samples, "epsilon": epsilon, "scheme": scheme}


@cache
def case(folder: Path, network: str, samples: int) -> Case:
    return spiral(folder) if network == "spiral" else mnist(folder, network, samples)


def run(case: Case, about: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Trim once and describe the outcome, relative numbers throughout."""
    checkpoint = options.output / ".unfinished" / "-".join(map(str, about.values()))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nettrim.ConvergenceWarning)  # the status column says it
        result = nettrim.trim(
            case.net,
            case.X,
            epsilon=about["epsilon"],
            scheme=about["scheme"],
            held_out=case.held_out,
            tol=options.tol,
            max_iter=options.max_iter,
            n_threads=machine.threads(),
            checkpoint=checkpoint,
            progress=False,
        )
    if result.interrupted:
        raise SystemExit("interrupted; run again to go on")
    wall = time.perf_counter() - start
    shutil.rmtree(checkpoint, ignore_errors=True)
    with suppress(OSError):  # another run's
        checkpoint.parent.rmdir()
    layers = result.layers
    return {
        **about,
        "sparsity": result.sparsity,
        "weights before": [layer.nonzeros_before for layer in layers],
        "weights after": [layer.nonzeros_after for layer in layers],
        "accuracy before": case.accuracy,
        "accuracy after": data.accuracy(result.model, *case.test),
        "discrepancy": result.discrepancy,
        "bound": result.bound,
        "held-out discrepancy": result.held_out_discrepancy,
        "gap": max(layer.gap for layer in layers),
        "status": statuses(layers),
        "iterations": [layer.iterations for layer in layers],
        "solve s": sum(layer.seconds for layer in layers),
        "wall s": wall,
    }


def statuses(layers: tuple[Any, ...]) -> str:
    """ "optimal" if all are; otherwise every layer's."""
    found = [layer.status for layer in layers]
    return found[0] if len(set(found)) == 1 else " ".join(found)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    keys = ["network", "samples", "epsilon", "scheme"]
    header = {**machine.header(), "tol": options.tol, "max_iter": options.max_iter}
    table = Table(options.output / "trim_networks", "Trimming real networks", keys, header)
    for about in wanted(options):
        if not table.has(**about):
            table.add(run(case(options.data, about["network"], about["samples"]), about, options))


if __name__ == "__main__":
    main()
