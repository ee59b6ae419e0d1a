"""Gains and scene, from sensors of unknown gain that look at an unknown scene.

    python gain_calibration.py [gains.png]

Every sensor multiplies what it measures by its own gain. Gains are positive and vary slowly from
one sensor to the next: a few cosines. The scene changes its sign and lies in a known subspace. One
measurement of each sensor is then enough for both, up to one common factor.
"""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import nettrim

SENSORS, WAVES, SCENE = 128, 4, 30

rng = np.random.default_rng(0)
position = (np.arange(SENSORS) + 0.5) / SENSORS
B = np.cos(np.pi * position[:, None] * np.arange(WAVES))
C = rng.standard_normal((SENSORS, SCENE))
gain = B @ np.array([1.0, 0.35, -0.3, 0.2])
scene = C @ rng.standard_normal(SCENE)

found = nettrim.branch_hull(gain * scene, B, C, signs=1, regularizer="l2")
found = found.rescale(norm_w=float(np.linalg.norm(gain)))
print(found)
print(f"largest error of a gain: {np.abs(found.w - gain).max():.1e}")

mpl.use("Agg")
figure = Figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(gain * scene, ".", color="#888888", markersize=4)
left.set(title="what the sensors say", xlabel="sensor")
right.plot(gain, color="#333333", linewidth=3, alpha=0.3, label="true gain")
right.plot(found.w, color="#c8553d", linewidth=1.2, label="found")
right.set(title="their gains", xlabel="sensor", ylim=(0, None))
right.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "gains.png", dpi=150)
