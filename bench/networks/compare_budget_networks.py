"""Whole networks at 90 %: test accuracy after `nettrim.trim(sparsity=...)` and one-shot pruners.

    python -m bench.networks.compare_budget_networks --data DIR [--fashion FILE] [--networks ...]
        [--seeds 1] [--sparsity 0.9] [--methods ...] [--threads 2] [--output DIR]

Once all layers but the last are pruned, once all of them; 2,000 calibration rows of the training
images, no retraining, accuracy on the 10,000 test images; `error` is that of the logits on them.

The rivals prune layer by layer, every layer to the same sparsity: each sees the outputs of those
already pruned. Its target is what the original layer made of the original inputs, and so each of
them is given the weights that come closest to that target (least squares, damped towards the
original weights as everywhere); with these the networks of all of them have smaller errors than
with the original weights. nettrim shares one budget out among the layers (`share="network"`), and
once leaves every layer as many weights as the rivals do (`share="layer"`). Its biases stay and do
not count, and the rivals may leave as many weights more as there are biases.
"""

from __future__ import annotations

import argparse
import os
from itertools import product
from typing import Any

import numpy as np
from scipy.linalg import solve

import nettrim
from bench.common import data, machine
from bench.common.data import Array
from bench.common.tables import Row, Table
from bench.common.timing import timed
from bench.layer.compare_budget import Source, parser, sources, weights_of
from bench.rivals import one_shot
from bench.rivals.quadratic import Quadratic

SHARES = {"nettrim": "network", "nettrim, every layer alike": "layer"}
METHODS = (*one_shot.NAMES, *SHARES)
KEYS = ("network", "layers", "seed", "sparsity", "method")
DAMP = 0.01


def arguments() -> argparse.Namespace:
    options = parser(__doc__, METHODS, seeds=1)
    options.add_argument("--sparsity", type=float, default=0.9)
    return options.parse_args()


def trimmed(net: nettrim.Network, X: Array, chosen: range, about: Row) -> nettrim.Network:
    method, sparsity = about["method"], about["sparsity"]
    if method not in SHARES:
        return cascade(net, X, chosen, method, sparsity)
    return nettrim.trim(
        net,
        X,
        sparsity=sparsity,
        share=SHARES[method],
        layers=chosen,
        n_threads=machine.threads(),
        progress=False,
    ).model


def cascade(
    net: nettrim.Network, X: Array, chosen: range, method: str, sparsity: float
) -> nettrim.Network:
    """A rival, layer by layer: each sees what the layers already pruned put out."""
    layers = list(net.layers)
    original = pruned = X
    for k, layer in enumerate(net.layers):
        if k in chosen:
            inputs, W = with_ones(pruned), weights_of(layer)
            dense = towards(inputs, with_ones(original) @ W, W)
            keep = round((1 - sparsity) * layer.weights.size) + layer.bias.size
            U = one_shot.ready(method, inputs, dense, layer.activation)(keep)
            if np.count_nonzero(U) > keep:
                raise RuntimeError(f"{method} left more than {keep} weights")
            layers[k] = nettrim.Dense(U[:-1], U[-1], activation=layer.activation)
        original, pruned = layer.forward(original), layers[k].forward(pruned)
    return nettrim.Network(layers)


def with_ones(X: Array) -> Array:
    return np.column_stack([X, np.ones(len(X))])


def towards(X: Array, target: Array, weights: Array) -> Array:
    """The weights that come closest to a target, damped towards those given."""
    form = Quadratic.of(X, weights, DAMP)
    lacking = X[:, form.live].T @ (target - X @ weights)
    return weights + form.whole(solve(form.gram, lacking, assume_a="pos"))


def result(source: Source, about: Row, chosen: range) -> dict[str, Any]:
    X, _ = source.draw(about["seed"])
    model, seconds = timed(lambda: trimmed(source.net, X, chosen, about))
    images, labels = source.images("t10k")
    logits = source.net.predict(images)
    return {
        "accuracy before": data.accuracy(source.net, images, labels),
        "accuracy after": data.accuracy(model, images, labels),
        "error": float(np.linalg.norm(model.predict(images) - logits) / np.linalg.norm(logits)),
        "weights left": sum(int(np.count_nonzero(weights_of(model.layers[k]))) for k in chosen),
        "of": sum(source.net.layers[k].weights.size for k in chosen),
        "seconds": seconds,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    title = "Whole networks at a given sparsity"
    table = Table(options.output / "compare_budget_networks", title, KEYS, machine.header())
    for source in sources(options):
        depth = len(source.net.layers)
        ranges = {"all but the last": range(depth - 1), "all": range(depth)}
        for seed, layers, method in product(range(options.seeds), ranges, options.methods):
            values = (source.name, layers, seed, options.sparsity, method)
            about = dict(zip(KEYS, values, strict=True))
            if not table.has(**about):
                table.add({**about, **result(source, about, ranges[layers])})


if __name__ == "__main__":
    main()
