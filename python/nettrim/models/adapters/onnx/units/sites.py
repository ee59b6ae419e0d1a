"""Places of numbers in an ONNX graph: an entry of what a node reads, or of an attribute."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Site"]


class Site(NamedTuple):
    """A number that a node has.

    Attributes
    ----------
    output : str
        What the node makes first.
    slot : str
        The position of an input, or the name of an attribute.
    number : int
        Of the entry, 0 for a single number.
    """

    output: str
    slot: str
    number: int = 0

    def __str__(self) -> str:
        """Return what `Site.parse` reads."""
        return f"{self.output}/{self.slot}/{self.number}"

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read a site; names of tensors may hold slashes."""
        output, slot, number = text.rsplit("/", 2)
        return cls(output, slot, int(number))
