"""Linear layers at given sparsities and patterns: nettrim against ALPS, on the same data.

    python -m bench.layer.compare_linear [--text FILE] [--rows 1000] [--widths 1024 2048 4096]
        [--repeats 5] [--threads 2] [--output DIR]

Every linear layer of blocks 1 and 4 of the real all-MiniLM-L6-v2 on real text (see
bench/common/minilm.py), and square layers of given widths on correlated samples. Errors are those
in front of the activation, ||X (U - W)|| / ||X W||, on the rows that were used and on as many
others; seconds are medians. ALPS is NumPy's, with the same threads. Both begin with X and the
weights: Gram matrices are part of their times.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import nettrim
from bench.common import machine, minilm
from bench.common.data import Array
from bench.common.tables import RESULTS, Table
from bench.common.timing import timed
from bench.rivals import alps

WANTED = (0.5, 0.7, 0.9, "2:4", "4:8")
BLOCKS = [1, 4]
DECAY = 0.7  # of the spectrum of synthetic samples: the k-th direction has size k ** -DECAY
ROWS_PER_FEATURE = 4
LARGE = 2048  # width from which one run is timed
KEYS = ("layer", "wanted")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--text", type=Path, metavar="FILE")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--widths", type=int, nargs="*", default=(1024, 2048, 4096))
    parser.add_argument("--wanted", nargs="+", default=list(map(str, WANTED)))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of both")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def synthetic(width: int) -> minilm.LinearLayer:
    """Features that share directions of falling size."""
    rng = np.random.default_rng(width)
    rows = ROWS_PER_FEATURE * width
    mixing = rng.standard_normal((width, width)) * np.arange(1, width + 1)[:, None] ** -DECAY
    X = rng.standard_normal((2 * rows, width)) @ mixing
    weights = rng.standard_normal((width, width)) / np.sqrt(width)
    return minilm.LinearLayer(f"{width}", weights, np.zeros(width), X[:rows], X[rows:])


def layers(options: argparse.Namespace) -> Iterator[minilm.LinearLayer]:
    yield from minilm.layers(BLOCKS, options.rows, options.rows, options.text)
    yield from map(synthetic, options.widths)


def rival(layer: minilm.LinearLayer, wanted: str) -> Callable[[], Array]:
    if ":" in wanted:
        most, group = map(int, wanted.split(":"))
        return lambda: alps.prune_to_pattern(layer.X, layer.weights, most, group)
    keep = round((1 - float(wanted)) * layer.weights.size)
    return lambda: alps.prune(layer.X, layer.weights, keep)


def ours(layer: minilm.LinearLayer, wanted: str, n_threads: int) -> Callable[[], Array]:
    how = {"pattern": wanted} if ":" in wanted else {"sparsity": float(wanted)}

    def solve() -> Array:
        gram = nettrim.Gram.of(layer.X)
        return nettrim.solve_layer_budget(
            gram, weights=layer.weights, n_threads=n_threads, **how
        ).weights

    return solve


def measured(work: Callable[[], Array], repeats: int) -> tuple[Array, float]:
    runs = [timed(work) for _ in range(repeats)]
    return runs[0][0], statistics.median(seconds for _, seconds in runs)


def error(X: Array, layer: minilm.LinearLayer, weights: Array) -> float:
    return float(np.linalg.norm(X @ (weights - layer.weights)) / np.linalg.norm(X @ layer.weights))


def compare(
    layer: minilm.LinearLayer, wanted: str, options: argparse.Namespace
) -> dict[str, object]:
    repeats = options.repeats if len(layer.weights) < LARGE else 1
    theirs, their_seconds = measured(rival(layer, wanted), repeats)
    own, seconds = measured(ours(layer, wanted, options.threads), repeats)
    if np.count_nonzero(own) > np.count_nonzero(theirs):
        raise SystemExit(f"{layer.name} {wanted}: more weights than the rival's")
    used, held_out = layer.X, layer.held_out
    return {
        "layer": layer.name,
        "wanted": wanted,
        "ALPS error": error(used, layer, theirs),
        "ALPS held out": error(held_out, layer, theirs),
        "error ratio": error(used, layer, own) / error(used, layer, theirs),
        "held-out ratio": error(held_out, layer, own) / error(held_out, layer, theirs),
        "ALPS seconds": their_seconds,
        "time ratio": seconds / their_seconds,
    }


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    table = Table(
        options.output / "compare_linear",
        "Linear layers: nettrim over ALPS",
        KEYS,
        machine.header() | {"rows": options.rows},
    )
    for layer in layers(options):
        for wanted in options.wanted:
            if not table.has(layer=layer.name, wanted=wanted):
                table.add(compare(layer, wanted, options))
    for name in ("error ratio", "held-out ratio", "time ratio"):
        ratios = [row[name] for row in table.rows]
        mean = statistics.geometric_mean(ratios)
        print(f"{name}: geometric mean {mean:.3f}, largest {max(ratios):.3f}")


if __name__ == "__main__":
    main()
