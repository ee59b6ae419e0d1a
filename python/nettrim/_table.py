"""Plain-text tables, and what they say of the weights of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .view import LayerView


class Column(NamedTuple):
    """A heading and the side its entries stand on: "<" left, ">" right."""

    heading: str
    align: str = ">"


WEIGHTS = [Column(name) for name in ("shape", "activation", "nonzeros", "of all", "dtype")]


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: Sequence[str]) -> str:
    """Lay out rows of text under headings, each column as wide as its widest entry."""
    lines = [[column.heading for column in columns], *rows, total]
    widths = [max(map(len, entries)) for entries in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            f"{entry:{column.align}{width}}"
            for entry, column, width in zip(line, columns, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def share(part: int, whole: int) -> str:
    """Return a percentage, "" of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else ""


def weights_of(layer: LayerView) -> list[str]:
    """Return the entries under `WEIGHTS` of a layer."""
    weights = layer.affine.weights
    shape, count = "x".join(map(str, weights.shape)), int(np.count_nonzero(weights))
    return [
        shape,
        layer.activation,
        f"{count:,}",
        share(count, weights.size),
        str(layer.affine.precision),
    ]


def weights_of_all(layers: Sequence[LayerView]) -> list[str]:
    """Return the entries under `WEIGHTS` of the last line."""
    weights = [layer.affine.weights for layer in layers]
    count, size = sum(map(np.count_nonzero, weights)), sum(array.size for array in weights)
    return ["", "", f"{count:,}", share(int(count), size), ""]
