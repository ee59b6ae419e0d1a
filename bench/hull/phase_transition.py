"""How many measurements does recovery take? Counts over a grid, against the law and the line.

    python -m bench.hull.phase_transition [--trials 10] [--threads 1]

BranchHull (l2): normal dictionaries and signals with K = N, against the exact law
P(Bin(L - 1, 1/2) >= 2 K - 2). l1-BranchHull: signals of +-1 on 5 % of K = N coefficients, against
the line L = 4.45 (S1 + S2) on which half of the trials were found to succeed. A trial succeeds if
the outer product of the coefficients is right to 1e-3, at unit size; every solve is certified to
1e-7.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import nettrim
from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Row, Table

SHARE = 0.05  # of coefficients that a sparse signal has
LINE = 4.45  # measurements per nonzero coefficient
SIZES = {"l2": (3, 5, 8, 12, 16, 20), "l1": (20, 60, 100, 160, 220, 300)}
MEASUREMENTS = {"l2": range(4, 101, 8), "l1": range(8, 161, 8)}
RIGHT = 1e-3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def coefficients(rng: np.random.Generator, size: int, regularizer: str) -> Array:
    if regularizer == "l2":
        return rng.standard_normal(size)
    count = round(SHARE * size)
    values = np.zeros(size)
    values[rng.choice(size, count, replace=False)] = rng.choice([-1.0, 1.0], count)
    return values


def succeeds(regularizer: str, size: int, L: int, seed: int) -> tuple[bool, bool]:
    """Whether the truth was found, and whether the solve was certified."""
    rng = np.random.default_rng([seed, size, L])
    B, C = (rng.standard_normal((L, size)) / np.sqrt(L) for _ in range(2))
    h, m = (coefficients(rng, size, regularizer) for _ in range(2))
    w = B @ h
    s = nettrim.branch_hull(
        w * (C @ m), B, C, signs=w, regularizer=regularizer, tol=1e-7, n_threads=machine.threads()
    )
    found, truth = np.outer(s.h, s.m), np.outer(h, m)
    error = np.linalg.norm(found / np.linalg.norm(found) - truth / np.linalg.norm(truth))
    return bool(error <= RIGHT), s.converged


def draw(rows: list[Row], target: Path) -> None:
    mpl.rcParams.update({"font.size": 11})
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    for ax, regularizer in zip(figure.subplots(1, 2), SIZES, strict=True):
        panel(ax, regularizer, [row for row in rows if row["regularizer"] == regularizer])
    figure.savefig(target, dpi=130)


def panel(ax: Axes, regularizer: str, rows: list[Row]) -> None:
    sizes, lengths = SIZES[regularizer], list(MEASUREMENTS[regularizer])
    share = np.full((len(lengths), len(sizes)), np.nan)
    for row in rows:
        share[lengths.index(row["L"]), sizes.index(row["size"])] = row["found"] / row["trials"]
    image = ax.imshow(share, origin="lower", aspect="auto", cmap="Greys_r", vmin=0, vmax=1)
    ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    ax.set_yticks(range(0, len(lengths), 2), [str(L) for L in lengths[::2]])
    if regularizer == "l2":
        half, label = [2 * (2 * size - 2) for size in sizes], "exact law: half recovered"
    else:
        half, label = [2 * LINE * round(SHARE * size) for size in sizes], "4.45 per nonzero"
    step = lengths[1] - lengths[0]
    ax.plot(
        range(len(sizes)),
        [(L - lengths[0]) / step for L in half],
        "o-",
        color="#c23b22",
        label=label,
    )
    ax.set(
        xlabel="coefficients of each signal",
        ylabel="measurements",
        title=f"{regularizer}: share recovered",
    )
    ax.legend(loc="lower right")
    ax.figure.colorbar(image, ax=ax)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    header = {**machine.header(), "trials": options.trials}
    keys = ["regularizer", "size", "L"]
    table = Table(options.output / "phase_transition", "Recovery by BranchHull", keys, header)
    for regularizer, sizes in SIZES.items():
        for size in sizes:
            for L in MEASUREMENTS[regularizer]:
                about = {"regularizer": regularizer, "size": size, "L": L}
                if table.has(**about):
                    continue
                outcomes = [succeeds(regularizer, size, L, seed) for seed in range(options.trials)]
                found, certified = (sum(column) for column in zip(*outcomes, strict=True))
                law = nettrim.recovery_odds(L, size, size) if regularizer == "l2" else None
                table.add(
                    {
                        **about,
                        "trials": options.trials,
                        "found": found,
                        "certified": certified,
                        "law": law,
                    }
                )
    draw(table.rows, options.output / "phase_transition.png")


if __name__ == "__main__":
    main()
