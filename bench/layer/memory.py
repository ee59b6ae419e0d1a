"""Peak memory of the 784-300 layer with 10,000 samples, measured in a process of its own.

    python -m bench.layer.memory [--samples 10000] [--features 784] [--outputs 300] [--threads 2]

The limit is three times the bytes of X, Y and the weights plus 200 MB, everything counted: Python,
NumPy, the arrays themselves. The iterations are cut short, for memory does not grow with them.
Writes bench/results/memory.{md,json} and fails above the limit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import nettrim
from bench.common import machine
from bench.common.tables import RESULTS, Table

MB = 1e6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=784)
    parser.add_argument("--outputs", type=int, default=300)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument(
        "--solve", type=Path, help=argparse.SUPPRESS
    )  # the child: solve what lies there
    return parser.parse_args()


def peak() -> float:
    """Largest resident size of this process so far, in bytes.

    Linux's own file, where there is one: getrusage also remembers the parent a process came from.
    """
    try:
        status = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(1024 * float(line.split()[1]) for line in status if line.startswith("VmHWM"))


def child(folder: Path, iterations: int) -> None:
    before = peak()
    X, Y = np.load(folder / "X.npy"), np.load(folder / "Y.npy")
    loaded = peak()
    solution = nettrim.solve_layer(
        X,
        Y,
        epsilon=0.05 * float(np.linalg.norm(Y)),
        max_iter=iterations,
        n_threads=machine.threads(),
    )
    counted = X.nbytes + Y.nbytes + solution.weights.nbytes
    print(json.dumps({"empty": before, "loaded": loaded, "peak": peak(), "counted": counted}))


def write_problem(folder: Path, options: argparse.Namespace) -> None:
    """A layer that looks like the first one of a picture classifier, bias included."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.standard_normal((options.samples, options.features + 1)), 0)
    X[:, -1] = 1.0
    W = rng.standard_normal((options.features + 1, options.outputs)) / np.sqrt(options.features)
    np.save(folder / "X.npy", X)
    np.save(folder / "Y.npy", np.maximum(X @ W - 0.3, 0))


def measure(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        write_problem(Path(folder), options)
        sizes = [
            f"--{name}={getattr(options, name)}" for name in ("samples", "iterations", "threads")
        ]
        command = [sys.executable, "-m", "bench.layer.memory", "--solve", folder, *sizes]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    if options.solve:
        child(options.solve, options.iterations)
        return
    seen = measure(options)
    limit = 3 * seen["counted"] + 200 * MB
    keys = ["samples", "features", "outputs"]
    table = Table(options.output / "memory", "Peak memory of one layer", keys, machine.header())
    about = {key: getattr(options, key) for key in keys}
    table.rows = [row for row in table.rows if any(row[key] != about[key] for key in keys)]
    table.add(
        {
            **about,
            "X, Y, weights MB": seen["counted"] / MB,
            "empty process MB": seen["empty"] / MB,
            "with data MB": seen["loaded"] / MB,
            "peak MB": seen["peak"] / MB,
            "limit MB": limit / MB,
            "within": seen["peak"] <= limit,
        }
    )
    if seen["peak"] > limit:
        raise SystemExit(f"peak {seen['peak'] / MB:.0f} MB is above {limit / MB:.0f} MB")


if __name__ == "__main__":
    main()
