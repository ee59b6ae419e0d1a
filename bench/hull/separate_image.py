"""Reflectance and illumination of an image: time to a gap of 1e-4, and the reflectance's error.

    python -m bench.hull.separate_image [--threads 2]

A reflectance of three levels under an illumination of slow cosines. The last case takes as many
modes as the published experiment on an image of its size. The errors of a constant and of the
square root of the image say how hard the scene is; logarithms are the usual way to separate the
two.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import nettrim
from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Table

CASES = ((16, 10), (32, 10), (64, 10), (115, 10), (115, 400))  # side, modes


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def scene(n: int) -> tuple[Array, Array]:
    w = np.ones((n, n))
    w[n // 4 : n // 2, n // 5 : 3 * n // 5] = 2
    w[5 * n // 8 : 7 * n // 8, n // 2 :] = 0.5
    one, two = (np.cos(np.pi * k * (np.arange(n) + 0.5) / n) for k in (1, 2))
    return w, 1 + 0.25 * one[:, None] - 0.2 * one + 0.1 * np.outer(two, one)


def error(found: Array, truth: Array) -> float:
    found, truth = found / found.mean(), truth / truth.mean()
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    title = "Reflectance times illumination"
    table = Table(
        options.output / "separate_image", title, ["side", "modes", "method"], machine.header()
    )
    for n, modes in CASES:
        w, x = scene(n)
        for method in ("hull", "log"):
            if table.has(side=n, modes=modes, method=method) or (method, modes) == ("log", 400):
                continue
            s = nettrim.separate_image(
                w * x, modes=modes, method=method, n_threads=machine.threads()
            )
            about = {"side": n, "modes": modes, "method": method, "status": s.status, "gap": s.gap}
            errors = {
                "error": error(s.reflectance, w),
                "of a constant": error(np.ones_like(w), w),
                "of the root": error(np.sqrt(w * x), w),
            }
            table.add({**about, "steps": s.iterations, "seconds": s.seconds, **errors})


if __name__ == "__main__":
    main()
