"""Gains and light of real recordings, by hulls and by logarithms, in the same units.

    python -m bench.hull.real_data [--threads 2]

Needs PyWavelets and scikit-image, for their data.

* ecg: 1,024 samples of an electrocardiogram times a gain that drifts, three cosines. The heart lies
  in the span of the slowest quarter of the cosines, but for 7 %; samples below 2 % of the largest
  say nothing of their sign and are left out. Units: error of the gain, up to its scale.
* vignette: a photograph (every fourth pixel) times a vignette. Units: error of the vignette.
* page: a page photographed in bad light. Units: spread of the paper, standard deviation over mean
  of the pixels that are as bright as their neighbourhood, after the light is divided out.

Logarithms turn a product into a sum: least squares and least absolute deviations of log |y| on
modes, and total variation of what modes leave.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pywt
import scipy
from matplotlib.figure import Figure
from skimage import data

import nettrim
from bench.common import machine
from bench.common.data import Array
from bench.common.tables import RESULTS, Table

Found = Iterator[tuple[str, Array]]  # names of methods, and the gains or the light they find

DRIFT = (1.0, 0.3, -0.2)
BAND, ROUNDS = 256, 5
LEAST, OTHERS = 0.02, (0.0, 0.05, 0.1)  # of the largest sample; and how much that matters
MODES = {"vignette": 10, "page": 15}
PRICES = {"vignette": {}, "page": {"mu": 1000, "slack": 10_000}}  # strokes are three pixels wide
NEIGHBOURHOOD = 15


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def cosines(n: int, count: int) -> Array:
    return np.cos(np.pi * (np.arange(n)[:, None] + 0.5) / n * np.arange(count))


def error(found: Array, truth: Array) -> float:
    """Relative, at unit size."""
    a, b = found / np.linalg.norm(found), truth / np.linalg.norm(truth)
    return float(np.linalg.norm(a - b))


# --- gains ----------------------------------------------------------------------------------------


def heart() -> tuple[Array, Array]:
    signal = pywt.data.ecg().astype(float)
    return signal - np.median(signal), cosines(len(signal), len(DRIFT)) @ DRIFT


def gains(y: Array) -> Found:
    slow = cosines(len(y), len(DRIFT))
    yield "none", np.ones(len(y))
    yield "logarithms, least squares", least_squares(slow, y)
    yield "logarithms, absolute deviations", absolute_deviations(slow, y)
    C = np.linalg.qr(cosines(len(y), BAND))[0]
    first, *_, last = by_hulls(slow, C, y, LEAST)
    yield "hulls", first
    yield "hulls, divided out", last
    for least in OTHERS:
        *_, last = by_hulls(slow, C, y, least)
        yield f"hulls, divided out, above {least:.0%}", last


def least_squares(slow: Array, y: Array) -> Array:
    seen = y != 0
    return np.exp(slow @ np.linalg.lstsq(slow[seen], np.log(np.abs(y[seen])), rcond=None)[0])


def absolute_deviations(slow: Array, y: Array) -> Array:
    seen = y != 0
    A, K, n = slow[seen], slow.shape[1], int(seen.sum())
    result = scipy.optimize.linprog(
        np.append(np.zeros(K), np.ones(2 * n)),
        A_eq=np.hstack([A, np.eye(n), -np.eye(n)]),
        b_eq=np.log(np.abs(y[seen])),
        bounds=[(None, None)] * K + [(0, None)] * (2 * n),
        method="highs",
    )
    return np.exp(slow @ result.x[:K])


def by_hulls(slow: Array, C: Array, y: Array, least: float) -> Iterator[Array]:
    """Orthonormal columns; then what was found is divided out, and the rest is asked for."""
    signs = np.abs(y) > least * np.abs(y).max()
    w = np.ones(len(y))
    for _ in range(ROUNDS + 1):
        B = np.linalg.qr(slow / w[:, None])[0]
        rest = nettrim.branch_hull(
            y / w, B, C, signs=signs, regularizer="l2", n_threads=machine.threads()
        )
        w = w * rest.w / np.linalg.norm(w * rest.w)
        yield w


# --- light ----------------------------------------------------------------------------------------


def photograph() -> tuple[Array, Array]:
    picture = data.camera()[::4, ::4] + 1.0
    across, down = np.meshgrid(*(np.linspace(-1, 1, n) for n in picture.shape))
    return picture, 1 / (1 + 0.5 * (across**2 + down**2)) ** 2


def lights(image: Array, name: str) -> Found:
    yield "none", np.ones(image.shape)
    yield "logarithms, least squares", fitted_light(image, MODES[name])
    for title, method in (("logarithms, total variation", "log"), ("hulls", "hull")):
        prices = PRICES[name] if method == "hull" else {}
        found = nettrim.separate_image(
            image, modes=MODES[name], method=method, n_threads=machine.threads(), **prices
        )
        print(found)
        yield title, found.illumination


def fitted_light(image: Array, count: int) -> Array:
    """Of the slowest products of cosines, as `nettrim.separate_image` takes them."""
    height, width = image.shape
    pairs = sorted(np.ndindex(count, count), key=lambda pair: (sum(pair), pair))[:count]
    rows, columns = cosines(height, count), cosines(width, count)
    modes = np.stack([np.outer(rows[:, i], columns[:, j]).ravel() for i, j in pairs], axis=1)
    return least_squares(modes, image.ravel()).reshape(image.shape)


def paper_spread(image: Array, light: Array) -> float:
    bright = image >= 0.9 * scipy.ndimage.maximum_filter(image, NEIGHBOURHOOD)
    paper = (image / light)[bright]
    return float(paper.std() / paper.mean())


# --- tables and pictures --------------------------------------------------------------------------


def draw_gains(y: Array, truth: Array, found: dict[str, Array], target: Path) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(y, color="#444444", linewidth=0.8)
    left.set(title="electrocardiogram with a drifting gain", xlabel="sample")
    right.plot(truth / truth.mean(), color="#333333", linewidth=4, alpha=0.3, label="true gain")
    for name, style in (
        ("logarithms, least squares", "--"),
        ("logarithms, absolute deviations", "-."),
        ("hulls", "-"),
        ("hulls, divided out", "-"),
    ):
        right.plot(found[name] / found[name].mean(), style, linewidth=1.3, label=name)
    right.set(title="its gain", xlabel="sample", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    figure.savefig(target, dpi=120)


def draw_lights(image: Array, found: dict[str, Array], target: Path) -> None:
    height = 2 * 3.1 * image.shape[0] / image.shape[1] + 0.6
    figure = Figure(figsize=(3.1 * len(found), height), layout="constrained")
    for (name, light), (above, below) in zip(
        found.items(), figure.subplots(2, len(found)).T, strict=True
    ):
        rest = image / light
        pictures = ((above, rest, "as it is" if name == "none" else name), (below, light, "light"))
        for axes, picture, title in pictures:
            axes.imshow(picture, cmap="gray", vmin=0, vmax=np.quantile(picture, 0.99))
            axes.set_title(title, fontsize=9)
            axes.set(xticks=[], yticks=[])
    figure.savefig(target, dpi=120)


def main() -> None:
    options = arguments()
    machine.use_threads(options.threads)
    mpl.use("Agg")
    warnings.simplefilter("ignore", nettrim.RecoveryWarning)  # nothing real is free of noise
    table = Table(
        options.output / "real_data", "Real recordings", ["data", "method"], machine.header()
    )
    signal, drift = heart()
    picture, vignette = photograph()
    page = data.page().astype(float)
    found = {
        "ecg": dict(gains(drift * signal)),
        "vignette": dict(lights(picture * vignette, "vignette")),
        "page": dict(lights(page, "page")),
    }
    scores = {
        "ecg": lambda gain: error(gain, drift),
        "vignette": lambda light: error(light, vignette),
        "page": lambda light: paper_spread(page, light),
    }
    for name, answers in found.items():
        for method, answer in answers.items():
            if not table.has(data=name, method=method):
                table.add({"data": name, "method": method, "error": scores[name](answer)})
    draw_gains(drift * signal, drift, found["ecg"], options.output / "real_ecg.png")
    draw_lights(picture * vignette, found["vignette"], options.output / "real_vignette.png")
    draw_lights(page, found["page"], options.output / "real_page.png")


if __name__ == "__main__":
    main()
