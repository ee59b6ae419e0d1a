"""What became of the units of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Count", "SignalWidth", "Widths"]


class Count(NamedTuple):
    """How many there were, and how many are left."""

    before: int
    after: int


class SignalWidth(NamedTuple):
    """How many units a signal had, and has left.

    Attributes
    ----------
    name : str
        The first layer that writes it.
    units : Count
    """

    name: str
    units: Count


@dataclass(frozen=True)
class Widths:
    """How much smaller a model has become.

    Attributes
    ----------
    signals : tuple of SignalWidth
        Those whose units could go.
    parameters, operations : Count
        Parameters of the model, as far as its view knows them, and multiplications with them for a
        sample.
    left_out : mapping from str to str
        Layers whose outputs had to stay, and why.
    """

    signals: tuple[SignalWidth, ...]
    parameters: Count
    operations: Count
    left_out: Mapping[str, str]
