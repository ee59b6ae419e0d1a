"""How the time of a solve grows with samples, features and outputs, with one thread and with all.

    python -m bench.layer.growth [--threads 2] [--repeats 3] [--time-limit 120]
        [--base 2000 300 30] [--samples ...] [--features ...] [--outputs ...]

Random layers as in bench_layer.cpp: the inputs are the outputs of a random ReLU layer, the last
feature is constant; epsilon 0.1 of the norm of Y, tolerance 1e-6. One size is varied at a time, the
other two stay at --base. A point that does not close within the time limit is in the table with the
gap it reached, hollow in the plot and left out of the fit. Circles are answers of newton, squares
of admm, which takes over where newton gets stuck. A solve over 20 s is not repeated.

Writes growth.{json,md} and growth.png, log-log; the exponents are slopes of a least-squares fit.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

import nettrim
from bench.common import machine
from bench.common.tables import RESULTS, Row, Table
from bench.common.timing import timed

Array = NDArray[np.float64]

SIZES = {
    "samples": (1000, 2000, 4000, 8000, 16_000, 32_000),
    "features": (100, 200, 400, 800, 1500, 3000),
    "outputs": (10, 30, 100, 300, 1000, 3000),
}
EPSILON, TOL = 0.1, 1e-6
ENOUGH = 20.0  # seconds after which a point is not repeated
MARKERS = {"newton": "o", "admm": "s"}
COLOURS = ("#0072B2", "#D55E00")  # of Okabe and Ito: one thread, all threads


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--time-limit", type=float, default=120.0)
    parser.add_argument("--base", type=int, nargs=3, default=[2000, 300, 30], metavar="N")
    for axis, sizes in SIZES.items():
        parser.add_argument(f"--{axis}", type=int, nargs="+", default=sizes, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def random_layer(samples: int, features: int, outputs: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    inputs = max(features // 8, 2)
    mixing = rng.standard_normal((inputs, features))
    X = np.maximum(rng.standard_normal((samples, inputs)) @ mixing, 0)
    X[:, -1] = 1
    return X, np.maximum(X @ rng.standard_normal((features, outputs)), 0)


def wanted(options: argparse.Namespace) -> Iterator[Row]:
    """What every row is about, one axis after the other."""
    base = dict(zip(SIZES, options.base, strict=True))
    for axis in SIZES:
        for size in getattr(options, axis):
            for threads in sorted({1, options.threads}):
                yield {"axis": axis, **base, axis: size, "threads": threads}


def measured(about: Row, options: argparse.Namespace) -> Row:
    X, Y = random_layer(*(about[axis] for axis in SIZES))
    epsilon = EPSILON * float(np.linalg.norm(Y))

    def solve() -> nettrim.LayerSolution:
        return nettrim.solve_layer(
            X,
            Y,
            epsilon=epsilon,
            tol=TOL,
            time_limit=options.time_limit,
            n_threads=about["threads"],
        )

    times: list[float] = []
    for _ in range(options.repeats):
        solution, took = timed(solve)
        times.append(took)
        if not solution.converged or sum(times) > ENOUGH:
            break
    return {
        "status": solution.status,
        "solver": solution.solver,
        "iterations": solution.iterations,
        "kept share": solution.nonzeros / solution.weights.size,
        "gap": solution.gap,
        "solve s": statistics.median(times),
        "load": os.getloadavg()[0],
    }


# --- the plot -------------------------------------------------------------------------------------


def draw(rows: list[Row], target: Path) -> None:
    """One panel per axis, one line per number of threads."""
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(13.5, 4.6), layout="constrained")
    axes = figure.subplots(1, len(SIZES), sharey=True)
    for ax, axis in zip(axes, SIZES, strict=True):
        panel(ax, axis, [row for row in rows if row["axis"] == axis])
    axes[0].set_ylabel(f"seconds to a certified {TOL:g}")
    figure.savefig(target, dpi=130)


def panel(ax: Axes, axis: str, rows: list[Row]) -> None:
    for colour, threads in zip(COLOURS, sorted({row["threads"] for row in rows}), strict=False):
        mine = sorted((row for row in rows if row["threads"] == threads), key=lambda r: r[axis])
        closed = [row for row in mine if row["status"] == "optimal"]
        label = f"{threads} thread{'s' if threads > 1 else ''}{growth(axis, closed)}"
        ax.plot(*points(axis, mine), color=colour, linewidth=1.5, label=label)
        for row in mine:
            fill = colour if row in closed else "white"
            marker = MARKERS.get(row["solver"], "x")
            ax.plot(row[axis], row["solve s"], marker, color=colour, markerfacecolor=fill)
    sizes = sorted({row[axis] for row in rows})
    ax.set(xscale="log", yscale="log", xlabel=axis)
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_title(", ".join(f"{rows[0][a]:,} {a}" for a in SIZES if a != axis), fontsize=11)
    ax.grid(color="0.92", zorder=0)
    ax.legend(frameon=False, loc="upper left")


def points(axis: str, rows: list[Row]) -> tuple[list[int], list[float]]:
    return [row[axis] for row in rows], [row["solve s"] for row in rows]


def growth(axis: str, rows: list[Row]) -> str:
    """The power of the size that fits best, for the legend; nothing where points are too few."""
    if len(rows) < 2:
        return ""
    slope, _ = np.polyfit(*np.log(points(axis, rows)), 1)
    return f": $\\mathrm{{{axis}}}^{{\\,{slope:.2f}}}$"


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    settings = {"tol": TOL, "epsilon": EPSILON, "time limit": options.time_limit}
    header = {**machine.header(), **settings, "base": options.base, "repeats": options.repeats}
    keys = ["axis", *SIZES, "threads"]
    path = options.output / "growth"
    table = Table(path, "Growth of the time of a solve with the size of the layer", keys, header)
    for about in wanted(options):
        if not table.has(**about):
            table.add({**about, **measured(about, options)})
    draw(table.rows, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
