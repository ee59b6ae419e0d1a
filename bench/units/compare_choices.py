"""Which units of a signal to keep: by norms, by surgery, by surgery and exchanges.

    python -m bench.units.compare_choices --data DIR [--layers NAME ...] [--samples 2000]
        [--threads 2] [--output DIR]

Hidden layers and channels of trained networks at 50, 25 and 10 % of their units. Every choice is
fitted anew in the same way, by nettrim; "no fit" keeps the weights that are left, as tools do that
choose by norms alone. Errors are those behind the next activation, on the images that were used and
on as many others. Seconds are of the processor: the run that gives all sizes, the exchanges at one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.common import machine
from bench.common.data import Array, layer_data, lenet5, mnist, trained
from bench.common.tables import RESULTS, Table
from nettrim import Conv2D, Network
from nettrim.budget.checks import check_held_out
from nettrim.units.fitted import fit_units, with_timing
from nettrim.units.readers import Readers
from nettrim.units.surgery import Forms

SHARES = (0.5, 0.25, 0.1)
KEYS = ("layer", "kept", "choice")
POSITIONS = 4  # of every image that a convolution is judged at


class Reading(NamedTuple):
    """A reader, its samples and others; the size of what makes each unit, where that is known."""

    X: Array
    Y: Array
    others: tuple[Array, Array]
    weights: Array
    units: Array
    activation: str
    incoming: Array


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def dense(name: str, k: int) -> Callable[[Path, Array, Array], Reading]:
    def read(data: Path, used: Array, unused: Array) -> Reading:
        net = trained(data, name)
        X, Y, activation = layer_data(net, used, k)
        layer = net.layers[k - 1]
        units = np.append(np.arange(X.shape[1] - 1), -1)
        weights = np.vstack([layer.weights, layer.bias])
        incoming = (
            np.linalg.norm(net.layers[k - 2].weights, axis=0) if k > 1 else X.std(axis=0)[:-1]
        )
        others = layer_data(net, unused, k)[:2]
        return Reading(X, Y, others, weights, units, activation, incoming)

    return read


def convolution(data: Path, used: Array, unused: Array) -> Reading:
    """The second of LeNet-5, at a few positions of every image, drawn once and for all."""
    net = lenet5(data)
    layer: Conv2D = net.layers[2]
    n_channels = layer.weights.shape[1]
    kernel = int(np.prod(layer.weights.shape[2:]))
    weights = np.vstack([layer.weights.reshape(len(layer.weights), -1).T, layer.bias])
    units = np.append(np.repeat(np.arange(n_channels), kernel), -1)
    incoming = np.linalg.norm(net.layers[0].weights.reshape(n_channels, -1), axis=1)
    (X, Y), others = (positions(net, images, weights) for images in (used, unused))
    return Reading(X, Y, others, weights, units, "relu", incoming)


def positions(net: Network, images: Array, weights: Array) -> tuple[Array, Array]:
    maps = images.reshape(-1, 1, 28, 28)
    for before in net.layers[:2]:
        maps = before.forward(maps)
    padded = np.pad(maps, ((0, 0), (0, 0), (2, 2), (2, 2)))
    rng = np.random.default_rng(0)
    rows = []
    for image in padded:
        for i, j in rng.integers(0, maps.shape[2], (POSITIONS, 2)):
            rows.append(np.append(image[:, i : i + 5, j : j + 5].ravel(), 1.0))
    X = np.array(rows)
    return X, np.maximum(X @ weights, 0)


def behind_flatten(data: Path, used: Array, unused: Array) -> Reading:
    """The first dense layer of LeNet-5: a channel is 49 of its features."""
    net = lenet5(data)
    images, others = (x.reshape(-1, 1, 28, 28) for x in (used, unused))
    X, Y, activation = layer_data(net, images, 6)
    layer = net.layers[5]
    units = np.append(np.repeat(np.arange(64), 49), -1)
    incoming = np.linalg.norm(net.layers[2].weights.reshape(64, -1), axis=1)
    weights = np.vstack([layer.weights, layer.bias])
    return Reading(X, Y, layer_data(net, others, 6)[:2], weights, units, activation, incoming)


LAYERS = {
    "lenet300 2": dense("mnist_lenet300", 2),
    "lenet300 3": dense("mnist_lenet300", 3),
    "fc 2": dense("mnist_fc", 2),
    "fc 3": dense("mnist_fc", 3),
    "lenet300 1": dense("mnist_lenet300", 1),
    "lenet5 conv 2": convolution,
    "lenet5 dense 1": behind_flatten,
}


def per_unit(squares: Array, units: Array) -> Array:
    """Root of the sum over the features of each unit."""
    return np.sqrt(np.bincount(units[units >= 0], squares[units >= 0]))


def mark_largest(sizes: Array, count: int) -> Array:
    mask = np.zeros(len(sizes), bool)
    mask[np.argsort(-sizes, kind="stable")[:count]] = True
    return mask


def compare(table: Table, name: str, options: argparse.Namespace) -> None:
    count = options.samples
    images, _ = mnist(options.data, "train", count)
    unused, _ = mnist(options.data, "t10k", count)
    reading = LAYERS[name](options.data, images, unused)
    readers = Readers.of(
        reading.X, reading.Y, reading.weights, reading.units, activation=reading.activation
    )
    held_out = [check_held_out(readers.each[0].data, reading.others)]
    size = np.sum(reading.X**2, axis=0) * np.sum(reading.weights**2, axis=1)
    spread = np.var(reading.X, axis=0) * np.sum(reading.weights**2, axis=1)
    began = time.process_time()
    forms = Forms.of(readers, None)
    elimination = forms.eliminate(options.threads, None)
    seconds = time.process_time() - began
    for share in SHARES:
        left = max(round(share * readers.n_units), 1)
        kept = elimination.kept(readers.n_units - left, readers.n_units)
        loss = float(elimination.cumulative_losses[readers.n_units - left])
        began = time.process_time()
        exchanged = forms.exchange(kept, 100, loss, options.threads, None)
        exchange_seconds = time.process_time() - began
        choices = {
            "norm of incoming weights": mark_largest(reading.incoming, left),
            "activation x outgoing": mark_largest(per_unit(size, reading.units), left),
            "deviation x outgoing": mark_largest(per_unit(spread, reading.units), left),
            "surgery": kept,
            f"surgery, {exchanged.swaps} swaps": exchanged.kept,
        }
        for choice, mask in choices.items():
            began = time.process_time()
            s = with_timing(
                fit_units(readers, mask, 0, None, None, options.threads, None), readers, held_out, 0
            )
            fit_seconds = time.process_time() - began
            bare = reading.weights * readers.each[0].features_of(mask)[:, None]
            chosen = {"surgery": seconds}.get(choice, exchange_seconds if "," in choice else 0.0)
            table.add(
                {
                    "layer": name,
                    "kept": left,
                    "choice": choice,
                    "error": s.error,
                    "held out": s.held_out_error,
                    "held out, no fit": held_out[0].error(bare),
                    "seconds": chosen,
                    "seconds of fit": fit_seconds,
                }
            )


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {**machine.header(), "samples": options.samples}
    title = "Which units to keep, each choice fitted anew"
    table = Table(options.output / "compare_choices", title, KEYS, header)
    for name in options.layers:
        if not any(row["layer"] == name for row in table.rows):
            compare(table, name, options)


if __name__ == "__main__":
    main()
