"""Is a network of fewer units faster by as much? Dense layers, one after the other.

    python -m bench.networks.latency_units [--widths 256 512 768 1024] [--operations 0.75 0.5 0.25]
        [--batch 64] [--output DIR]

Networks of four dense layers of equal width and a head of ten outputs, with random weights, lose
units by `nettrim.trim(..., nettrim.Units(operations=...))` in PyTorch, and both versions are timed
there and, exported, by onnxruntime: in turn, call by call, on one thread. What counts is the median
of its processor time, so that it hardly matters what else the machine does. "of removed" is the
share of the time that is gone over the share of the operations that is gone: 1 where time is what
operations are.

Needs nettrim[torch,onnx].
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

import nettrim
from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Row, Table
from nettrim.models.model_view import as_view

DEPTH, OUTPUTS, SAMPLES, ROUNDS = 4, 10, 256, 201


def module_of(width: int) -> nn.Module:
    torch.manual_seed(0)
    hidden = [part for _ in range(DEPTH) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, OUTPUTS)).eval()


def exported(module: nn.Module, width: int) -> onnx.ModelProto:
    file = io.BytesIO()
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    torch.onnx.export(
        module,
        (torch.zeros(2, width),),
        file,  # type: ignore[arg-type]  # its exporter without dynamo takes files
        input_names=["x"],
        output_names=["y"],
        dynamic_axes=axes,
        dynamo=False,
    )
    return onnx.load_from_string(file.getvalue())


def measured(width: int, operations: float, batch: int) -> Row:
    module = module_of(width)
    X = np.random.default_rng(1).standard_normal((SAMPLES, width))
    goal = nettrim.Units(operations=operations)
    result = nettrim.trim(module, X, goal, n_threads=1, progress=False)
    models = module, result.model
    assert result.widths is not None
    left = result.widths.operations.after / result.widths.operations.before
    times = {
        "PyTorch": medians(models, X[:batch]),
        "onnxruntime": medians([exported(model, width) for model in models], X[:batch]),
    }
    return {
        "left": left,
        "units": [signal.units.after for signal in result.widths.signals],
        **{key: value for name, its in times.items() for key, value in told(name, its, left)},
        "load": os.getloadavg()[0],
    }


def medians(models: Sequence[Any], X: Array) -> list[float]:
    """Median milliseconds of each model, as its framework's users run it."""
    view = as_view(models[0])
    data = view.calibration(X, "X")
    calls = [view.timed_call(model, data, 1) for model in models]
    rounds = [[processor_time(call) for call in calls if call is not None] for _ in range(ROUNDS)]
    return [1e3 * statistics.median(times) for times in zip(*rounds, strict=True)]


def processor_time(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def told(name: str, times: Sequence[float], left: float) -> list[tuple[str, float]]:
    before, after = times
    removed = (1 - after / before) / (1 - left)
    return [
        (f"{name} ms before", before),
        (f"{name} ms after", after),
        (f"{name} of removed", removed),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512, 768, 1024])
    parser.add_argument("--operations", type=float, nargs="+", default=[0.75, 0.5, 0.25])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    warnings.simplefilter("ignore", nettrim.CalibrationWarning)  # random networks on few samples
    warnings.simplefilter("ignore", nettrim.LargeErrorWarning)
    warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that needs no more packages
    machine.use_threads(1)
    about = {"torch": torch.__version__, "batch": options.batch, "depth": DEPTH}
    table = Table(
        options.output / "latency_units",
        "Dense networks of fewer units: time that is gone over operations that are gone",
        ["width", "operations"],
        {**machine.header(), **about},
    )
    for width, operations in product(options.widths, options.operations):
        case = {"width": width, "operations": operations}
        if not table.has(**case):
            table.add({**case, **measured(width, operations, options.batch)})


if __name__ == "__main__":
    main()
