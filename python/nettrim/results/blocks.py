"""Layers of a deep network summed up by block, as a reader can take them in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .outcome import LayerReport

__all__ = ["MOST_ROWS", "BlockReport", "Row", "sum_up"]

MOST_ROWS = 24
NUMBERED = re.compile(r"\D*\d+")  # a part of a name: "3" or "layer3"
PART = re.compile(r"[^./]*[./]?")


@dataclass(frozen=True)
class BlockReport:
    """Several layers whose names begin alike, up to a running number: ``encoder.layer.3``.

    It answers like the `LayerReport` of one: with sums of weights and seconds, and of errors,
    bounds and gaps the largest.

    Attributes
    ----------
    name : str
    layers : tuple of LayerReport
    """

    name: str
    layers: tuple[LayerReport, ...]
    epsilon: None = None  # each layer has its own

    @property
    def nonzeros_before(self) -> int:  # noqa: D102
        return sum(layer.nonzeros_before for layer in self.layers)

    @property
    def nonzeros_after(self) -> int:  # noqa: D102
        return sum(layer.nonzeros_after for layer in self.layers)

    @property
    def discrepancy(self) -> float:  # noqa: D102
        return _largest(layer.discrepancy for layer in self.layers)

    @property
    def bound(self) -> float:  # noqa: D102
        return _largest(layer.bound for layer in self.layers)

    @property
    def held_out_discrepancy(self) -> float | None:  # noqa: D102
        return _largest_known(layer.held_out_discrepancy for layer in self.layers)

    @property
    def gap(self) -> float | None:  # noqa: D102
        return _largest_known(layer.gap for layer in self.layers)

    @property
    def seconds(self) -> float | None:  # noqa: D102
        known = [layer.seconds for layer in self.layers if layer.seconds is not None]
        return sum(known) if known else None

    @property
    def status(self) -> str:
        """That of all layers, or how many have which."""
        counts = Counter(layer.status for layer in self.layers)
        if len(counts) == 1:
            return self.layers[0].status
        return ", ".join(f"{count} {status}" for status, count in counts.items())

    @property
    def is_measured(self) -> bool:  # noqa: D102
        return all(layer.is_measured for layer in self.layers)

    @property
    def converged(self) -> bool:  # noqa: D102
        return all(layer.converged for layer in self.layers)


Row: TypeAlias = LayerReport | BlockReport


def sum_up(layers: Sequence[LayerReport]) -> Sequence[Row]:
    """Return a row for each layer, or for each block where there are too many.

    Names may have several running numbers (``stages.2.blocks.7``): as many of them tell blocks
    apart as leave no more rows than can be read, and the first one in any case.
    """
    if len(layers) <= MOST_ROWS:
        return layers
    coarsest, finer = _group(layers, 1), 2
    rows = coarsest
    while len(rows) < len(next_rows := _group(layers, finer)) <= MOST_ROWS:
        rows, finer = next_rows, finer + 1
    return rows


def _group(layers: Sequence[LayerReport], depth: int) -> list[Row]:
    """Sum up layers whose names are the same up to a running number, the first or a later one."""
    blocks: dict[str, list[LayerReport]] = {}
    for layer in layers:
        blocks.setdefault(_prefix(layer.name, depth), []).append(layer)
    return [
        BlockReport(name, tuple(own)) if len(own) > 1 else own[0] for name, own in blocks.items()
    ]


def _prefix(name: str, depth: int) -> str:
    """Return the name up to its running number, all of it if it has none.

    The last part is the layer's own name, and its number no block's.
    """
    parts = [part for part in PART.findall(name) if part]
    numbered = [k for k, part in enumerate(parts[:-1]) if NUMBERED.fullmatch(part.rstrip("./"))]
    if not numbered:
        return name
    return "".join(parts[: numbered[:depth][-1] + 1]).rstrip("./")


def _largest(values: Iterable[float]) -> float:
    """Return the largest number, NaN if one of them is not known."""
    return float(np.max([*values]))


def _largest_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _largest(known) if known else None
