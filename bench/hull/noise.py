"""l1-BranchHull on noisy products: how does the error of the signals grow with that of the data?

    python -m bench.hull.noise [--trials 10] [--threads 1]

Signals of +1 on 7 of 140 coefficients each, 150 measurements, y = w x (1 + xi) with xi of Euclidean
norm alpha. The error is that of the outer product of the coefficients, relative; solves are
certified to 1e-7. The straight line has the slope of the published figure: .038 alpha.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import nettrim
from bench.common import machine
from bench.common.tables import RESULTS, Row, Table

MEASUREMENTS, SIZE, SUPPORT = 150, 140, 7
ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SLOPE = 0.038


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def trial(alpha: float, seed: int) -> tuple[float, float]:
    """The error of the answer and the largest relative error of a measurement."""
    rng = np.random.default_rng(seed)
    B, C = rng.standard_normal((2, MEASUREMENTS, SIZE)) / np.sqrt(MEASUREMENTS)
    h, m = np.zeros((2, SIZE))
    for x in (h, m):
        x[rng.choice(SIZE, SUPPORT, replace=False)] = 1
    noise = rng.standard_normal(MEASUREMENTS)
    noise *= alpha / np.linalg.norm(noise)
    w = B @ h
    s = nettrim.branch_hull(
        w * (C @ m) * (1 + noise), B, C, signs=w, tol=1e-7, n_threads=machine.threads()
    )
    if not s.converged:
        raise RuntimeError(f"alpha {alpha}, seed {seed}: {s.status}")
    found, truth = np.outer(s.h, s.m), np.outer(h, m)
    found, truth = found / np.linalg.norm(found), truth / np.linalg.norm(truth)
    return float(np.linalg.norm(found - truth)), float(np.abs(noise).max())


def draw(rows: list[Row], path: Path) -> None:
    mpl.use("Agg")
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    alpha, mean, spread = (np.array([row[key] for row in rows]) for key in ("alpha", "mean", "std"))
    axes.errorbar(alpha, mean, spread, fmt="o", color="#c8553d", capsize=3, label="nettrim")
    axes.plot(alpha, SLOPE * alpha, color="#888888", linewidth=1, label=f"{SLOPE} alpha")
    axes.set(xlabel="norm of the noise, alpha", ylabel="error of the signals", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    path = options.output / "noise"
    table = Table(path, "Error of the signals under noise", ["alpha", "trials"], machine.header())
    for alpha in ALPHAS:
        if table.has(alpha=alpha, trials=options.trials):
            continue
        results = np.array([trial(alpha, seed) for seed in range(options.trials)])
        errors, noise = results.T
        about = {"alpha": alpha, "trials": options.trials, "mean": float(errors.mean())}
        table.add({**about, "std": float(errors.std()), "max |xi|": float(noise.mean())})
    draw(table.rows, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
