"""Networks of fewer units: `nettrim.trim(..., nettrim.Units(...))` against pruners of channels.

    python -m bench.networks.compare_units --data DIR [--networks ...] [--operations 0.5 0.25]
        [--methods ...] [--rows 1000] [--threads 2] [--kept DIR] [--output DIR]

After training, without retraining. Every method sees the same calibration rows (1,000 training
images; 500 for keyword spotting) and may leave so many operations; those that look for a ratio do
so by bisection, to be as near below as they can. Only Torch-Pruning's Taylor terms see labels,
those of the calibration rows. Rivals stand in the table twice: as they leave the network, and with
nettrim's refit of the layers on the units that they kept. The error is that of the network's
outputs, relative to their norm, on calibration rows and on 2,000 others (500); accuracy on those.

Needs torch and, for the methods of that name, torch-pruning. `--kept` is where the two residual
networks are kept that are trained here.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Row, Table
from bench.common.timing import timed
from bench.networks.unit_cases import CASES, Case, Folder
from bench.rivals import units_layerwise, units_torch_pruning
from bench.rivals.units_refit import Mask, refitted
from nettrim.models.network.units import find_units, keep_units

OURS = "nettrim"
TORCH = {
    f"{score}, {scope}": (score == "Taylor", scope == "global")
    for score, scope in product(("magnitude", "Taylor"), ("local", "global"))
}
LAYERWISE = {"LASSO": units_layerwise.LASSO, "ThiNet": units_layerwise.THINET}
RANDOM = "random"
METHODS = (OURS, *TORCH, *LAYERWISE, RANDOM)
AS_LEFT, REFITTED = "own", "nettrim's"
KEYS = ("network", "operations", "method", "refit")


class Answer(NamedTuple):
    """What a rival leaves, and the units it keeps."""

    model: nettrim.Network
    kept: Mask


def rival(case: Case, method: str, operations: float) -> Answer:
    if method in LAYERWISE:
        goal = units_layerwise.LayerByLayer(LAYERWISE[method], operations)
        result = nettrim.trim(case.net, case.X, goal, n_threads=machine.threads(), progress=False)
        return Answer(result.model, goal.found[0])
    units = find_units(case.net, case.X[:1])
    most = operations * units.operations(np.ones(units.n_units, dtype=bool))
    if method == RANDOM:
        kept = units_torch_pruning.below(partial(at_random, units), units, most)
    else:
        pruner = units_torch_pruning.Pruner.of(case.net, units, case.X, case.labels, *TORCH[method])
        kept = units_torch_pruning.below(pruner.kept, units, most)
    return Answer(keep_units(case.net, units, kept), kept)


def at_random(units: Any, ratio: float) -> Mask:
    """The same share of every signal, always the same units."""
    rng = np.random.default_rng(0)
    kept = np.zeros(units.n_units, dtype=bool)
    for signal in units.signals:
        count = max(1, round((1 - ratio) * len(signal.units)))
        kept[rng.permutation(signal.units)[:count]] = True
    return kept


def ours(case: Case, operations: float) -> nettrim.Network:
    goal = nettrim.Units(operations=operations, multiple_of=1)
    return nettrim.trim(case.net, case.X, goal, n_threads=machine.threads(), progress=False).model


def rows_of(case: Case, operations: float, method: str) -> Iterable[Row]:
    """Measure a method: once, or as it leaves the network and with nettrim's refit."""
    judge = partial(judged, case, operations, method)
    if method == OURS:
        model, seconds = timed(lambda: ours(case, operations))
        yield judge(REFITTED, model, seconds)
        return
    answer, seconds = timed(lambda: rival(case, method, operations))
    yield judge(AS_LEFT, answer.model, seconds)
    model, more = timed(lambda: refitted(case.net, case.X, answer.kept, machine.threads()))
    yield judge(REFITTED, model, seconds + more)


def judged(
    case: Case, operations: float, method: str, refit: str, model: nettrim.Network, seconds: float
) -> Row:
    outputs = model.predict(case.unseen)
    return {
        "network": case.name,
        "operations": operations,
        "method": method,
        "refit": refit,
        "calibration": distance(model.predict(case.X), case.outputs[0]),
        "held out": distance(outputs, case.outputs[1]),
        "accuracy before": accuracy(case.outputs[1], case.unseen_labels),
        "accuracy after": accuracy(outputs, case.unseen_labels),
        "left": cost(model, case.X) / cost(case.net, case.X),
        "widths": [layer.shape[1] for layer in model.prunable_layers()],
        "seconds": seconds,
        "load": os.getloadavg()[0],
    }


def cost(net: nettrim.Network, X: Array) -> int:
    units = find_units(net, X[:1])
    return units.operations(np.ones(units.n_units, dtype=bool))


def distance(outputs: Array, wanted: Array) -> float:
    return float(np.linalg.norm(outputs - wanted) / np.linalg.norm(wanted))


def accuracy(outputs: Array, labels: data.Labels) -> float:
    return float(np.mean(outputs.argmax(axis=1) == labels))


# --- in short -------------------------------------------------------------------------------------


def summary(rows: list[Row]) -> str:
    """nettrim's held-out error over the best rival's, of all cases that are there."""
    lines = []
    for refit in (AS_LEFT, REFITTED):
        ratios = {}
        for network, share in dict.fromkeys((r["network"], r["operations"]) for r in rows):
            here = [r for r in rows if (r["network"], r["operations"]) == (network, share)]
            mine = [r["held out"] for r in here if r["method"] == OURS]
            others = [r for r in here if r["method"] != OURS and r["refit"] == refit]
            if mine and others:
                best = min(others, key=lambda r: r["held out"])
                ratios[f"{network} {share:g} ({best['method']})"] = mine[0] / best["held out"]
        if ratios:
            mean = float(np.exp(np.mean(np.log(list(ratios.values())))))
            told = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
            lines.append(f"held-out error over that of the best rival, {refit} refit: {mean:.3f}")
            lines.append(f"  {told}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--operations", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2, help="of every method")
    kept = Path(tempfile.gettempdir()) / "nettrim-bench"
    parser.add_argument("--kept", type=Path, default=kept)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    warnings.simplefilter("ignore", nettrim.CalibrationWarning)  # few rows are the case here
    warnings.simplefilter("ignore", nettrim.LargeErrorWarning)
    machine.use_threads(options.threads)
    table = Table(
        options.output / "compare_units", "Networks of fewer units", KEYS, machine.header()
    )
    folder = Folder(options.data, options.kept, options.rows)
    for name in options.networks:
        case = CASES[name](folder)
        for operations, method in product(options.operations, options.methods):
            about = {"network": name, "operations": operations, "method": method}
            if not table.has(**about, refit=REFITTED):
                for row in rows_of(case, operations, method):
                    table.add(row)
    print(summary(table.rows))


if __name__ == "__main__":
    main()
