"""Networks of fewer units: `nettrim.trim(..., nettrim.Units(...))` against pruners of channels.

    python -m bench.networks.compare_units --data DIR [--networks ...] [--operations 0.5 0.25]
        [--methods ...] [--rows 1000] [--threads 1] [--kept DIR] [--output DIR]

After training, without retraining. Every method sees the same calibration rows (1,000 training
images; 500 for keyword spotting) and may leave so many operations; those that look for a ratio do
so by bisection, to be as near below as they can. Only Torch-Pruning's Taylor terms see labels,
those of the calibration rows. Rivals stand in the table twice: as they leave the network, and with
nettrim's refit of the layers on the units that they kept. The error is that of the network's
outputs, relative to their norm, on calibration rows and on 2,000 others (500); accuracy on those.
Seconds are of the processor, over all threads.

The transformer loses heads and units between its layers; its stream stays, which LayerNorm takes
together, for every method.

Needs torch and, for the methods of that name, torch-pruning. `--kept` is where the networks are
kept that are trained here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import nettrim
from bench.common import data, machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Row, Table
from bench.networks.unit_cases import CASES, Case, Folder, outputs
from bench.rivals import units_layerwise, units_torch_pruning
from bench.rivals.units_refit import Mask, refitted
from nettrim.models.model_view import as_view
from nettrim.models.units.unit_map import UnitMap

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

    model: Any
    kept: Mask


T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work returns, and the seconds of the processor it took."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def units_of(model: Any, X: Array) -> UnitMap:
    """What of a model can go."""
    view = as_view(model)
    units = view.find_units(view.calibration(X[:2], "X"))
    assert units is not None
    return units


def rival(case: Case, method: str, operations: float) -> Answer:
    if method in LAYERWISE:
        goal = units_layerwise.LayerByLayer(LAYERWISE[method], operations)
        result = nettrim.trim(case.net, case.X, goal, n_threads=machine.threads(), progress=False)
        return Answer(result.model, goal.found[0])
    units = units_of(case.net, case.X)
    most = operations * units.operations(np.ones(units.n_units, dtype=bool))
    if method == RANDOM:
        kept = units_torch_pruning.below(partial(at_random, units), units, most)
    else:
        pruner = units_torch_pruning.Pruner.of(case.net, units, case.X, case.labels, *TORCH[method])
        kept = units_torch_pruning.below(pruner.kept, units, most)
    view = as_view(case.net)
    return Answer(view.keep_units(view.with_weights({}), units, kept), kept)


def at_random(units: Any, ratio: float) -> Mask:
    """The same share of every signal, always the same units."""
    rng = np.random.default_rng(0)
    kept = np.zeros(units.n_units, dtype=bool)
    for signal in units.signals:
        count = max(1, round((1 - ratio) * len(signal.units)))
        kept[rng.permutation(signal.units)[:count]] = True
    return kept


def ours(case: Case, operations: float) -> Any:
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
    case: Case, operations: float, method: str, refit: str, model: Any, seconds: float
) -> Row:
    unseen = outputs(model, case.unseen)
    return {
        "network": case.name,
        "operations": operations,
        "method": method,
        "refit": refit,
        "calibration": distance(outputs(model, case.X), case.outputs[0]),
        "held out": distance(unseen, case.outputs[1]),
        "accuracy before": accuracy(case.outputs[1], case.unseen_labels),
        "accuracy after": accuracy(unseen, case.unseen_labels),
        "left": cost(model, case.X) / cost(case.net, case.X),
        "widths": [layer.shape[1] for layer in as_view(model).prunable_layers()],
        "seconds": seconds,
    }


def cost(model: Any, X: Array) -> int:
    units = units_of(model, X)
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
    parser.add_argument("--threads", type=int, default=1, help="of every method")
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
