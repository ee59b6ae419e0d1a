"""What benchmarks of layer programs share: solves, layers of a network, features that repeat."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np

import nettrim

from . import data


class Solvable:
    """A layer program: `X`, `Y` and what `nettrim.solve_layer` takes beside them."""

    X: data.Array
    Y: data.Array
    activation: str
    upper: data.Array | None
    penalty: float | None

    def solve(self, **options: Any) -> nettrim.LayerSolution:
        return nettrim.solve_layer(
            self.X,
            self.Y,
            epsilon=self.epsilon,
            penalty=self.penalty,
            activation=self.activation,
            upper=self.upper,
            **options,
        )


def chosen_layers(
    options: Namespace,
) -> Iterator[tuple[dict[str, Any], data.Array, data.Array, str]]:
    """Yield what tables call each layer that was asked for, its inputs, outputs and activation."""
    net = data.trained(options.data, options.network)
    images, _ = data.mnist(options.data, "train", options.samples)
    for k in options.layers:
        about = {
            "network": options.network,
            "layer": k,
            "samples": options.samples,
            "epsilon": options.epsilon,
        }
        yield about, *data.layer_data(net, images, k)


def near_copies(X: data.Array, count: int, blur: float, rng: np.random.Generator) -> data.Array:
    """Repeat the first features, up to a relative blur."""
    return X[:, :count] * (1 + blur * rng.standard_normal((len(X), count)))
