"""A page in bad light: the print without the shadow. Needs scikit-image, for the page.

    python page_illumination.py [page.png]

The price of illumination is high here (mu=1000): strokes are two or three pixels wide, and what is
narrow must be worth its edges. Beside it the usual way, least total variation of the logarithm.
"""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from skimage import data

import nettrim

image = data.page().astype(float)
hull = nettrim.separate_image(image, modes=15, mu=1000, slack=10_000)
log = nettrim.separate_image(image, modes=15, method="log")
print(hull)
print(log)

mpl.use("Agg")
figure = Figure(figsize=(12, 4.6), layout="constrained")
for row, (title, found) in zip(
    figure.subplots(2, 3), (("hulls", hull), ("logarithms", log)), strict=True
):
    for axes, name, picture in zip(
        row,
        ("image", f"reflectance by {title}", f"illumination by {title}"),
        (image, found.reflectance, found.illumination),
        strict=True,
    ):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=np.quantile(picture, 0.995))
        axes.set(title=name, xticks=[], yticks=[])
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "page.png", dpi=150)
