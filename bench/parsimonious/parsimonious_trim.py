"""Units, then weights: parsimonious training and `nettrim.trim`, each alone and then in a row.

    python -m bench.parsimonious.parsimonious_trim --data DIR [--seeds 3] [--threads 1]
        [--output DIR]

LeNet-300-100 on MNIST, trained once as it is and once shedding its units (same epochs, rate and
decay), each then trimmed on 2,000 training images to several sparsities, without retraining. Rows
are written as they are finished (parsimonious_trim.{md,json}); errors are those on the 10,000 test
images.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import nettrim
from bench.common import machine
from bench.common.tables import RESULTS, Table
from bench.common.timing import timed
from bench.parsimonious.parsimonious import CASES, Batches, initialise, mlp, sources
from nettrim.parsimonious import ParsimoniousTrainer

KEYS = ("seed", "network", "sparsity")
EPOCHS = 60
SPARSITIES = {"dense": (0.9, 0.95, 0.97, 0.98), "units shed": (0.5, 0.7, 0.8, 0.9)}
CALIBRATION = 2000


def trained(kind: str, seed: int, train: Batches) -> nn.Module:
    case = CASES["LeNet-300-100"]
    torch.manual_seed(seed)
    model = mlp(784, 300, 100, 10)
    initialise(model)
    cost = 0.0 if kind == "dense" else case.unit_cost  # without a cost all gates are open
    trainer = ParsimoniousTrainer(model, cost, seed=seed, **case.options)
    return trainer.fit(train, EPOCHS, progress=False, certify=0).model


def error(model: nn.Module, test: Batches) -> float:
    with torch.no_grad():
        wrong = sum(int((model(x).argmax(dim=1) != y).sum()) for x, y in test)
    return 100 * wrong / len(test.y)


def weights_left(model: nn.Module) -> int:
    return sum(int((p != 0).sum()) for p in model.parameters() if p.dim() > 1)


def trimmed(model: nn.Module, X: np.ndarray, sparsity: float) -> nn.Module:
    result = nettrim.trim(
        copy.deepcopy(model), X, sparsity=sparsity, progress=False, n_threads=machine.threads()
    )
    return result.model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    machine.use_threads(options.threads)
    torch.set_num_threads(options.threads)
    header = {**machine.header(), "torch": torch.__version__}
    table = Table(options.output / "parsimonious_trim", "Units, then weights", KEYS, header)
    train, test = sources(options)("mnist")
    for seed in range(options.seeds):
        X = train.X[np.random.default_rng(seed).permutation(len(train.X))[:CALIBRATION]].numpy()
        for kind, levels in SPARSITIES.items():
            about = {"seed": seed, "network": kind}
            missing = [s for s in (0.0, *levels) if not table.has(**about, sparsity=s)]
            model = trained(kind, seed, train) if missing else None
            for sparsity in missing:
                table.add({**about, "sparsity": sparsity, **row(model, X, sparsity, test)})


def row(model: Any, X: np.ndarray, sparsity: float, test: Batches) -> dict[str, Any]:
    smaller, seconds = timed(lambda: trimmed(model, X, sparsity) if sparsity else model)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    return {
        "architecture": "-".join(str(layer.out_features) for layer in layers[:-1]),
        "weights": weights_left(smaller),
        "error %": error(smaller, test),
        "trim seconds": seconds if sparsity else None,
    }


if __name__ == "__main__":
    main()
