"""What errors of a layer's outputs do to the outputs of a network.

What a layer puts out counts as much as the network's outputs move with it. To first order errors
:math:`e` of its signals move them by :math:`J e`, and the sum of their squares is that of
:math:`e^T M e` with the mean :math:`M` of :math:`J^T J`, as in Kronecker-factored curvature
(Martens & Grosse, ICML 2015), for the squared error of the outputs in place of a loss of labels.
Columns of :math:`J` are measured: one run of some samples with a shift of the signals each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...base.arrays import Array
from ...models.layer_view import Affine
from .judge import Judge
from .method import Run

__all__ = ["Sensitivity"]

SAMPLES = 64
DIRECTIONS = 128  # at most, for each layer
STEP = 0.03  # of the signals' root mean square: errors of that size are what is to be judged
RIDGE = 1e-6  # of the mean square of a feature
SHRINKAGE = 0.1  # towards signals that all count alike


@dataclass(frozen=True)
class Sensitivity:
    """How much a network's outputs move with the signals of single layers.

    Attributes
    ----------
    judge : Judge
    """

    judge: Judge

    @classmethod
    def of(cls, run: Run) -> Sensitivity:
        """Take samples from all over the data."""
        return cls(Judge.on(run, SAMPLES))

    def root(self, position: int, affine: Affine, X: Array) -> Array | None:
        """Return the symmetric root of what products of the errors of a layer's signals count.

        ``X`` are rows of its inputs, with the ones of a bias that is not fixed in its ``affine``
        map; signals are in front of its activation. The sum of the squares of errors times the
        root is that of the relative errors of the network's outputs. None for signals that do not
        reach them.
        """
        signals = X @ affine.stacked
        directions = _principal_directions(signals)
        moved = np.array([*self._moved(position, affine, X, directions)])
        if not moved.any():
            return None
        seen = moved @ moved.T
        elsewhere = np.eye(len(directions)) - directions @ directions.T
        counts = directions @ seen @ directions.T + np.trace(seen) / len(seen) * elsewhere
        return _root(counts / len(signals))

    def by_signal(self, position: int, affine: Affine, X: Array) -> Array:
        """Return what the square of an error of each of a layer's signals counts, by itself."""
        directions = np.eye(affine.stacked.shape[1])
        moved = self._moved(position, affine, X, directions)
        return np.array([float(np.sum(own**2)) for own in moved])

    def _moved(self, position: int, affine: Affine, X: Array, directions: Array) -> Iterator[Array]:
        """Yield how what counts moves, all in one, over a shift of the signals along a column."""
        step = STEP * float(np.sqrt(np.mean((X @ affine.stacked) ** 2)))
        shifted = _shifts(affine, X)
        for direction in directions.T:
            outputs = self._outputs({position: shifted(step * direction)})
            yield self.judge.moved_to(outputs) / (step or 1.0)

    @cached_property
    def _outputs(self) -> Callable[[Mapping[int, Affine]], list[Array]]:
        return self.judge.run.view.outputs_under(self.judge.samples)


def _principal_directions(signals: Array) -> Array:
    """Return orthonormal columns: all directions, or those in which signals are largest."""
    directions = np.linalg.eigh(signals.T @ signals)[1]
    return np.ascontiguousarray(directions[:, -DIRECTIONS:])


def _shifts(affine: Affine, X: Array) -> Callable[[Array], Affine]:
    """Return what shifts all signals alike: a bias that may change, or features that add up."""
    bias = affine.bias
    if bias is not None and not affine.fixed_bias:
        return lambda shift: affine._replace(bias=affine.rounded(bias + shift, bias))
    constant, weights = _constant(X), affine.stacked
    return lambda shift: affine.replaced(weights + np.outer(constant, shift))


def _constant(X: Array) -> Array:
    """Return weights by which features add up to one, as nearly as they can."""
    gram = X.T @ X
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    weights: Array = np.linalg.solve(gram, X.sum(axis=0))
    return weights


def _root(counts: Array) -> Array:
    """Return the symmetric root of a matrix that is drawn towards a multiple of the identity."""
    values, vectors = np.linalg.eigh(counts)
    values = (1 - SHRINKAGE) * values.clip(0) + SHRINKAGE * values.mean()
    root: Array = (vectors * np.sqrt(values)) @ vectors.T
    return root
