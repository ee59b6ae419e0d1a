"""Data that break solvers, at full size: how does each of them end, and how long does it take?

    python -m bench.layer.hard_cases --data DIR [--network mnist_lenet300] [--samples 1000]
        [--time-limit 120] [--solver auto] [--threads 2] [--only WORD]

The layers of a trained network with something wrong: no room in the cascade, features that say the
same, extreme radii, outputs all on or all off, outliers, more features than samples. "status" is
what the solver claims. "gap", "excess" (residual over epsilon, less one) and "violation" (over the
largest output) are computed here in NumPy, from the weights and the dual alone. "products" is the
time over that of one X @ W of the same shapes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.programs import Solvable, near_copies
from bench.common.tables import RESULTS, Table
from bench.common.timing import product_seconds
from nettrim.layer import reference

EPSILONS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.99)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="mnist_lenet300")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--time-limit", type=float, default=120.0)
    parser.add_argument("--solver", default="auto", choices=["auto", "newton", "admm"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="run the cases whose name has this word")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


@dataclass(frozen=True)
class Case(Solvable):
    """A layer program and its name; epsilon is relative to the norm of the outputs."""

    name: str
    X: data.Array
    Y: data.Array
    activation: str = "relu"
    gain: float | None = 0.05
    penalty: float | None = None
    upper: data.Array | None = None

    @property
    def epsilon(self) -> float | None:
        return None if self.gain is None else self.gain * float(np.linalg.norm(self.Y))

    def certificate(self, solution: nettrim.LayerSolution) -> reference.ReferenceCertificate:
        program = reference.ReferenceProgram.of(
            self.X,
            self.Y,
            epsilon=self.epsilon,
            penalty=self.penalty,
            activation=self.activation,
            upper=0.0 if self.upper is None else self.upper,
        )
        return reference.certify(program, solution.weights, solution.dual)


def relu(signal: data.Array) -> data.Array:
    return np.maximum(signal, 0.0)


def cases(net: nettrim.Network, images: data.Array) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for k in range(1, len(net.layers) + 1):
        X, Y, activation = data.layer_data(net, images, k)
        plain = Case(f"layer {k}", X, Y, activation)
        yield from radii(plain)
        yield from repeated_features(plain, rng)
        yield from odd_sizes(plain, rng)
        if activation == "relu":
            yield from one_sided(net, plain, k)
    yield from cascades_without_room(net, images)
    yield from more_features_than_samples(images, rng)


def radii(plain: Case) -> Iterator[Case]:
    for gain in EPSILONS:
        yield replace(plain, name=f"{plain.name}, epsilon {gain:g}", gain=gain)
    steepest = 2 * float(np.abs(plain.X.T @ plain.Y).max())
    for share in (1e-6, 1e-3, 0.5):
        name = f"{plain.name}, penalty {share:g} of the largest"
        yield replace(plain, name=name, gain=None, penalty=share * steepest)


def repeated_features(plain: Case, rng: np.random.Generator) -> Iterator[Case]:
    X, n = plain.X, plain.X.shape[1]
    for blur in (0.0, 1e-10, 1e-5):
        copies = near_copies(X, n // 2, blur, rng)
        name = f"{plain.name}, half of the features again" + (f", up to {blur:g}" if blur else "")
        yield replace(plain, name=name, X=np.hstack([X, copies]))
    total = X.sum(axis=1) * (1 + 1e-10 * rng.standard_normal(len(X)))
    yield replace(plain, name=f"{plain.name}, and the sum", X=np.column_stack([X, total]))
    constant = np.tile([0.5, 3.0, -1.0, 255.0], (len(X), 1))
    yield replace(plain, name=f"{plain.name}, constant features", X=np.hstack([X, constant]))


def odd_sizes(plain: Case, rng: np.random.Generator) -> Iterator[Case]:
    """The outputs stay those of the layer, except for the outlier's."""
    X, Y = plain.X, plain.Y
    sizes = rng.permutation(np.geomspace(1e-2, 1e2, X.shape[1]))
    yield replace(plain, name=f"{plain.name}, features of 1e-2 to 1e2", X=X * sizes)
    X, Y = X.copy(), Y.copy()
    X[0] *= 100
    Y[0] *= 100  # but for the bias
    yield replace(plain, name=f"{plain.name}, one sample a hundred times", X=X, Y=Y, gain=0.1)
    rounded = plain.Y.astype(np.float16).astype(float)
    yield replace(plain, name=f"{plain.name}, outputs in float16", Y=rounded, gain=0.01)


