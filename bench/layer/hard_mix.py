"""How many programs of a hard mix end unproved: ill-posed data of every kind, beside plain layers.

    python -m bench.layer.hard_mix [--count 1200] [--threads 1] [--time-limit 20] [--only KIND]

Small random programs, feasible by construction, as users and cascades pose them: features that
nobody centred or scaled, clock times, collinear features, digits, upper bounds of any sign.
"unproved" are those without status "optimal", "false infeasible" those whose status denies the
weights that made them, "worst gap" the largest relative gap. Every program is drawn from its kind
and number alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import nettrim
from bench.common import machine
from bench.common.programs import Solvable, near_copies
from bench.common.tables import RESULTS, Row, Table

Array = NDArray[np.float64]
Inputs = Callable[[np.random.Generator], Array]


@dataclass(frozen=True)
class Program(Solvable):
    """A layer program that its ``weights`` satisfy."""

    X: Array
    Y: Array
    weights: Array
    epsilon: float | None
    penalty: float | None = None
    upper: Array | None = None
    activation: str = "relu"


def shape(rng: np.random.Generator) -> tuple[int, int]:
    """Samples and features."""
    n_features = int(rng.integers(3, 25))
    return int(n_features * rng.uniform(1.5, 12)) + 5, n_features


def plain(rng: np.random.Generator) -> Array:
    X = rng.standard_normal(shape(rng))
    return np.maximum(X, 0) if rng.random() < 0.5 else X


def uncentred(rng: np.random.Generator) -> Array:
    """Readings about a mean that is much larger than their spread."""
    return 10 ** rng.uniform(1, 3) + rng.standard_normal(shape(rng))


def collinear(rng: np.random.Generator) -> Array:
    """Some features repeat others, up to 1e-6 to 1e-12."""
    X = plain(rng)
    n_copies = int(rng.integers(1, 1 + X.shape[1] // 2))
    blur = 10 ** rng.uniform(-12, -6)
    return np.hstack([X, near_copies(X, n_copies, blur, rng)])


def decades(rng: np.random.Generator) -> Array:
    """Sizes of features over six to twelve decades."""
    X = plain(rng)
    sizes = np.geomspace(1, 10 ** rng.uniform(6, 12), X.shape[1])
    return X * rng.permutation(sizes)


def clock(rng: np.random.Generator) -> Array:
    """A Unix time, in any unit from years to nanoseconds, beside standard normal features."""
    X = rng.standard_normal(shape(rng))
    seconds = 1.7e9 + 3e7 * rng.random(len(X))
    return np.column_stack([X, seconds * 10 ** rng.uniform(-7, 3)])


def digits(rng: np.random.Generator) -> Array:
    """Grey values of strokes: most are zero, neighbours look alike."""
    n_samples, width = int(rng.integers(40, 150)), int(rng.integers(4, 7))
    rows, columns = np.divmod(np.arange(width**2), width)
    centres = rng.uniform(0, width, (2, n_samples, 3, 1))
    distance = (rows - centres[0]) ** 2 + (columns - centres[1]) ** 2
    return np.round(16 * np.exp(-distance).max(axis=1))


KINDS: dict[str, Inputs] = {
    "plain": plain,
    "uncentred": uncentred,
    "collinear": collinear,
    "decades": decades,
    "clock": clock,
    "digits": digits,
}
BOUNDS = ("zero", "mixed sign")


def draw(kind: str, bound: str, number: int) -> Program:
    """Return the program of a kind with that number: relative epsilon, cascade's, or penalty."""
    rng = np.random.default_rng([list(KINDS).index(kind), BOUNDS.index(bound), number])
    X = KINDS[kind](rng)
    if rng.random() < 0.5:
        X = np.column_stack([X, np.ones(len(X))])
    W = weights_for(X, rng)
    Z = X @ W
    if bound == "mixed sign":
        return as_cascade(X, Z, W, rng)
    activation = "linear" if rng.random() < 0.25 else "relu"
    Y = Z if activation == "linear" else np.maximum(Z, 0)
    epsilon = float(10 ** rng.uniform(-3, -0.3) * np.linalg.norm(Y))
    program = Program(X, Y, W, epsilon, activation=activation)
    if rng.random() < 0.25:
        steepest = 2 * float(np.abs(X.T @ Y).max()) or 1.0
        return replace(program, epsilon=None, penalty=10 ** rng.uniform(-4, -0.5) * steepest)
    return program


def weights_for(X: Array, rng: np.random.Generator) -> Array:
    """Weights to which every feature's spread counts, and no mean: outputs of either sign."""
    W = rng.standard_normal((X.shape[1], int(rng.integers(1, 9))))
    W *= rng.random(W.shape) < rng.choice([0.3, 1.0])
    spread = X.std(axis=0)
    W = W / np.where(spread > 0, spread, 1)[:, None]
    mean = X.mean(axis=0)
    return W - np.outer(mean, mean @ W) / (mean @ mean)


def as_cascade(X: Array, Z: Array, W: Array, rng: np.random.Generator) -> Program:
    """Below a trimmed layer: epsilon and upper bounds are those of weights slightly off."""
    noise = rng.standard_normal(W.shape) * np.abs(W).mean(axis=1, keepdims=True)
    off = W + 10 ** rng.uniform(-2, -1) * noise
    Y, V = np.maximum(Z, 0), X @ off
    gamma = rng.choice([1.05, 1.2])
    epsilon = float(gamma * np.linalg.norm((V - Y)[Y > 0]))
    return Program(X, Y, off, max(epsilon, 1e-6 * float(np.linalg.norm(Y))), upper=V)


def programs(count: int) -> Iterator[tuple[str, str, int]]:
    """Yield kind, bound and number of about so many programs, all kinds alike."""
    for number in range(-(-count // (len(KINDS) * len(BOUNDS)))):
        for kind in KINDS:
            for bound in BOUNDS:
                yield kind, bound, number


@dataclass
class Tally:
    """What became of the programs of one kind."""

    programs: int = 0
    unproved: int = 0
    false: int = 0
    worst: float = 0.0
    seconds: float = 0.0

    def add(self, solution: nettrim.LayerSolution, seconds: float) -> None:
        self.programs += 1
        self.unproved += not solution.converged
        self.false += solution.status == "infeasible"
        self.worst = max(self.worst, abs(solution.gap))
        self.seconds += seconds

    def row(self) -> Row:
        return {
            "programs": self.programs,
            "unproved": self.unproved,
            "false infeasible": self.false,
            "worst gap": self.worst,
            "seconds": self.seconds,
        }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--time-limit", type=float, default=20.0, help="seconds of a program")
    parser.add_argument("--only", default="", choices=["", *KINDS], help="one kind alone")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {**machine.header(), "count": options.count, "time limit": options.time_limit}
    table = Table(options.output / "hard_mix", "How a hard mix ends", ["kind", "upper"], header)
    tallies = {(kind, bound): Tally() for kind in KINDS for bound in BOUNDS}
    for kind, bound, number in programs(options.count):
        if options.only not in ("", kind) or table.has(kind=kind, upper=bound):
            continue
        began = time.perf_counter()
        solution = draw(kind, bound, number).solve(
            n_threads=machine.threads(), time_limit=options.time_limit
        )
        tallies[kind, bound].add(solution, time.perf_counter() - began)
        if not solution.converged:
            print(f"{kind}, {bound}, {number}: {solution.status}, gap {solution.gap:.1e}")
    for (kind, bound), tally in tallies.items():
        if tally.programs:
            table.add({"kind": kind, "upper": bound, **tally.row()})


if __name__ == "__main__":
    main()
