"""Certified error against time, every solver on the middle output of each layer; log-log.

    python -m bench.layer.plot_rivals [results/compare_rivals_outputs.json]
        [results/compare_rivals.png]

A line of circles is one solver on its ladder of tolerances, a plain line one solve that was
watched. The star is nettrim's solve of the whole layer, its time divided by the number of outputs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.common.tables import RESULTS

Row = dict[str, Any]
Key = tuple[str, int, float]  # network, layer, epsilon

# The colours of Okabe and Ito, which colour-blind readers can tell apart; twice, with two markers.
STYLES: dict[str, dict[str, Any]] = {
    "nettrim, whole layer": {
        "color": "black",
        "marker": "*",
        "markersize": 15,
        "linestyle": "none",
    },
    "nettrim newton": {"color": "black", "linewidth": 2.5},
    "nettrim admm": {"color": "black", "linestyle": "--"},
    "published ADMM": {"color": "#D55E00", "linestyle": "--"},
    "PIQP": {"color": "#0072B2", "marker": "o"},
    "OSQP": {"color": "#E69F00", "marker": "o"},
    "SCS": {"color": "#009E73", "marker": "o"},
    "ProxQP": {"color": "#CC79A7", "marker": "o"},
    "Clarabel": {"color": "#56B4E9", "marker": "s"},
    "HiGHS interior point": {"color": "#0072B2", "marker": "s"},
    "HiGHS active set": {"color": "#E69F00", "marker": "s"},
    "CVXPY + Clarabel": {"color": "#009E73", "marker": "s"},
}
FLOOR = 1e-9  # errors below are drawn here


def draw(source: Path, target: Path) -> None:
    """One panel per layer that was measured."""
    panels = by_layer(json.loads(source.read_text())["rows"])
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    n_rows, n_columns = -(-len(panels) // 3), min(len(panels), 3)
    figure = Figure(figsize=(5 * n_columns + 2.5, 4.8 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for ax, (key, rows) in zip(axes.flat, panels.items(), strict=False):
        panel(ax, key, rows)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.supxlabel("seconds for one output", fontsize=12)
    figure.supylabel("certified error (gap or infeasibility)", fontsize=12)
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.savefig(target, dpi=130)


def by_layer(rows: list[Row]) -> dict[Key, list[Row]]:
    """Rows of the middle output of each layer: the median one by active samples."""
    layers: dict[Key, list[Row]] = {}
    for row in rows:
        layers.setdefault((row["network"], row["layer"], row["epsilon"]), []).append(row)
    return {key: middle(entries) for key, entries in sorted(layers.items())}


def middle(rows: list[Row]) -> list[Row]:
    outputs = sorted({(row["active"], row["output"]) for row in rows})
    _, chosen = outputs[len(outputs) // 2]
    return [row for row in rows if row["output"] == chosen]


def panel(ax: Axes, key: Key, rows: list[Row]) -> None:
    points = {row["solver"]: row for row in rows}
    for solver, style in STYLES.items():
        if solver in points:
            seconds, errors = points[solver]["seconds"], points[solver]["errors"]
            ax.plot(seconds, best_so_far(errors), label=solver, zorder=len(STYLES), **style)
    network, layer, epsilon = key
    ax.set(xscale="log", yscale="log", ylim=(FLOOR / 2, 2))
    ax.set_title(f"{network}, layer {layer}, epsilon {epsilon:g}", loc="left", fontsize=11)
    ax.axhline(1e-6, color="0.6", linewidth=1, zorder=0)
    ax.grid(color="0.92", zorder=0)


def best_so_far(errors: list[float]) -> list[float]:
    return [max(min(errors[: k + 1]), FLOOR) for k in range(len(errors))]


if __name__ == "__main__":
    names = ["compare_rivals_outputs.json", "compare_rivals.png"]
    given = [Path(name) for name in sys.argv[1:]]
    draw(*(given or [RESULTS / name for name in names]))
