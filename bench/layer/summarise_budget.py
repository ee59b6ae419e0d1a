"""What the cases of `compare_budget.py` say: a page of tables and a plot.

    python -m bench.layer.summarise_budget [results/compare_budget_cases.json]
        [results/compare_budget]

A case is a layer, a draw of the data and a sparsity. On each half of the data nettrim is compared
with the best rival there, whichever that is: ratios below 1 are in its favour, and their means are
geometric.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.common.machine import header_line
from bench.common.tables import RESULTS, Row, replace, show

OURS, ONE_TRACE = "nettrim", "nettrim, one trace"
HALVES = ("calibration", "held-out")
WORST = 10
SECONDS = (
    "Of one sparsity alone, its trace included: medians. `load` is that of the whole machine "
    "meanwhile; methods measured under different loads are not to be compared by their seconds."
)
ERRORS = "After the ReLU, calibration / held-out, geometric means of the seeds."
Case = dict[str, Row]  # its rows by their method

# The colours of Okabe and Ito, which colour-blind readers can tell apart; broken where fitted anew
# or started from another's answer.
STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": "black", "linewidth": 2.5, "zorder": 9},
    ONE_TRACE: {"color": "black", "linewidth": 1.2, "zorder": 8, "marker": "."},
    "ExactOBS": {"color": "#0072B2"},
    "ALPS": {"color": "#D55E00"},
    "l1 + refit": {"color": "black", "linestyle": ":"},
    "Boza ADMM": {"color": "#009E73"},
    "FISTAPruner from SparseGPT": {"color": "#56B4E9", "linestyle": "--"},
    "FISTAPruner": {"color": "#56B4E9"},
    "SparseGPT + refit": {"color": "#E69F00", "linestyle": "--"},
    "SparseGPT": {"color": "#E69F00"},
    "Wanda + refit": {"color": "#CC79A7", "linestyle": "--"},
    "Wanda": {"color": "#CC79A7"},
    "magnitude + refit": {"color": "0.6", "linestyle": "--"},
    "magnitude": {"color": "0.6"},
}


def write(source: Path, target: Path) -> None:
    """``target`` with .md and .png."""
    content = json.loads(source.read_text())
    rows = content["rows"]
    parts = [f"# {content['title']}", header_line(content["header"])]
    for ours in (OURS, ONE_TRACE):
        complete = [case for case in cases(rows) if ours in case and rivals(case)]
        if complete:
            parts += [f"## {ours}, against the best rival of each case"]
            parts += [table(against_best(complete, ours))]
            parts += [f"### {ours}, against each rival", table(against_each(complete, ours))]
            parts += [f"### The {WORST} cases of {ours} that are worst held-out"]
            parts += [table(worst(complete, ours))]
    parts += ["## Seconds", SECONDS, table(seconds(rows))]
    parts += ["## Errors", ERRORS, table(errors(rows))]
    replace(target.with_suffix(".md"), "\n\n".join(parts) + "\n")
    draw(rows, target.with_suffix(".png"))


def cases(rows: list[Row]) -> list[Case]:
    found: dict[tuple[Any, ...], Case] = {}
    for row in rows:
        about = tuple(row[key] for key in ("network", "layer", "seed", "sparsity"))
        found.setdefault(about, {})[row["method"]] = row
    return list(found.values())


def layer_of(row: Row) -> str:
    return f"{row['network']}, layer {row['layer']}"


def mean(values: Iterable[float]) -> float:
    return statistics.geometric_mean(values)


# --- tables ---------------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([show(row[name]) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rivals(case: Case) -> list[str]:
    return [method for method in case if method not in (OURS, ONE_TRACE)]


def best(case: Case, half: str) -> Row:
    return min((case[rival] for rival in rivals(case)), key=lambda row: row[half])


def ratio(case: Case, half: str, ours: str, rival: str | None = None) -> float:
    return case[ours][half] / (case[rival] if rival else best(case, half))[half]


def wins_and_ratios(chosen: list[Case], ours: str, rival: str | None = None) -> Row:
    ratios = {half: [ratio(case, half, ours, rival) for case in chosen] for half in HALVES}
    wins = {half: sum(r < 1 for r in found) for half, found in ratios.items()}
    return {f"won, {half}": f"{wins[half]} of {len(chosen)}" for half in HALVES} | {
        f"ratio, {half}": mean(ratios[half]) for half in HALVES
    }


def against_best(complete: list[Case], ours: str) -> list[Row]:
    groups: dict[str, list[Case]] = {"all": complete}
    for name in (lambda row: f"sparsity {row['sparsity']:g}", layer_of):
        for case in complete:
            groups.setdefault(name(case[ours]), []).append(case)
    return [{"cases": name, **wins_and_ratios(chosen, ours)} for name, chosen in groups.items()]


def against_each(complete: list[Case], ours: str) -> list[Row]:
    """The closest rival first."""
    rows = []
    for rival in dict.fromkeys(name for case in complete for name in rivals(case)):
        chosen = [case for case in complete if rival in case]
        rows.append({"rival": rival, **wins_and_ratios(chosen, ours, rival)})
    return sorted(rows, key=lambda row: -row["ratio, held-out"])


def worst(complete: list[Case], ours: str) -> list[Row]:
    ordered = sorted(complete, key=lambda case: -ratio(case, "held-out", ours))
    return [
        {
            **{key: case[ours][key] for key in ("network", "layer", "seed", "sparsity")},
            **{f"nettrim, {half}": case[ours][half] for half in HALVES},
            **{f"best, {half}": named(best(case, half), half) for half in HALVES},
            **{f"ratio, {half}": ratio(case, half, ours) for half in HALVES},
        }
        for case in ordered[:WORST]
    ]


def named(row: Row, half: str) -> str:
    return f"{show(row[half])} ({row['method']})"


def seconds(rows: list[Row]) -> list[Row]:
    """One line per method, one column per layer."""
    layers = list(dict.fromkeys(map(layer_of, rows)))
    return [
        {"method": method}
        | {name: median(rows, method, "seconds", name) for name in layers}
        | {"all": median(rows, method, "seconds"), "load": median(rows, method, "load")}
        for method in methods(rows)
    ]


def median(rows: list[Row], method: str, column: str, layer: str | None = None) -> float | None:
    found = [
        row[column]
        for row in rows
        if row["method"] == method and (layer is None or layer_of(row) == layer)
    ]
    return statistics.median(found) if found else None


def errors(rows: list[Row]) -> list[Row]:
    """One line per layer and method, one column per sparsity."""
    levels = sorted({row["sparsity"] for row in rows})
    lines = []
    for layer, method in product(dict.fromkeys(map(layer_of, rows)), methods(rows)):
        curves = {half: curve(rows, layer, method, half) for half in HALVES}
        cells = {
            f"{level:g}": " / ".join(show(curves[half].get(level)) for half in HALVES)
            for level in levels
        }
        lines.append({"layer": layer, "method": method} | cells)
    return lines


def methods(rows: list[Row]) -> list[str]:
    measured = {row["method"] for row in rows}
    return [method for method in STYLES if method in measured]


def curve(rows: list[Row], layer: str, method: str, half: str) -> dict[float, float]:
    """Errors by sparsity, averaged over the seeds."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if row["method"] == method and layer_of(row) == layer:
            found.setdefault(row["sparsity"], []).append(row[half])
    return {level: mean(found[level]) for level in sorted(found)}


