"""Pictures of weight matrices: where weights are, and where none are left."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import AnyFloat, Array

__all__ = ["draw_pattern", "measure_density"]

CELLS = 160  # along an axis at most
PIXELS = 320  # along an axis at least: browsers smooth what they enlarge
INK = (63, 134, 196)  # stands out from white and from black


def draw_pattern(weights: AnyFloat) -> str:
    """Return a PNG of the density as a data URI; its shade is the root of the share kept."""
    shades = np.rint(255 * np.sqrt(measure_density(weights))).astype(np.uint8)
    for axis, length in enumerate(shades.shape):
        shades = shades.repeat(-(-PIXELS // length), axis=axis)
    return f"data:image/png;base64,{base64.b64encode(_png(shades)).decode()}"


def measure_density(weights: AnyFloat) -> Array:
    """Return the share of nonzero weights in each cell of a grid that is fine enough to look at."""
    shares: NDArray[Any] = weights != 0
    for axis, length in enumerate(weights.shape):
        if length > CELLS:
            edges = np.arange(CELLS) * length // CELLS
            sizes = np.diff(edges, append=length)
            sums = np.add.reduceat(shares, edges, axis=axis, dtype=np.float64)
            shares = sums / np.expand_dims(sizes, 1 - axis)
    return shares.astype(np.float64)


def _png(shades: NDArray[np.uint8]) -> bytes:
    """Encode opacities of one colour: a palette of 256 steps (PNG specification, 11.2 and 11.3)."""
    height, width = shades.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # a leading 0: the row is not filtered
    rows[:, 1:] = shades
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", bytes(INK) * 256),
            _chunk(b"tRNS", bytes(range(256))),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
