"""Trim whole models by three routes: a nettrim Network, a PyTorch module, an ONNX file.

    python -m bench.networks.trim_models --data DIR [--models ...] [--epsilons 0.02 0.05 0.1]
        [--threads 2]

LeNet-5 on MNIST (1,000 training images; accuracy on the 10,000 test images), and two models of
MLPerf Tiny: keyword spotting by depthwise and pointwise convolutions (500 of its labelled inputs;
accuracy on the other 500) and the anomaly autoencoder (150 of its windows; mean squared error on
the other 46). The PyTorch module is built with the same weights and the ONNX file is exported from
it; both go through their adapters. Writes bench/results/trim_models.{md,json}, one row per run;
`torch` and `onnx` are the largest difference of a weight from the Network's, over the largest
weight of its layer.
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import nettrim
from bench.common import data, machine
from bench.common.tables import RESULTS, Table
from bench.networks.modules import module_of
from nettrim.models.model_view import as_view

SCHEMES = ("parallel", "cascade")


@dataclass(frozen=True)
class Case:
    net: nettrim.Network
    X: data.Array
    unseen: data.Array
    judge: Callable[[nettrim.Network], float]
    score: str
    tol: float  # as small as its layers close: the routes are to be told apart from the solver


def lenet5(folder: Path) -> Case:
    images, _ = data.mnist(folder, "train")
    test, labels = data.mnist(folder, "t10k")
    images, test = (part.reshape(-1, 1, 28, 28).astype(np.float32) for part in (images, test))
    judge = partial(data.accuracy, X=test, labels=labels)
    return Case(data.lenet5(folder), images[:1000], images[-1000:], judge, "accuracy", 1e-9)


def keyword_spotting(folder: Path) -> Case:
    net, X, labels = data.keyword_spotting(folder)
    judge = partial(data.accuracy, X=X[500:], labels=labels[500:])
    X = X.astype(np.float32)
    return Case(net, X[:500], X[500:], judge, "accuracy", 1e-8)


def anomaly_autoencoder(folder: Path) -> Case:
    net, X = data.anomaly_autoencoder(folder)
    return Case(
        net, X[:150], X[150:], partial(squared_error, X=X[150:]), "mean squared error", 1e-11
    )


def squared_error(net: nettrim.Network, X: data.Array) -> float:
    return float(np.mean((net.predict(X) - X) ** 2))


CASES = {f.__name__: f for f in (lenet5, keyword_spotting, anomaly_autoencoder)}


# --- the same model elsewhere ---------------------------------------------------------------------


def onnx_of(module: torch.nn.Module, shape: tuple[int, ...]) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            module,
            (torch.zeros(2, *shape),),
            buffer,
            input_names=["input"],
            dynamic_axes={"input": {0: "n"}},
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def difference(model: Any, result: nettrim.TrimResult) -> float:
    """Largest difference of a weight, over the largest weight of its layer."""
    ours, theirs = as_view(result.model).prunable_layers(), as_view(model).prunable_layers()
    return max(
        float(np.abs(a.affine.weights - b.affine.weights).max() / np.abs(a.affine.weights).max())
        for a, b in zip(ours, theirs, strict=True)
    )


# --- the table ------------------------------------------------------------------------------------


def run(case: Case, about: dict[str, Any]) -> dict[str, Any]:
    settings = {
        "epsilon": about["epsilon"],
        "scheme": about["scheme"],
        "tol": case.tol,
        "n_threads": machine.threads(),
        "progress": False,
    }
    shape = case.X.shape[1:]
    module = module_of(case.net, shape)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nettrim.ConvergenceWarning)  # the status column says it
        result = nettrim.trim(case.net, case.X, held_out=case.unseen, **settings)
        wall = time.perf_counter() - start
        others = [
            nettrim.trim(model, case.X, **settings).model
            for model in (module, onnx_of(module, shape))
        ]
    layers = result.layers
    return {
        **about,
        "tol": case.tol,
        "sparsity": result.sparsity,
        "weights after": [layer.nonzeros_after for layer in layers],
        "score": case.score,
        "before": case.judge(case.net),
        "after": case.judge(result.model),
        "discrepancy": result.discrepancy,
        "held-out discrepancy": result.held_out_discrepancy,
        "bound": result.bound,
        "gap": max(layer.gap or 0.0 for layer in layers),
        "status": " ".join(sorted({layer.status for layer in layers})),
        "torch": difference(others[0], result),
        "onnx": difference(others[1], result),
        "solve s": sum(layer.seconds or 0.0 for layer in layers),
        "wall s": wall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    machine.use_threads(options.threads)
    torch.set_num_threads(options.threads)
    keys = ["model", "epsilon", "scheme"]
    table = Table(options.output / "trim_models", "Trimming whole models", keys, machine.header())
    for model, epsilon, scheme in product(options.models, options.epsilons, SCHEMES):
        about = {"model": model, "epsilon": epsilon, "scheme": scheme}
        if not table.has(**about):
            table.add(run(CASES[model](options.data), about))


if __name__ == "__main__":
    main()
