"""Constant tables in C, and what they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tables", "as_float32"]

NULL = "0"
WIDTH = 100  # of a line of numbers
SHORT = (1 << 16) - 1  # the largest index of two bytes


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Round numbers to float.

    Raises
    ------
    ValueError
        If one is beyond it.
    """
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError(f"network has numbers beyond float: {np.abs(values).max():.3g}")
    return rounded


class Tables:
    """The tables of a header in the order they are made.

    Attributes
    ----------
    texts : list of str
        Their definitions.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._bytes = self._indices = self._largest = 0

    @property
    def bytes(self) -> int:
        """What they take when compiled."""
        return self._bytes + self._indices * (2 if self._largest <= SHORT else 4)

    @property
    def index_type(self) -> str:
        """The smallest of the two types of indices that holds them all."""
        return "uint16_t" if self._largest <= SHORT else "uint32_t"

    def floats(self, name: str, values: NDArray[Any] | None) -> str:
        """Define a table of numbers and return its name, of None the null pointer."""
        if values is None:
            return NULL
        rounded = as_float32(values)
        self._bytes += rounded.nbytes
        return self._array("float", name, [f"{value!s}f" for value in rounded])

    def indices(self, name: str, values: NDArray[np.intp]) -> str:
        """Define a table of indices or counts and return its name."""
        self._indices += len(values)
        self._largest = max(self._largest, int(values.max(initial=0)))
        return self._array("nettrim_index", name, list(map(str, values)))

    def struct(self, kind: str, name: str, fields: Sequence[int]) -> str:
        """Define a struct of 32-bit integers and return its address."""
        self._bytes += 4 * len(fields)
        self.texts.append(f"static const {kind} {name} = {{{', '.join(map(str, fields))}}};")
        return f"&{name}"

    def _array(self, kind: str, name: str, entries: Sequence[str]) -> str:
        lines = [""]
        for entry in entries or ["0"]:  # C has no empty arrays
            if len(lines[-1]) + len(entry) + 6 > WIDTH:
                lines.append("")
            lines[-1] += f" {entry},"
        content = "\n".join(f"   {line}" for line in lines)
        self.texts.append(f"static const {kind} {name}[] = {{\n{content}\n}};")
        return name
