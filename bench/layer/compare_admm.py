"""Time to the same answer: nettrim against the published ADMM, on two layers of a real network.

    python -m bench.layer.compare_admm --data DIR [--samples 1000] [--epsilon 0.05]
        [--solver auto] [--threads 2] [--repeats 3]

The rule. The published method stops by itself and returns an answer that is slightly infeasible, so
its objective may lie below the optimum. An answer is therefore measured by two numbers, both better
when smaller: its infeasibility (relative excess over epsilon, or over the half-spaces relative to
max Y, whichever is larger) and its distance |objective - optimum| / optimum. nettrim is timed,
whole call, until *both* are as small as the published answer's; its weights are measured again
afterwards, by the same code. The optimum is computed once, and its proof (a dual bound) is
recomputed here from the dual alone.

A second table gives the first time at which both numbers are below a common level, for both
methods. The published method does not pay for being watched; nettrim pays for its own certificates.

Use an idle machine, or --threads 1: OpenBLAS waits actively, and where other programs want the same
processors its threads make the published method up to ten times slower than it is. The load is
noted.
"""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nettrim
from bench.common import machine
from bench.common.programs import chosen_layers
from bench.common.tables import RESULTS, Table
from bench.common.timing import product_seconds, timed
from bench.rivals import published_admm

LEVELS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
LOOK_EVERY = 5  # iterations of the published method between two looks


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="mnist_lenet300")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument(
        "--epsilon", type=float, default=0.05, help="relative to the layer's output"
    )
    parser.add_argument("--solver", default="auto", choices=["auto", "newton", "admm"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """How far an answer is from being feasible, and from the optimum."""

    infeasibility: float
    distance: float

    def within(self, other: Quality) -> bool:
        return self.infeasibility <= other.infeasibility and self.distance <= other.distance


@dataclass(frozen=True)
class Layer:
    """One layer program and its optimum."""

    X: Array
    Y: Array
    activation: str
    epsilon: float
    solver: str = "auto"
    optimum: float = float("nan")

    @property
    def active(self) -> NDArray[np.bool_]:
        return self.Y > 0 if self.activation == "relu" else np.ones_like(self.Y, dtype=bool)

    def solve(self, **keywords: Any) -> nettrim.LayerSolution:
        return nettrim.solve_layer(
            self.X,
            self.Y,
            epsilon=self.epsilon,
            activation=self.activation,
            solver=self.solver,
            n_threads=machine.threads(),
            **keywords,
        )

    def published(
        self, observer: published_admm.Observer | None = None
    ) -> published_admm.PublishedSolution:
        return published_admm.solve(
            self.X.T, self.Y.T, self.epsilon, linear=self.activation == "linear", observer=observer
        )

    def quality(self, objective: float, residual: float, violation: float) -> Quality:
        excess = max(residual / self.epsilon - 1, violation / float(np.abs(self.Y).max()), 0.0)
        return Quality(excess, abs(objective - self.optimum) / self.optimum)

    def measure(self, weights: Array) -> Quality:
        Z = self.X @ weights
        residual = float(np.linalg.norm((Z - self.Y)[self.active]))
        violation = float(Z[~self.active].max(initial=0.0))
        return self.quality(float(np.abs(weights).sum()), residual, violation)

    def bound(self, dual: Array) -> float:
        """The lower bound a dual proves, made feasible here and computed from it alone."""
        G = np.where(self.active, dual, np.minimum(dual, 0))
        G = G / np.maximum(1, np.abs(self.X.T @ G).max(axis=0))
        G = G[self.active]
        return float(G @ self.Y[self.active] - self.epsilon * np.linalg.norm(G))


def with_optimum(layer: Layer) -> tuple[Layer, float]:
    """The layer with its optimum, and how much the optimum may still be wrong, relatively."""
    best = layer.solve(tol=1e-8, max_iter=1_000_000)
    bound = layer.bound(best.dual)
    if best.status != "optimal":
        print(f"the optimum is only known to {best.gap:.1e} ({best.status})")
    return replace(layer, optimum=best.objective), 1 - bound / best.objective


def seconds_to(layer: Layer, goal: Quality) -> float:
    """Wall time of a whole call that stops as soon as it is as good as ``goal``."""

    def reached(progress: nettrim.LayerProgress) -> bool:
        return layer.quality(progress.objective, progress.residual, progress.violation).within(goal)

    solution, took = timed(lambda: layer.solve(tol=1e-10, max_iter=1_000_000, callback=reached))
    found = layer.measure(solution.weights)
    if not found.within(Quality(goal.infeasibility + 1e-12, goal.distance + 1e-12)):
        raise SystemExit(f"nettrim stopped at {found} without reaching {goal}")
    return took


def first_times_published(layer: Layer) -> dict[float, float]:
    first: dict[float, float] = {}

    def look(iteration: int, elapsed: float, W2: Array) -> None:
        if iteration % LOOK_EVERY == 0:
            note(first, layer.measure(W2), elapsed)

    layer.published(look)
    return first


def first_times_ours(layer: Layer) -> dict[float, float]:
    first: dict[float, float] = {}

    def look(progress: nettrim.LayerProgress) -> bool:
        quality = layer.quality(progress.objective, progress.residual, progress.violation)
        note(first, quality, progress.seconds)
        return len(first) == len(LEVELS)

    layer.solve(tol=1e-10, max_iter=1_000_000, callback=look)
    return first


def note(first: dict[float, float], quality: Quality, elapsed: float) -> None:
    for level in LEVELS:
        if quality.within(Quality(level, level)):
            first.setdefault(level, elapsed)


def compare(layer: Layer, about: dict[str, Any], repeats: int, same: Table, levels: Table) -> None:
    layer, uncertainty = with_optimum(layer)
    product = product_seconds(layer.X, layer.Y)
    runs = [layer.published() for _ in range(repeats)]
    goal = layer.measure(runs[0].weights)
    ours = statistics.median(seconds_to(layer, goal) for _ in range(repeats))
    theirs = statistics.median(run.seconds for run in runs)
    same.add(
        {
            **about,
            "optimum": layer.optimum,
            "proved to": uncertainty,
            "published iterations": runs[0].iterations,
            "stopped": runs[0].stopped,
            "infeasibility": goal.infeasibility,
            "distance": goal.distance,
            "published s": theirs,
            "nettrim s": ours,
            "times faster": theirs / ours,
            "published products": theirs / product,
            "nettrim products": ours / product,
            "load": os.getloadavg()[0],
        }
    )
    first_theirs, first_ours = first_times_published(layer), first_times_ours(layer)
    for level in LEVELS:
        p, n = first_theirs.get(level), first_ours.get(level)
        levels.add(
            {
                **about,
                "level": level,
                "published s": p,
                "nettrim s": n,
                "times faster": p / n if p and n else None,
                "published products": p and p / product,
                "nettrim products": n and n / product,
            }
        )


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = machine.header()
    keys = ["network", "layer", "samples", "epsilon", "solver"]
    title = "nettrim against the published ADMM"
    same = Table(options.output / "compare_admm", f"{title}: time to its own answer", keys, header)
    levels = Table(
        options.output / "compare_admm_levels",
        f"{title}: time to a level",
        [*keys, "level"],
        header,
    )
    for name, X, Y, activation in chosen_layers(options):
        about = {**name, "solver": options.solver}
        if not same.has(**about):
            epsilon = options.epsilon * float(np.linalg.norm(Y))
            layer = Layer(X, Y, activation, epsilon, options.solver)
            compare(layer, about, options.repeats, same, levels)


if __name__ == "__main__":
    main()
