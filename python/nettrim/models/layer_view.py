"""What a layer tells `nettrim.trim`, whatever framework its model comes from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..base.arrays import AnyFloat, Array
from .picked_rows import PickedRows

ACTIVATIONS = ("relu", "linear")
BATCH = 1 << 20  # entries of unfolded signals that are held at a time: they fit into caches


class Precision(NamedTuple):
    """A type of numbers.

    Attributes
    ----------
    name : str
    epsilon : float
        The distance from 1 to the next one.
    """

    name: str
    epsilon: float

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> Precision:
        """Return that of a type of NumPy."""
        return cls(dtype.name, float(np.finfo(dtype).eps))


class Affine(NamedTuple):
    """The map ``x -> x @ weights + bias`` of one layer, on rows of features.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_outputs)
        Any float precision; the arithmetic is float64.
    bias : ndarray of shape (n_outputs,) or None
        None for a layer without a bias.
    groups : int
        A row holds the features of so many groups side by side, and every group has as many outputs
        as the others, which see the features of their group alone.
    fixed_bias : bool
        Whether the bias stays as it is; otherwise it is a row of the layer program's variable.
    """

    weights: AnyFloat
    bias: AnyFloat | None = None
    groups: int = 1
    fixed_bias: bool = False

    @property
    def precision(self) -> Precision:
        """What the model stores the weights in; an answer is rounded to it."""
        return Precision.of(self.weights.dtype)

    @property
    def stacked(self) -> Array:
        """The program's variable in float64: the weights, and a bias that is not fixed below."""
        if self.bias is None or self.fixed_bias:
            return self.weights.astype(np.float64)
        return np.vstack([self.weights, self.bias]).astype(np.float64)

    @property
    def offset(self) -> Array:
        """What is added to the program's signal: the fixed bias, or zeros."""
        if self.bias is None or not self.fixed_bias:
            return np.zeros(self.weights.shape[1])
        return self.bias.astype(np.float64)

    def inputs(self, rows: AnyFloat) -> Array:
        """Return rows in float64, followed by a column of ones for a bias that is not fixed."""
        values: Array = np.ascontiguousarray(rows, dtype=np.float64)
        if self.bias is None or self.fixed_bias:
            return values
        return np.column_stack([values, np.ones(len(values))])

    def apply(self, rows: AnyFloat) -> Array:
        """Return the image of every row, in float64."""
        inputs, weights = self.inputs(rows), self.stacked
        if self.groups == 1:
            signals: Array = inputs @ weights
            signals += self.offset
            return signals
        by_group = inputs.reshape(len(inputs), self.groups, -1).swapaxes(0, 1)
        columns = weights.reshape(len(weights), self.groups, -1).swapaxes(0, 1)
        return (by_group @ columns).swapaxes(0, 1).reshape(len(inputs), -1) + self.offset

    def rounded(self, values: Array, stored: AnyFloat) -> AnyFloat:
        """Round numbers as the model would if it stored them in place of weights or bias."""
        with np.errstate(under="ignore"):
            return values.astype(stored.dtype)

    def replaced(self, stacked: Array) -> Affine:
        """Split a program's variable again, rounded to this map's precision.

        A bias below the weights replaces a fixed one too; see `LayerView.bias_can_change`.
        """
        if self.bias is None or len(stacked) == len(self.weights):
            return self._replace(weights=self.rounded(stacked, self.weights))
        weights, bias = stacked[:-1], stacked[-1]
        return self._replace(
            weights=self.rounded(weights, self.weights), bias=self.rounded(bias, self.bias)
        )


def rows_of_features(values: Array) -> Array:
    """Return the last axis as features and all the others as rows."""
    return values.reshape(-1, values.shape[-1])


