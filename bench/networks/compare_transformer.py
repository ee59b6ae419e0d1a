"""A whole transformer at given sparsities and patterns: nettrim against ALPS and SparseGPT.

    python -m bench.networks.compare_transformer [--text FILE] [--tokens 8192] [--unseen 8192]
        [--wanted 0.5 0.7 2:4] [--threads 2] [--output DIR]

The real all-MiniLM-L6-v2 (see bench/common/minilm.py), every linear layer of its six blocks, on
real text cut into sequences of 64 tokens. All methods walk through the network in the same way:
each layer sees what the layers already pruned in front of it give. The rivals reproduce what the
original weights do with that, as they were published, and leave biases alone; all layers are
equally sparse. Judged on other text by sentence embeddings (the mean over tokens, of unit length):
their relative distance to those of the dense network, their mean and least cosine with them, and
the relative error of the matrix of their similarities.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import nettrim
from bench.common import machine, minilm
from bench.common.data import Array
from bench.common.tables import RESULTS, Table
from bench.rivals import alps, sparsegpt
from nettrim.layer.blocks.workers import Pool
from nettrim.trimming.goals import Goal
from nettrim.trimming.methods.layer_program import LayerProgram
from nettrim.trimming.methods.method import LayerTask, Run
from nettrim.trimming.solved_layer import SolvedLayer

RIVALS = {"ALPS": alps, "SparseGPT": sparsegpt}
BATCH = 64


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--text", type=Path, metavar="FILE")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--unseen", type=int, default=8192)
    parser.add_argument("--wanted", nargs="+", default=["0.5", "0.7", "2:4"])
    parser.add_argument("--methods", nargs="+", default=["nettrim", *RIVALS])
    parser.add_argument("--threads", type=int, default=2, help="of all")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


# --- rivals as goals ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerByLayer:
    """Layers pruned by a function of their input and weights."""

    run: Run
    prune: Callable[[Array, Array], Array]
    cascaded: bool = True

    def prepare(self) -> None:
        pass

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        for task in tasks:
            began, layer = time.perf_counter(), task.layer
            self.run.report.start(layer.name, layer.shape)
            Y = layer.affine.apply(task.current)
            program = LayerProgram.of(layer, task.current, Y)
            weights = layer.affine.stacked
            weights[: layer.shape[0]] = self.prune(task.current, weights[: layer.shape[0]])
            seconds = time.perf_counter() - began
            yield (
                task.position,
                SolvedLayer(weights, program.output_norm, len(Y), "budget", seconds),
            )

    def details(self, position: int) -> dict[str, Any]:
        return {}

    def prospect(self, position: int) -> None:
        pass


@dataclass(frozen=True)
class ByRival(Goal):
    """A share of the weights of every layer, or a pattern, by a rival."""

    rival: str
    wanted: str
    shortcuts: ClassVar[tuple[str, ...]] = ()

    def check(self, scheme: str, pool: Pool | None) -> None:
        pass

    def method(self, run: Run, scheme: str, pool: Pool | None) -> LayerByLayer:
        return LayerByLayer(run, self.prune)

    def arguments(self, scheme: str) -> dict[str, Any]:
        return {"rival": self.rival, "wanted": self.wanted}

    def prune(self, X: Array, weights: Array) -> Array:
        rival: Any = RIVALS[self.rival]
        if ":" in self.wanted:
            most, group = map(int, self.wanted.split(":"))
            return np.asarray(rival.prune_to_pattern(X, weights, most, group))
        keep = round((1 - float(self.wanted)) * weights.size)
        return np.asarray(rival.prune(X, weights, keep))


def goal(method: str, wanted: str) -> Goal:
    if method != "nettrim":
        return ByRival(method, wanted)
    if ":" in wanted:
        return nettrim.Sparsity(pattern=wanted)
    return nettrim.Sparsity(float(wanted), share="layer")


# --- judging --------------------------------------------------------------------------------------


def embeddings(model: Any, tokens: Array) -> Array:
    """The mean over the tokens of each sequence, of unit length."""
    import torch

    with torch.no_grad():
        states = [
            model(input_ids=torch.tensor(tokens[k : k + BATCH])).last_hidden_state.mean(1)
            for k in range(0, len(tokens), BATCH)
        ]
    means = minilm.array(torch.cat(states))
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def judge(dense: Array, pruned: Array) -> dict[str, float]:
    cosines = np.einsum("ij,ij->i", dense, pruned)
    similar = dense @ dense.T
    return {
        "distance": float(np.linalg.norm(pruned - dense) / np.linalg.norm(dense)),
        "mean cosine": float(cosines.mean()),
        "least cosine": float(cosines.min()),
        "similarities": float(
            np.linalg.norm(pruned @ pruned.T - similar) / np.linalg.norm(similar)
        ),
    }


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    model, calibration, unseen = minilm.sequences(options.tokens, options.unseen, options.text)
    table = Table(
        options.output / "compare_transformer",
        "all-MiniLM-L6-v2, whole",
        ["wanted", "method"],
        machine.header() | {"tokens": options.tokens, "unseen tokens": options.unseen},
    )
    dense = embeddings(model, unseen)
    layers = [
        f"encoder.layer.{block}.{place}" for block in range(6) for place in minilm.PLACES.values()
    ]
    for wanted in options.wanted:
        for method in options.methods:
            if table.has(wanted=wanted, method=method):
                continue
            began = time.perf_counter()
            result = nettrim.trim(
                model,
                calibration,
                goal(method, wanted),
                layers=layers,
                n_threads=options.threads,
                progress=False,
            )
            seconds = time.perf_counter() - began
            solving = sum(layer.seconds or 0.0 for layer in result.layers)
            judged = judge(dense, embeddings(result.model, unseen))
            row = {"wanted": wanted, "method": method, "zeros": result.sparsity, **judged}
            table.add({**row, "seconds": seconds, "of it layers": solving})


if __name__ == "__main__":
    main()