def one_sided(net: nettrim.Network, plain: Case, k: int) -> Iterator[Case]:
    Z = plain.X @ np.vstack([net.layers[k - 1].weights, net.layers[k - 1].bias])
    yield replace(plain, name=f"{plain.name}, all active", Y=Z - Z.min() + 1e-3, gain=0.01)
    yield replace(
        plain,
        name=f"{plain.name}, all inactive below -1",
        Y=np.zeros_like(Z),
        upper=np.full(Z.shape, -1.0),
    )


def cascades_without_room(net: nettrim.Network, images: data.Array) -> Iterator[Case]:
    """gamma = 1: the original weights lie on the ball and, with the paper's slack, the bounds."""
    for gain in (1e-3, 0.05, 0.2):
        original = trimmed = images
        for k, layer in enumerate(net.layers, start=1):
            X = np.column_stack([trimmed, np.ones(len(trimmed))])
            Y, stacked = layer.forward(original), np.vstack([layer.weights, layer.bias])
            Z, on = X @ stacked, Y > 0 if layer.activation == "relu" else np.ones(Y.shape, bool)
            own = float(np.linalg.norm((Z - Y)[on]) / np.linalg.norm(Y))
            case = Case("", X, Y, layer.activation, gain if k == 1 else own)
            for slack, upper in (("paper", Z), ("positive", relu(Z))) if k > 1 else ():
                if layer.activation == "linear" and slack == "paper":
                    continue
                case = replace(case, upper=upper if layer.activation == "relu" else None)
                yield replace(case, name=f"gamma 1, epsilon {gain:g}, layer {k}, {slack}")
            solution = case.solve(tol=1e-4, time_limit=60.0, n_threads=machine.threads())
            original, trimmed = Y, relu(X @ solution.weights)


def more_features_than_samples(images: data.Array, rng: np.random.Generator) -> Iterator[Case]:
    """5,000 random features of 500 images, and ten outputs that use 2 % of them, or all."""
    few = images[:500]
    X = relu(few @ rng.standard_normal((few.shape[1], 5000)) / 10)
    for density in (0.02, 1.0):
        W = rng.standard_normal((5000, 10)) * (rng.random((5000, 10)) < density)
        Z = X @ W
        for gain in (1e-3, 0.05, 0.3):
            name = f"500 x 5000, {density:.0%} used, epsilon {gain:g}"
            yield Case(name, X, relu(Z), "relu", gain)
            yield Case(f"{name}, linear", X, Z, "linear", gain)


def measured(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    solution = case.solve(
        solver=options.solver, time_limit=options.time_limit, n_threads=machine.threads()
    )
    proof = case.certificate(solution)
    largest = float(np.abs(case.Y).max()) or 1.0
    return {
        "status": solution.status,
        "engine": solution.solver,
        "reason": solution.reason,
        "rounds": solution.iterations,
        "gap": proof.gap,
        "excess": proof.residual / case.epsilon - 1 if case.epsilon else None,
        "violation": proof.violation / largest,
        "nonzeros": solution.nonzeros,
        "seconds": solution.seconds,
        "products": solution.seconds / product_seconds(case.X, case.Y),
    }


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    title = "How hard cases end"
    keys = ["network", "samples", "solver", "case"]
    table = Table(options.output / "hard_cases", title, keys, machine.header())
    net = data.trained(options.data, options.network)
    images, _ = data.mnist(options.data, "train", options.samples)
    about = {"network": options.network, "samples": options.samples, "solver": options.solver}
    for case in cases(net, images):
        if options.only in case.name and not table.has(**about, case=case.name):
            table.add({**about, "case": case.name, **measured(case, options)})


if __name__ == "__main__":
    main()
