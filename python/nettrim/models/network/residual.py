"""Sections of a network around which the signal also goes directly."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from ...base.arrays import Array
from ..model_view import Affine, Signal
from .layer import Layer, PrunableLayer, Walk, checked_layers, named, packed, unpacked

__all__ = ["Residual"]


class Residual(Layer):
    """The sum of what two chains of layers make of one signal.

    Parameters
    ----------
    body : sequence of Layer
    shortcut : sequence of Layer, default ()
        Empty: the signal as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from nettrim.models.network import Dense
    >>> section = Residual([Dense(-np.eye(2)), Dense(np.eye(2), activation="linear")])
    >>> section.forward(np.array([[1.0, -3.0]]))
    array([[1., 0.]])
    """

    kind: ClassVar[str] = "residual"

    def __init__(self, body: Sequence[Layer], shortcut: Sequence[Layer] = ()) -> None:
        self.body = checked_layers(body, "body")
        self.shortcut = checked_layers(shortcut, "shortcut") if len(shortcut) else ()

    def __repr__(self) -> str:
        """Return the layers inside."""
        shortcut = f", shortcut={list(self.shortcut)}" if self.shortcut else ""
        return f"Residual({list(self.body)}{shortcut})"

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Refuse: `walk` adds up what the layers inside do."""
        raise NotImplementedError

    def forward(self, X: Array) -> Array:
        """Return the sum."""
        return _along(self.body, X) + _along(self.shortcut, X)

    def prunable(self) -> Sequence[tuple[str, PrunableLayer]]:
        """Return the layers inside, those of the body first."""
        shortcut = [(f"shortcut.{name}", layer) for name, layer in named(self.shortcut)]
        return [*named(self.body), *shortcut]

    def with_affines(self, affines: Iterator[Affine | None]) -> Residual:
        """Return the same with other weights."""
        body = [layer.with_affines(affines) for layer in self.body]
        return Residual(body, [layer.with_affines(affines) for layer in self.shortcut])

    def walk(self, signal: Signal, walk: Walk) -> Generator[Signal, None, Signal]:
        """Yield what arrives at the layers inside; gains of both ways add up."""
        ends = []
        for layers in (self.body, self.shortcut):
            end = signal
            for layer in layers:
                end = yield from layer.walk(end, walk)
            ends.append(end)
        gains = dict(ends[0].gains)
        for position, gain in ends[1].gains.items():
            gains[position] = gains.get(position, 0.0) + gain
        return Signal(ends[0].values + ends[1].values, gains)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of both chains."""
        return {
            **{f"body.{key}": value for key, value in packed(self.body).items()},
            **{f"shortcut.{key}": value for key, value in packed(self.shortcut).items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Residual:
        """Build the section from what `to_arrays` returned."""
        chains = [
            unpacked({k.removeprefix(p): v for k, v in arrays.items() if k.startswith(p)})
            for p in ("body.", "shortcut.")
        ]
        return cls(*chains)


def _along(layers: Sequence[Layer], X: Array) -> Array:
    for layer in layers:
        X = layer.forward(X)
    return X
