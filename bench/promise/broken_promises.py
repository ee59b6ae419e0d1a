"""How often is a promise on unseen data broken, over many draws of held-out rows?

    python -m bench.promise.broken_promises --data DIR [--networks ...] [--draws 300] [--threads 2]

A path of models of each network, trimmed to rising sparsities on 1,000 rows, is run once on a pool
of other rows. The pool is the population: what a model loses there on average is its true risk. A
draw takes held-out rows from it, with replacement, and the boldest model of the path that passes is
promised (docs/mathematics/promise.md); the promise is broken if its true risk is above the level.

Levels are the hardest there are: a model of the path, the one whose risk is nearest to a usual
level, is only just beyond what is promised, and to promise it is to break the promise. ``at most``
is delta and three standard errors of a share of so many draws. The script fails if a share is above
it.

``fashion`` is trained here: 784-100-10 with NumPy, of an accuracy of about .85. The pool of LeNet-5
are the 10,000 test images, of the others 30,000 training images: those of MNIST the networks have
been trained on, so that nearly every flip is a miss.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.tables import RESULTS, Row, Table
from nettrim.promise.fixed_sequence import find_boldest
from nettrim.promise.target import Target

SPARSITIES = (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97)
DELTAS, ROWS = (0.05, 0.2), (500, 2000, 5000)
CALIBRATION, POOL = 1000, 30_000
BATCH = 500  # samples that a network is run on at a time
USUAL = {"flips": 0.02, "misses": 0.02, "drop": 0.01, "error": 0.15}
QUANTILE = 0.95
CLOSE = 0.99  # of the risk of the model that must not be promised
TRAINED, STEPS, STEP = 20_000, 1500, 100  # of the network that is trained here


@dataclass(frozen=True, eq=False)
class Case:
    """A network, what it is trimmed on, and the population."""

    net: nettrim.Network
    X: data.Array
    pool: data.Array
    labels: data.Labels
    skip: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PathOutputs:
    """What the models of a path make of the population, and which share of weights they keep."""

    original: data.Array
    trimmed: list[data.Array]
    kept: list[float]
    labels: data.Labels


def of_mnist(folder: Path, name: str) -> Case:
    X, labels = data.mnist(folder, "train", CALIBRATION + POOL)
    net = data.trained(folder, name)
    return Case(net, X[:CALIBRATION], X[CALIBRATION:], labels[CALIBRATION:])


def of_lenet5(folder: Path, name: str) -> Case:
    X, _ = data.mnist(folder, "train", CALIBRATION)
    pool, labels = data.mnist(folder, "t10k")
    images = (X.reshape(-1, 1, 28, 28), pool.reshape(-1, 1, 28, 28))
    return Case(data.lenet5(folder), *images, labels, skip=("dense6",))  # which takes long


def of_fashion(folder: Path, name: str) -> Case:
    X, labels = data.mnist(folder, "train", TRAINED + POOL, kind="fashion_mnist")
    net = train(X[:TRAINED], labels[:TRAINED])
    return Case(net, X[:CALIBRATION], X[TRAINED:], labels[TRAINED:])


CASES: dict[str, Callable[[Path, str], Case]] = {
    "mnist_lenet300": of_mnist,
    "mnist_fc": of_mnist,
    "mnist_lenet5": of_lenet5,
    "fashion": of_fashion,
}


def train(X: data.Array, labels: data.Labels) -> nettrim.Network:
    """Plain steps of falling length down the gradient of the cross entropy, always alike."""
    rng = np.random.default_rng(0)
    shapes = [(784, 100), (100, 10)]
    parameters = [rng.standard_normal(s) * np.sqrt(2 / s[0]) for s in shapes]
    parameters += [np.zeros(m) for _, m in shapes]
    for step in range(STEPS):
        batch = rng.integers(0, len(X), STEP)
        gradients = data.gradients(parameters, X[batch], labels[batch])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= 0.2 * (1 - step / STEPS) * gradient
    return data.network(list(zip(parameters[:2], parameters[2:], strict=True)))


def follow(case: Case) -> PathOutputs:
    """Trim to every sparsity, and run every model on the pool."""
    results = [
        nettrim.trim(
            case.net,
            case.X,
            sparsity=sparsity,
            skip=case.skip or None,
            n_threads=machine.threads(),
            progress=False,
        )
        for sparsity in SPARSITIES
    ]
    return PathOutputs(
        predict(case.net, case.pool),
        [predict(result.model, case.pool) for result in results],
        [1 - result.sparsity for result in results],
        case.labels,
    )


def predict(net: nettrim.Network, X: data.Array) -> data.Array:
    return np.concatenate([net.predict(X[k : k + BATCH]) for k in range(0, len(X), BATCH)])


def targets(path: PathOutputs, delta: float) -> Iterator[Target]:
    """Yield a target of every kind that some model of the path only just misses."""
    options = {"confidence": 1 - delta}
    for kind, usual in USUAL.items():
        risks = np.array([losses.mean() for losses in follow_losses(path, Target(kind, 1.0))])
        risk = risks[np.argmin(np.abs(np.log(risks.clip(1e-6) / usual)))]
        yield Target.of(**{kind: CLOSE * float(risk)}, **options)
        if kind == "error":
            errors = follow_losses(path, Target(kind, 1.0, cap=math.inf))
            limits = np.array([np.quantile(one, QUANTILE - 0.001) for one in errors])
            limit = limits[np.argmin(np.abs(np.log(limits / usual)))]
            yield Target.of(error=float(limit), quantile=QUANTILE, **options)


def follow_losses(path: PathOutputs, target: Target) -> list[data.Array]:
    labels = path.labels if target.needs_labels else None
    return [target.losses([path.original], [trimmed], labels) for trimmed in path.trimmed]


def judge(path: PathOutputs, target: Target, n_rows: int, n_draws: int) -> Row:
    """Draw held-out rows again and again, and count the promises that are broken."""
    losses, rng = follow_losses(path, target), np.random.default_rng(n_rows)
    risks = [float(one.mean()) for one in losses]
    promised = []
    for seed in range(n_draws):
        rows = rng.integers(0, len(losses[0]), n_rows)
        found = find_boldest(target, ((k, one[rows]) for k, one in enumerate(losses)), seed)
        if found.boldest is not None:
            promised.append(found.boldest.candidate)
    delta, broken = target.delta, sum(risks[k] > target.risk for k in promised) / n_draws
    most = delta + 3 * math.sqrt(delta * (1 - delta) / n_draws)
    return {
        "level": target.level,
        "broken": broken,
        "at most": most,
        "kept promise": bool(broken <= most),
        "given": len(promised) / n_draws,
        "true risk / limit": float(np.median([risks[k] for k in promised])) / target.risk
        if promised
        else None,
        "weights left": float(np.median([path.kept[k] for k in promised])) if promised else None,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def name_of(target: Target) -> str:
    return target.kind if target.quantile is None else f"error of {target.quantile:.0%}"


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {**machine.header(), "draws": options.draws}
    keys = ["network", "promise", "delta", "rows"]
    table = Table(options.output / "broken_promises", "Promises that are broken", keys, header)
    kinds = [*USUAL, f"error of {QUANTILE:.0%}"]
    for name in options.networks:
        wanted = product(kinds, DELTAS, ROWS)
        if all(table.has(network=name, promise=k, delta=d, rows=n) for k, d, n in wanted):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", nettrim.CalibrationWarning)  # sparse all the same
            path = follow(CASES[name](options.data, name))
        for delta, n_rows in product(DELTAS, ROWS):
            for target in targets(path, delta):
                about = {"network": name, "promise": name_of(target)}
                about |= {"delta": delta, "rows": n_rows}
                if not table.has(**about):
                    table.add({**about, **judge(path, target, n_rows, options.draws)})
    if not all(row["kept promise"] for row in table.rows):
        raise SystemExit("promises are broken more often than is said")


if __name__ == "__main__":
    main()
