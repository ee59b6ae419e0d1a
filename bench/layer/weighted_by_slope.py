"""What would the certified program keep, if rows counted by the slope of a GELU behind the layer?

    python -m bench.layer.weighted_by_slope [--text FILE] [--tokens 1000] [--outputs 24]
        [--output DIR]

The first feed-forward layers of blocks 1 and 4 of the real all-MiniLM-L6-v2 on real text (see
bench/common/minilm.py), some of the outputs. They are solved as `nettrim.Error` does, in front of
the GELU, and with rows that count by its squared slope, the mean one of a number of groups of
outputs with like slopes; a group is one of `nettrim.solve_layer(groups=)`, with rows of its own.
The radius of the second is chosen so that errors behind the GELU on tokens that were not used are
the same ("unseen"). "behind" is the error there on those that were, "in front" the one in front of
the GELU, "kept" the share of weights. Everything is certified to 1e-4; seconds of the processor are
those of the last solve.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

import nettrim
from bench.common import machine, minilm
from bench.common.data import Array
from bench.common.tables import RESULTS, Table

BLOCKS, EPSILONS = [1, 4], (0.1, 0.2, 0.3)
TOL = 1e-4
HALVINGS = 7  # of the interval of the radius
LEAST, MOST = 0.02, 0.8  # radii, relative to what is behind the GELU
KEYS = ("layer", "in front of it", "groups")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--text", type=Path, metavar="FILE")
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--outputs", type=int, default=24, help="a multiple of four")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def gelu(signals: Array) -> Array:
    values: Array = signals * ndtr(signals)
    return values


def slope(signals: Array) -> Array:
    density = np.exp(-(signals**2) / 2) / np.sqrt(2 * np.pi)
    values: Array = ndtr(signals) + signals * density
    return values


def relative(change: Array, whole: Array) -> float:
    return float(np.linalg.norm(change) / np.linalg.norm(whole))


class Case:
    """A layer with its bias, on tokens that are used and on others."""

    def __init__(self, layer: minilm.LinearLayer, n_outputs: int) -> None:
        self.name = layer.name
        self.X, self.others = (
            np.column_stack([x, np.ones(len(x))]) for x in (layer.X, layer.held_out)
        )
        self.W = np.vstack([layer.weights, layer.bias])[:, :n_outputs]
        self.Z = self.X @ self.W

    def in_front(self, epsilon: float) -> tuple[Any, Array]:
        s = nettrim.solve_layer(
            nettrim.Gram.of(self.X, self.Z), epsilon=epsilon * np.linalg.norm(self.Z), tol=TOL
        )
        return s, s.weights

    def weighted(self, epsilon: float, n_groups: int) -> tuple[Any, Array]:
        slopes = slope(self.Z) ** 2
        groups = np.split(np.argsort(slopes.mean(axis=0)), n_groups)
        roots = [np.sqrt(slopes[:, own].mean(axis=1, keepdims=True)) for own in groups]
        X = np.hstack([root * self.X for root in roots])
        Y = np.hstack([root * self.Z[:, own] for root, own in zip(roots, groups, strict=True)])
        radius = epsilon * np.linalg.norm(gelu(self.Z))
        s = nettrim.solve_layer(
            X, Y, epsilon=radius, activation="linear", groups=n_groups, tol=TOL, n_threads=1
        )
        weights = np.empty_like(self.W)
        weights[:, np.concatenate(groups)] = s.weights
        return s, weights

    def behind(self, X: Array, weights: Array) -> float:
        whole = gelu(X @ self.W)
        return relative(gelu(X @ weights) - whole, whole)

    def row(self, solution: Any, weights: Array, seconds: float) -> dict[str, Any]:
        if not solution.converged:
            raise SystemExit(f"{self.name}: {solution}")
        return {
            "kept": np.count_nonzero(weights) / weights.size,
            "unseen": self.behind(self.others, weights),
            "behind": self.behind(self.X, weights),
            "in front": relative(self.X @ weights - self.Z, self.Z),
            "seconds": seconds,
        }


def rows(case: Case, epsilon: float) -> Iterator[dict[str, Any]]:
    began = time.process_time()
    solved = case.in_front(epsilon)
    first = case.row(*solved, time.process_time() - began)
    yield {"groups": 0, "epsilon": epsilon, **first}
    for n_groups in (1, 4, case.W.shape[1]):
        least, most = LEAST, MOST
        for _ in range(HALVINGS):
            radius = float(np.sqrt(least * most))
            began = time.process_time()
            found = case.row(*case.weighted(radius, n_groups), time.process_time() - began)
            least, most = (radius, most) if found["unseen"] < first["unseen"] else (least, radius)
        yield {"groups": n_groups, "epsilon": radius, **found}


def main() -> None:
    options = arguments()
    machine.use_threads(1)
    table = Table(
        options.output / "weighted_by_slope",
        "The certified program in front of a GELU, and with rows weighted by its slope",
        KEYS,
        machine.header(),
    )
    held_out = 2 * options.tokens
    for layer in minilm.layers(BLOCKS, options.tokens, held_out, options.text):
        if layer.name.endswith("ffn1"):
            case = Case(layer, options.outputs)
            for epsilon in EPSILONS:
                for row in rows(case, epsilon):
                    about = {"layer": layer.name, "in front of it": epsilon}
                    if not table.has(**about, groups=row["groups"]):
                        table.add({**about, **row})


if __name__ == "__main__":
    main()
