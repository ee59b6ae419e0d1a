"""How many snapshots does it take to tell gains from scenes? Counts over sensors, snapshots, sizes.

    python -m bench.hull.snapshots [--trials 10] [--threads 1]

y_ij = w_i x_ij: gains w of I sensors in a space of K dimensions, J scenes x_j, each in a common
space of N. Gains are smooth and positive (cosines) or normal; scenes are normal in a random space.
BranchHull with l2 is asked in three ways:

* raw: cosines and normal columns as they are;
* orthonormal: orthonormal columns of the same spaces, so that norms are those of the signals;
* divided: the same, and then the gains found are divided out of the measurements and of their
  space, and what is left is asked for again, at most five times, until products agree.

A trial succeeds if the gains are right to 1e-3, up to their scale.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import nettrim
from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Row, Table

SENSORS, SNAPSHOTS, SHARES = (12, 24, 48), (1, 4, 16, 64), (0.25, 0.5, 0.75, 0.9)
GAINS = (("smooth", 2), ("smooth", 5), ("normal", 5))
WAYS = ("raw", "orthonormal", "divided")
ROUNDS = 5
RIGHT, TIGHT = 1e-3, 1e-5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def gain_space(rng: np.random.Generator, gains: str, sensors: int, K: int) -> tuple[Array, Array]:
    """A dictionary and gains in its span; smooth ones are between a half and twice their mean."""
    if gains == "normal":
        B = rng.standard_normal((sensors, K))
        return B, B @ rng.standard_normal(K)
    position = (np.arange(sensors) + 0.5) / sensors
    B = np.cos(np.pi * position[:, None] * np.arange(K))
    wave = B[:, 1:] @ rng.standard_normal(K - 1)
    return B, 1 + 0.5 * wave / np.abs(wave).max()


def orthonormal(columns: Array) -> Array:
    return np.linalg.qr(columns)[0]


def gains_found(y: Array, B: Array, C: Array, signs: Array) -> tuple[Array, float]:
    s = nettrim.branch_hull(
        y, B, C, signs=signs, regularizer="l2", tol=1e-7, n_threads=machine.threads()
    )
    return s.w, s.misfit


def found(way: str, y: Array, B: Array, C: Array, signs: Array) -> Array:
    """The gains that a way finds."""
    if way == "raw":
        return gains_found(y, B, C, signs)[0]
    gains, misfit = gains_found(y, orthonormal(B), orthonormal(C), signs)
    rounds = ROUNDS if way == "divided" else 0
    while misfit > TIGHT and rounds > 0:
        rest, misfit = gains_found(
            y / gains[:, None], orthonormal(B / gains[:, None]), orthonormal(C), np.ones(len(gains))
        )
        gains, rounds = gains * rest, rounds - 1
    return gains


def succeeds(gains: str, sensors: int, J: int, K: int, N: int, seed: int) -> list[bool]:
    """Whether each of the ways finds the gains."""
    rng = np.random.default_rng([seed, sensors, J, K, N])
    B, w = gain_space(rng, gains, sensors, K)
    C = rng.standard_normal((sensors, N))
    y = w[:, None] * (C @ rng.standard_normal((N, J)))
    errors = []
    for way in WAYS:
        answer = found(way, y, B, C, np.sign(w))
        errors.append(np.linalg.norm(answer / np.linalg.norm(answer) - w / np.linalg.norm(w)))
    return [bool(error <= RIGHT) for error in errors]


def draw(rows: list[Row], target: Path) -> None:
    mpl.rcParams.update({"font.size": 10})
    figure = Figure(figsize=(9, 8.2), layout="constrained")
    grid = figure.subplots(len(GAINS), len(WAYS), sharex=True, sharey=True)
    for axes, (gains, K) in zip(grid, GAINS, strict=True):
        own = [row for row in rows if (row["gains"], row["K"]) == (gains, K)]
        for ax, way in zip(axes, WAYS, strict=True):
            panel(ax, own, way)
            if gains == GAINS[0][0] and K == GAINS[0][1]:
                ax.set_title(way)
        axes[0].set_ylabel(f"{gains} gains, K = {K}\n\nsnapshots J")
    for ax in grid[-1]:
        ax.set_xlabel("N / I")
    figure.colorbar(
        grid[0][0].images[0], ax=grid, label="share of trials that find the gains, over all I"
    )
    figure.savefig(target, dpi=130)


def panel(ax: Axes, rows: list[Row], way: str) -> None:
    share = np.array(
        [
            [
                np.mean(
                    [
                        row[way] / row["trials"]
                        for row in rows
                        if row["J"] == J and row["N"] == size(row["I"], part)
                    ]
                )
                for part in SHARES
            ]
            for J in SNAPSHOTS
        ]
    )
    ax.imshow(share, origin="lower", aspect="auto", cmap="Greys_r", vmin=0, vmax=1)
    for (j, k), value in np.ndenumerate(share):
        ax.text(k, j, f"{value:.0%}", ha="center", va="center", color="#c23b22", fontsize=9)
    ax.set_xticks(range(len(SHARES)), [str(part) for part in SHARES])
    ax.set_yticks(range(len(SNAPSHOTS)), [str(J) for J in SNAPSHOTS])


def size(sensors: int, part: float) -> int:
    return round(part * sensors)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    warnings.simplefilter("ignore", nettrim.RecoveryWarning)  # counted here against the truth
    header = {**machine.header(), "trials": options.trials}
    keys = ["gains", "K", "I", "J", "N"]
    table = Table(options.output / "snapshots", "Gains told from scenes", keys, header)
    for (gains, K), I, J, part in itertools.product(GAINS, SENSORS, SNAPSHOTS, SHARES):
        about = {"gains": gains, "K": K, "I": I, "J": J, "N": size(I, part)}
        if table.has(**about):
            continue
        outcomes = [succeeds(gains, I, J, K, about["N"], seed) for seed in range(options.trials)]
        counts = np.sum(outcomes, axis=0).tolist()
        table.add({**about, "trials": options.trials, **dict(zip(WAYS, counts, strict=True))})
    draw(table.rows, options.output / "snapshots.png")


if __name__ == "__main__":
    main()
