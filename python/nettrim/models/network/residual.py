"""Sections of a network around which the signal also goes directly."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from ...base.arrays import Array
from ..layer_view import Affine, Signal
from .layer import (
    Layer,
    PrunableLayer,
    SignalWalk,
    check_layers,
    name_layers,
    pack_layers,
    unpack_layers,
)

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
        self.body = check_layers(body, "body")
        self.shortcut = check_layers(shortcut, "shortcut") if len(shortcut) else ()

    def __repr__(self) -> str:
        """Return the layers inside."""
        shortcut = f", shortcut={list(self.shortcut)}" if self.shortcut else ""
        return f"Residual({list(self.body)}{shortcut})"

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Refuse: `walk` adds up what the layers inside do."""
        raise NotImplementedError

    def forward(self, X: Array) -> Array:
        """Return the sum."""
        return _apply_layers(self.body, X) + _apply_layers(self.shortcut, X)

    def prunable(self) -> Sequence[tuple[str, PrunableLayer]]:
        """Return the layers inside, those of the body first."""
        shortcut = [(f"shortcut.{name}", layer) for name, layer in name_layers(self.shortcut)]
        return [*name_layers(self.body), *shortcut]

    def with_affines(self, affines: Iterator[Affine | None]) -> Residual:
        """Return the same with other weights."""
        body = [layer.with_affines(affines) for layer in self.body]
        return Residual(body, [layer.with_affines(affines) for layer in self.shortcut])

    def walk(self, signal: Signal, walk: SignalWalk) -> Generator[Signal, None, Signal]:
        """Yield what arrives at the layers inside; Lipschitz constants of both ways add up."""
        ends = []
        for layers in (self.body, self.shortcut):
            end = signal
            for layer in layers:
                end = yield from layer.walk(end, walk)
            ends.append(end)
        lipschitz = dict(ends[0].lipschitz)
        for position, constant in ends[1].lipschitz.items():
            lipschitz[position] = lipschitz.get(position, 0.0) + constant
        return Signal(ends[0].values + ends[1].values, lipschitz)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of both chains."""
        return {
            **{f"body.{key}": value for key, value in pack_layers(self.body).items()},
            **{f"shortcut.{key}": value for key, value in pack_layers(self.shortcut).items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Residual:
        """Build the section from what `to_arrays` returned."""
        chains = [
            unpack_layers({k.removeprefix(p): v for k, v in arrays.items() if k.startswith(p)})
            for p in ("body.", "shortcut.")
        ]
        return cls(*chains)


def _apply_layers(layers: Sequence[Layer], X: Array) -> Array:
    for layer in layers:
        X = layer.forward(X)
    return X
