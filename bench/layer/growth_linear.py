"""How the time of a linear layer at a given sparsity grows with its width.

    python -m bench.layer.growth_linear [--threads 2] [--widths 256 512 1024 2048]
        [--wanted 0.5 2:4] [--output DIR]

Square layers on correlated samples (see bench/layer/compare_linear.py), posed by their Gram matrix,
whose own time is told apart; ALPS beside them. Writes growth_linear.{json,md,png}, log-log; the
exponents are slopes of a least-squares fit.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import nettrim
from bench.common import machine
from bench.common.tables import RESULTS, Row, Table
from bench.common.timing import timed
from bench.layer.compare_linear import error, rival, synthetic

STYLES = {"nettrim": ("#0072B2", "o"), "ALPS": ("#D55E00", "s"), "Gram": ("#999999", "^")}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of both")
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512, 1024, 2048])
    parser.add_argument("--wanted", nargs="+", default=["0.5", "2:4"])
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def measured(width: int, wanted: str, n_threads: int) -> Row:
    layer = synthetic(width)
    gram, gram_seconds = timed(partial(nettrim.Gram.of, layer.X))
    how = {"pattern": wanted} if ":" in wanted else {"sparsity": float(wanted)}
    solve = partial(
        nettrim.solve_layer_budget, gram, weights=layer.weights, n_threads=n_threads, **how
    )
    solution, seconds = timed(solve)
    theirs, their_seconds = timed(rival(layer, wanted))
    return {
        "Gram s": gram_seconds,
        "nettrim s": seconds,
        "ALPS s": their_seconds,
        "error": error(layer.held_out, layer, solution.weights),
        "ALPS error": error(layer.held_out, layer, theirs),
    }


def draw(rows: list[Row], target: Path) -> None:
    """One panel for each of what is wanted, one line for each method."""
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    panels = list(dict.fromkeys(row["wanted"] for row in rows))
    figure = Figure(figsize=(4.6 * len(panels), 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, wanted in zip(axes, panels, strict=True):
        mine = [row for row in rows if row["wanted"] == wanted]
        widths = [row["width"] for row in mine]
        for name, (colour, marker) in STYLES.items():
            seconds = [row[f"{name} s"] for row in mine]
            slope, _ = np.polyfit(np.log(widths), np.log(seconds), 1)
            label = f"{name}: $\\mathrm{{width}}^{{{slope:.2f}}}$"
            ax.plot(widths, seconds, marker=marker, color=colour, linewidth=1.5, label=label)
        ax.set(xscale="log", yscale="log", xlabel="width", title=f"{wanted}")
        ax.set_xticks(widths, [f"{width:,}" for width in widths])
        ax.minorticks_off()
        ax.grid(color="0.92", zorder=0)
        ax.legend(frameon=False)
    axes[0].set_ylabel("seconds")
    figure.savefig(target, dpi=130)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    path = options.output / "growth_linear"
    table = Table(path, "Linear layers by width", ["wanted", "width"], machine.header())
    for wanted in options.wanted:
        for width in options.widths:
            if not table.has(wanted=wanted, width=width):
                row = measured(width, wanted, options.threads)
                table.add({"wanted": wanted, "width": width, **row})
    draw(table.rows, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
