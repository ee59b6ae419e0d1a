"""Where echoes are and how strong, recorded while the gain of the receiver drifts.

    python sweep_distortion.py [sweep.png]

Every layer in front of the scanner returns the sweep once more, later and weaker, and the receiver
multiplies the sum by a gain that is positive and drifts slowly. The shape of the sweep is known.
Noise of at most 2 % is taken off the data: products may then only be larger than what is asked for.
"""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import nettrim

SAMPLES, WAVES, PLACES, LENGTH, NOISE = 240, 5, 80, 0.5, 0.02
CHEAPER = 100  # are waves than the constant: nothing is to be gained by a drift left out

rng = np.random.default_rng(4)
time = (np.arange(SAMPLES) + 0.5) / SAMPLES
B = np.cos(np.pi * time[:, None] * np.arange(WAVES))
since = time[:, None] - np.arange(PLACES) / PLACES * (1 - LENGTH)
sweep = np.sin(np.pi * since / LENGTH) * np.cos(2 * np.pi * (8 * since + 80 * since**2))
C = np.where((since > 0) & (since < LENGTH), sweep, 0.0)
echoes = np.zeros(PLACES)
echoes[[9, 22, 31, 47, 52, 66]] = [1.0, -0.6, 0.8, 0.5, -0.9, 0.7]
drift = B @ np.array([1.0, 0.45, 0.0, -0.25, 0.0])
B[:, 1:] *= CHEAPER  # a long column has a small coefficient
record = drift * (C @ echoes) * (1 + NOISE * rng.uniform(-1, 1, SAMPLES))

found = nettrim.branch_hull(record / (1 + NOISE), B, C, signs=1)
found = found.rescale(norm_w=float(np.linalg.norm(drift)))
print(found)
strongest = np.sort(np.argsort(-np.abs(found.m))[:6])
print(
    f"six strongest echoes at {strongest.tolist()}, in truth at {np.flatnonzero(echoes).tolist()}"
)

mpl.use("Agg")
figure = Figure(figsize=(9, 6), layout="constrained")
top, middle, bottom = figure.subplots(3, 1)
top.plot(time, record, color="#333333", linewidth=1)
top.set(title="recorded")
middle.plot(time, drift, color="#333333", linewidth=3, alpha=0.3, label="true")
middle.plot(time, found.w, color="#c8553d", linewidth=1.2, label="found")
middle.set(title="gain", ylim=(0, None))
middle.legend(frameon=False)
place = np.arange(PLACES) / PLACES * (1 - LENGTH)
bottom.vlines(place, 0, echoes, color="#333333", linewidth=5, alpha=0.3)
bottom.vlines(place, 0, found.m, color="#c8553d", linewidth=1.5)
bottom.axhline(0, color="#888888", linewidth=0.6)
bottom.set(title="echoes", xlabel="time of arrival")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "sweep.png", dpi=150)