# --- the plot -------------------------------------------------------------------------------------


def draw(rows: list[Row], path: Path) -> None:
    """A column of two panels per layer; axes are logarithmic, the horizontal in weights kept."""
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    layers = list(dict.fromkeys(map(layer_of, rows)))
    figure = Figure(figsize=(3.4 * len(layers) + 2.5, 7.5), layout="constrained")
    axes = figure.subplots(2, len(layers), squeeze=False, sharex=True, sharey="col")
    for (i, half), (j, layer) in product(enumerate(HALVES), enumerate(layers)):
        panel(axes[i, j], rows, layer, half)
        axes[i, j].set_title(f"{layer}\n{half}", loc="left", fontsize=11)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.supxlabel("sparsity", fontsize=12)
    figure.supylabel("relative error after the ReLU", fontsize=12)
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)


def panel(ax: Axes, rows: list[Row], layer: str, half: str) -> None:
    for method in methods(rows):
        errors = curve(rows, layer, method, half)
        kept = [1 - level for level in errors]
        ax.plot(kept, list(errors.values()), label=method, **STYLES[method])
    levels = sorted({1 - row["sparsity"] for row in rows})
    ax.set(xscale="log", yscale="log")
    ax.set_xlim(max(levels) * 1.1, min(levels) / 1.1)
    ax.xaxis.set_major_locator(FixedLocator(levels))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda kept, _: f"{1 - kept:.0%}"))
    ax.grid(color="0.92", zorder=0)


if __name__ == "__main__":
    names = ["compare_budget_cases.json", "compare_budget"]
    write(*([Path(name) for name in sys.argv[1:]] or [RESULTS / name for name in names]))
