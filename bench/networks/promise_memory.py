"""Does a promise take more memory than one trim? Peaks of both, each in a process of its own.

    python -m bench.networks.promise_memory --data DIR [--network mnist_lenet300] [--rows 5000]

`nettrim.Promise(flips=.01)` by both paths, and one `nettrim.trim` to a model of each. Writes
bench/results/promise_memory.{md,json}.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import warnings
from pathlib import Path

import nettrim
from bench.common import machine
from bench.common.tables import RESULTS, Table
from bench.layer.memory import MB, peak
from bench.networks import promises

GOALS: dict[tuple[str, str], nettrim.Goal] = {
    ("sparsity", "one trim"): nettrim.Sparsity(0.9),
    ("sparsity", "promise"): nettrim.Promise(flips=promises.FLIPS),
    ("epsilon", "one trim"): nettrim.Error(0.15, regularise="auto", reweighted=2),
    ("epsilon", "promise"): nettrim.Promise(flips=promises.FLIPS, path="epsilon"),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="mnist_lenet300", choices=promises.NETWORKS)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def measure(chosen: argparse.Namespace, goal: nettrim.Goal) -> dict[str, float]:
    """Trim, and tell the peak before and by then, and the time of the processor."""
    warnings.simplefilter("ignore", UserWarning)
    case = promises.case(chosen.data, chosen.output, chosen.network, chosen.rows)
    before, began = peak(), time.process_time()
    nettrim.trim(case.net, case.X, goal, held_out=case.held_out, **promises.options())
    return {"before MB": before / MB, "peak MB": peak() / MB, "cpu s": time.process_time() - began}


def main() -> None:
    chosen = arguments()
    machine.use_threads(chosen.threads)
    keys = ["network", "rows", "path", "what"]
    title = "Does a promise take more memory than one trim?"
    table = Table(chosen.output / "promise_memory", title, keys, machine.header())
    for (path, what), goal in GOALS.items():
        about = {"network": chosen.network, "rows": chosen.rows, "path": path, "what": what}
        if not table.has(**about):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                table.add({**about, **pool.apply(measure, (chosen, goal))})


if __name__ == "__main__":
    main()
