"""Every size of a signal against every sparsity of the layer that reads it: time of both.

    python -m bench.units.trace_times --data DIR [--networks mnist_fc] [--samples 2000]
        [--output DIR]

Signals between the dense layers of trained networks lose their units one by one by
`nettrim.trace_units_budget`; the layers that read them lose their weights one by one by
`nettrim.trace_budget`, as `nettrim.Sparsity` has them. Both are given their regularisation, so that
no time goes into choosing it. Seconds are of the processor, on one thread, the lesser of two runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import nettrim
from bench.common import machine
from bench.common.data import layer_data, mnist, trained
from bench.common.tables import RESULTS, Row, Table

GIVEN = {"pull": 0.03, "ridge": 0.001}  # a middle one of those that are tried
REPEATS = 2
SECONDS = "all sizes s", "all sparsities s"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["mnist_fc"])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def measured(net: nettrim.Network, images: np.ndarray, layer: int) -> Row:
    X, Y, activation = layer_data(net, images, layer)
    reader = net.layers[layer - 1]
    weights = np.vstack([reader.weights, reader.bias])
    given = {"weights": weights, "activation": activation, "n_threads": 1, **GIVEN}
    units = np.append(np.arange(len(weights) - 1), -1)
    by_unit = seconds(lambda: nettrim.trace_units_budget(X, Y, groups=units, **given))
    by_weight = seconds(lambda: nettrim.trace_budget(X, Y, **given))
    return {
        "units": len(weights) - 1,
        "outputs": weights.shape[1],
        **dict(zip(SECONDS, (by_unit, by_weight), strict=True)),
        "share": by_unit / by_weight,
    }


def main() -> None:
    options = arguments()
    machine.use_threads(1)
    images, _ = mnist(options.data, "train", options.samples)
    header = {**machine.header(), "samples": options.samples}
    title = "All sizes of a signal against all sparsities of its reader"
    table = Table(options.output / "trace_times", title, ["network", "layer"], header)
    for name in options.networks:
        net = trained(options.data, name)
        for layer in range(2, len(net.layers) + 1):
            if not table.has(network=name, layer=layer):
                table.add({"network": name, "layer": layer, **measured(net, images, layer)})
    units, weights = (sum(row[key] for row in table.rows) for key in SECONDS)
    print(f"all sizes in {units / weights:.1%} of the time of all sparsities")


if __name__ == "__main__":
    main()
