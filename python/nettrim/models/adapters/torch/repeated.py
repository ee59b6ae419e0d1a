"""What arrives at layers that a model calls more than once, recorded while their weights stay."""

from __future__ import annotations

from collections.abc import Mapping

from ....base.arrays import Array
from ...layer_view import Affine
from ...samples import Data
from .run import Arrival, Runner

__all__ = ["RepeatedInputs"]

BUDGET = 1 << 29  # bytes of signals that a walk holds at a time; two of them go in step


class RepeatedInputs:
    """The inputs of all calls of layers, in a walk that asks for one layer after the other.

    It takes a pass through the model to know those of one layer. As long as weights stay it serves
    as many of the next layers as there is room for.

    Parameters
    ----------
    runner : Runner
    X : ndarray of shape (n_samples, ...) or Samples
    arrivals : mapping of str to Arrival
        The layers, in the order in which they are asked for.
    """

    def __init__(self, runner: Runner, X: Data, arrivals: Mapping[str, Arrival]) -> None:
        self._runner, self._X = runner, X
        self._next = dict(arrivals)
        self._held: dict[str, Array] = {}
        self._seen: dict[int, Affine] | None = None

    def take(self, name: str, weights: Mapping[int, Affine]) -> Array:
        """Return what arrives at a layer, once; the model that runs has these weights.

        Parameters
        ----------
        name : str
        weights : mapping of int to Affine
        """
        changed = self._seen is not None and not _are_same(self._seen, weights)
        if changed or name not in self._held:
            # What changed once will change again behind this layer.
            axes = {name: self._next[name].axis} if changed else self._affordable()
            self._held.clear()
            self._held = self._runner.inputs_of_calls(self._X, axes)
            self._seen = dict(weights)
        del self._next[name]
        return self._held.pop(name)

    def _affordable(self) -> dict[str, int]:
        """Return the next layers for which there is room, at least one, and their axes."""
        chosen: dict[str, int] = {}
        total = 0
        for name, arrival in self._next.items():
            total += 8 * len(self._X) * arrival.entries * arrival.n_calls
            if chosen and total > BUDGET:
                break
            chosen[name] = arrival.axis
        return chosen


def _are_same(one: Mapping[int, Affine], other: Mapping[int, Affine]) -> bool:
    """Tell whether two mappings hold the same objects."""
    return one.keys() == other.keys() and all(one[k] is other[k] for k in one)
