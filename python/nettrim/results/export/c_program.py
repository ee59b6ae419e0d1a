"""A C program as it is written: calls, the tables they read, the scratch between them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...base.arrays import Array
from ...models.network import PrunableLayer
from ...models.unfold import Window
from .exported import Unavailable
from .tables import Tables, as_float32

__all__ = ["Buffer", "CProgram"]

SCRATCH = "nettrim_scratch"


class Buffer(NamedTuple):
    """Where a signal is, its shape, and whether it may be overwritten."""

    name: str
    shape: tuple[int, ...]
    scratch: bool

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class CProgram:
    """The parts of a header, which come up on the way through a network.

    Attributes
    ----------
    tables : Tables
    calls : list of str
        The body of ``nettrim_predict``.
    scratch : list of int
        Sizes of the arrays for signals.
    position : int
        Of the layer under way, counted in the order of their calls.
    """

    def __init__(self) -> None:
        self.tables = Tables()
        self.calls: list[str] = []
        self.scratch: list[int] = []
        self.position = 0
        self._free: list[int] = []

    def call(self, kernel: str, *arguments: object) -> None:
        """Write one call."""
        self.calls.append(f"    nettrim_{kernel}({', '.join(map(str, arguments))});")

    def allocate(self, shape: tuple[int, ...]) -> Buffer:
        """Return scratch that holds nothing that is still needed."""
        if not self._free:
            self._free.append(len(self.scratch))
            self.scratch.append(0)
        number = self._free.pop()
        self.scratch[number] = max(self.scratch[number], math.prod(shape))
        return Buffer(f"{SCRATCH}{number}", shape, scratch=True)

    def release(self, place: Buffer) -> None:
        """Say that a signal is not needed any more."""
        if place.scratch:
            self._free.append(int(place.name.removeprefix(SCRATCH)))

    def writable(self, place: Buffer) -> Buffer:
        """Return a place with the same signal that may be overwritten."""
        if place.scratch:
            return place
        buffer = self.allocate(place.shape)
        self.call("copy", place.name, buffer.name, place.size)
        return buffer

    def named(self, name: str) -> str:
        """Return the name of a table of the layer under way."""
        return f"nettrim_{name}{self.position}"

    def rows(self, layer: PrunableLayer) -> tuple[str, str, str, str]:
        """Define the weights of a layer in CSR, a row for each output, and return the tables."""
        weights, bias = as_float32(layer.affine.weights).T, layer.affine.bias
        outputs, columns = np.nonzero(weights)
        return (
            self.tables.indices(self.named("counts"), np.bincount(outputs, minlength=len(weights))),
            self.tables.indices(self.named("columns"), columns),
            self.tables.floats(self.named("values"), weights[outputs, columns]),
            self.tables.floats(self.named("bias"), bias),
        )

    def channelwise(self, **values: Array) -> list[str]:
        """Define tables with a number for each channel, and return them."""
        return [self.tables.floats(self.named(name), array) for name, array in values.items()]

    def window(self, window: Window, place: Buffer) -> str:
        """Define a window over a signal; one of a single axis has a single row."""
        size, padding = place.shape[1:], tuple(before for before, _ in window.padding)
        if len(size) > 2:
            raise Unavailable(f"header has no C for windows of {len(size)} axes")
        out = window.positions(size)
        fields = (size, out, window.kernel, window.stride, padding, window.dilation)
        row = (1, 1, 1, 1, 0, 1)
        pairs = [f if len(f) == 2 else (only, *f) for f, only in zip(fields, row, strict=True)]
        numbers = [number for pair in pairs for number in pair]
        return self.tables.struct("nettrim_window", self.named("window"), numbers)
