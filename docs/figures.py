"""Draw the figures of README and documentation into ``docs/_static``: ``python docs/figures.py``."""

from __future__ import annotations

from pathlib import Path

import nettrim
from nettrim.demo import load_digits

STATIC = Path(__file__).with_name("_static")


def draw_digits() -> None:
    """Draw the weights of the quickstart, before and after."""
    digits = load_digits()
    result = nettrim.trim(digits.network, digits.X, epsilon=0.05, progress=False)
    result.plot(STATIC / "digits.png")


if __name__ == "__main__":
    draw_digits()