@dataclass(frozen=True)
class LayerView:
    """A prunable layer as `trim` sees it.

    Attributes
    ----------
    name : str
        How the layer is called in tables, messages and the argument ``layers``.
    affine : Affine
        Its weights.
    activation : {"relu", "linear"}
        What follows the affine map.
    lipschitz : callable
        Takes an `Affine` of the same shape and the shape of the layer's input, and returns a
        Lipschitz constant, in the Frobenius norm, of the layer with those weights.
    unfold : callable
        Takes the layer's input for some samples, of shape (n_samples, ...), and returns the rows
        that meet the affine map, equally many for each sample and sample by sample: one row for a
        dense layer, one for each position of a convolution.
    layer_class : type or None
        What the layer is in its framework, by which it can be chosen; None if it has none.
    follower : str or None
        The smooth activation behind a linear layer, as `nettrim.solve_layer_budget` calls it.
        Errors and bounds of the layer speak of what comes in front of it all the same.
    factor : str or None
        The name of a linear layer of the same input by whose output, behind its follower, this
        one's is multiplied, as in gated linear units.
    left_out : str or None
        Why the layer is pruned only where `nettrim.trim` is told its name, in a few words that
        complete "left alone: "; None for layers that are pruned by default.
    bias_can_change : bool
        Whether the model takes another bias along with other weights although that of the affine
        map is fixed, for methods that prove nothing.
    meets_picked_rows : bool
        Whether the model picks what arrives there, and how many rows (see `Signal.rows`).
    unfold_some : callable or None
        As `unfold`, but takes the ascending numbers of some rows as well and returns these alone;
        None where there is no shorter way to them.
    """

    name: str
    affine: Affine
    activation: str
    lipschitz: Callable[[Affine, tuple[int, ...]], float]
    unfold: Callable[[Array], Array] = rows_of_features
    layer_class: type | None = None
    follower: str | None = None
    factor: str | None = None
    left_out: str | None = None
    bias_can_change: bool = False
    meets_picked_rows: bool = False
    unfold_some: Callable[[Array, NDArray[np.intp]], Array] | None = None

    @property
    def with_free_bias(self) -> LayerView:
        """The layer with a bias that is a variable like its weights, if it can be one."""
        if not self.bias_can_change or self.affine.bias is None:
            return self
        return replace(self, affine=self.affine._replace(fixed_bias=False))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of inputs (of a group) and outputs."""
        n_features, n_outputs = self.affine.weights.shape
        return n_features, n_outputs

    def count_rows(self, values: Array) -> int:
        """Return how many rows samples are unfolded into, equally many each."""
        return len(self.unfold(values[:1])) * len(values)

    def apply(self, affine: Affine, values: Array) -> Array:
        """Return the rows of the layer's output before the activation, under given weights."""
        return self._map(affine.apply, affine.weights.shape[1], values)

    def respond(self, affine: Affine, values: Array) -> Array:
        """Return the rows of the layer's output, under given weights."""

        def respond(rows: Array) -> Array:
            return activate(affine.apply(rows), self.activation)

        return self._map(respond, affine.weights.shape[1], values)

    def chosen_rows(self, values: Array, chosen: NDArray[np.intp] | None) -> Array:
        """Return some of the unfolded rows, by ascending number; None stands for all of them."""
        if chosen is None:
            return self.unfold(values)
        if self.unfold_some is not None:
            return self.unfold_some(values, chosen)
        parts, first = [], 0
        for rows in self._unfolded(values):
            begin, end = np.searchsorted(chosen, [first, first + len(rows)])
            parts.append(rows[chosen[begin:end] - first])
            first += len(rows)
        return np.concatenate(parts)

    def _map(self, function: Callable[[Array], Array], n_outputs: int, values: Array) -> Array:
        """Return what a function gives for the unfolded rows, computed where caches hold them."""
        result, first = np.empty((self.count_rows(values), n_outputs)), 0
        for rows in self._unfolded(values):
            result[first : first + len(rows)] = function(rows)
            first += len(rows)
        return result

    def _unfolded(self, values: Array) -> Iterator[Array]:
        """Unfold as many samples at a time as are affordable."""
        size = max(1, BATCH // max(1, self.unfold(values[:1]).size))
        for first in range(0, max(1, len(values)), size):
            yield self.unfold(values[first : first + size])


class Untouched(NamedTuple):
    """A weight of two or more dimensions that is left as it is.

    Attributes
    ----------
    name : str
        What the model calls it.
    shape : tuple of int
    nonzeros : int
        Entries that are not zero; of a quantised weight, those that do not stand for zero.
    reason : str
        Why, in a few words that complete "left alone: ".
    """

    name: str
    shape: tuple[int, ...]
    nonzeros: int
    reason: str

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class Signal(NamedTuple):
    """What arrives at a prunable layer, or at an output of the model.

    Attributes
    ----------
    values : ndarray of shape (n_samples, ...)
        float64.
    lipschitz : mapping from int to float
        If the outputs of the prunable layers, by position, move by at most ``d[k]`` each, this
        signal moves by at most ``sum(lipschitz[k] * d[k])`` in the Frobenius norm. Empty for the
        data; infinite where nothing is known of what lies between. The layer itself and later ones
        are among them where their outputs arrive there again, as in a recurrent one.
    rows : PickedRows or None
        Which of all rows these are, along the first axis, where the model picks them: an expert
        meets the tokens that are routed to it. None where what arrives is that of all samples.
    """

    values: NDArray[np.float64]
    lipschitz: Mapping[int, float] = {}
    rows: PickedRows | None = None

    def paired_with(self, current: Signal) -> tuple[Signal, Signal]:
        """Return what arrives here and, under other weights, there as rows that go together.

        Of rows that the model picks all that arrive under the other weights; those that do not
        arrive here, or of which that is not known, stand for both. Where none arrive, those here.
        """
        if self.rows is None and current.rows is None:
            return self, current
        if not len(current.values):
            return self, self
        if self.rows is None or current.rows is None:
            return current, current
        here, there = self.rows.shared_with(current.rows)
        if not len(here):
            return current, current
        values = current.values.copy()
        values[there] = self.values[here]
        return self._replace(values=values, rows=current.rows), current

    def moved(self, distances: Mapping[int, float]) -> float:
        """Return how far the signal can have moved if the layers' outputs moved that far."""
        terms = [constant * distances[position] for position, constant in self.lipschitz.items()]
        return float(sum(0.0 if np.isnan(term) else term for term in terms))  # inf * 0


def activate(values: Array, activation: str) -> Array:
    """Apply an activation by name."""
    return np.maximum(values, 0.0) if activation == "relu" else values
