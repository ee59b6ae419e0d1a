r"""Layers in front of a smooth activation: weights whose outputs behind it change least.

To second order a change of a signal counts with the squared slope of what follows. Outputs with
like slopes share a Gram matrix of rows weighted by them; few weights come from these by alternating
directions, and then follow the true loss

.. math:: \tfrac12\Vert \varphi(Xu) - \varphi(y)\Vert^2 + ridge\,\Vert u - w\Vert^2 / 2

on their support by Gauss-Newton steps with the same matrices.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..base.arrays import AnyFloat, Array
from ..base.deadline import has_passed, remaining_seconds
from ..base.dispatch import core
from .activations import ALL, Activation, RowWeights
from .data import BudgetData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["solve_behind"]

LEAST_WEIGHT = (
    3e-3  # of a row, over the largest: where the activation is flat, the signal may not run away
)
MOST_FORMS, FEWEST_OUTPUTS = 48, 8  # Gram matrices, and outputs of each
# A form costs samples + INVERSES * features in units of features^2, and a layer is worth WORTH of
# them for every output; SMALL multiplications are worth no thought.
INVERSES, WORTH, SMALL = 15, 150, 1e8
MOST_BYTES = 1e9  # of all Gram matrices, working copies included
BYTES = 24  # of an entry of one of them
COMPARED_ROWS, ROUNDS = 256, 8  # of the search for outputs with like slopes
STEPS = 3  # of Gauss-Newton
HALVINGS = 2  # of a step that leads uphill


def solve_behind(
    data: BudgetData,
    activation: Activation | RowWeights,
    budget: int,
    ridge: float,
    n_threads: int,
    deadline: float | None,
) -> Array:
    """Return few weights of a layer; at a deadline, those by then."""
    steepness = activation.slope(data.Y) ** 2
    forms = _Forms.of(data, np.maximum(steepness, LEAST_WEIGHT * steepness.max()))
    fields = core.solve_quadratic(
        forms.grams,
        form_of=forms.form_of,
        correlations=forms.correlations(data),
        prior=data.weights,
        ridge=ridge,
        keep=np.ascontiguousarray(data.pattern.keep),
        group=data.pattern.group,
        most=data.pattern.most,
        budget=budget,
        time_limit=remaining_seconds(deadline),
        n_threads=n_threads,
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    weights, X = fields["weights"], data.X.astype(np.float32)

    def polish(form: int) -> None:
        own = forms.form_of == form
        loss = _Loss.of(data, X, own, activation, forms.grams[form], ridge)
        weights[:, own] = _polished(loss, np.ascontiguousarray(weights[:, own]), deadline)

    with ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(polish, range(len(forms.grams))))
    return weights


@dataclass(frozen=True)
class _Forms:
    """Gram matrices of weighted rows, and which outputs they belong to.

    Attributes
    ----------
    row_weights : ndarray of shape (n_samples, n_forms)
    form_of : ndarray of int, of shape (n_outputs,)
    grams : ndarray of shape (n_forms, n_features, n_features)
    """

    row_weights: Array
    form_of: NDArray[np.int32]
    grams: Array

    @classmethod
    def of(cls, data: BudgetData, row_weights: Array) -> _Forms:
        """Let outputs whose rows have like weights share their mean."""
        n_samples, n_features = data.X.shape
        worth = max(WORTH * data.n_outputs, SMALL / n_features**2)
        worthwhile = int(worth / (n_samples + INVERSES * n_features))
        room = int(MOST_BYTES / BYTES / n_features**2)
        fewest = data.n_outputs // FEWEST_OUTPUTS
        count = max(min(MOST_FORMS, worthwhile, room, fewest), 1)
        form_of = _cluster(row_weights, count)
        means = np.column_stack(
            [row_weights[:, form_of == k].mean(axis=1) for k in range(form_of.max() + 1)]
        )
        grams = np.empty((means.shape[1], n_features, n_features))
        for k, gram in enumerate(grams):
            weighted = data.X * np.sqrt(means[:, k, None])
            np.matmul(weighted.T, weighted, out=gram)
        return cls(means, form_of, grams)

    def correlations(self, data: BudgetData) -> Array:
        """Return what the outputs ask for."""
        return data.X.T @ (data.Y * self.row_weights[:, self.form_of])


def _cluster(rows: Array, count: int) -> NDArray[np.int32]:
    """Return clusters of columns that are alike, numbered from 0 (Lloyd, 1982)."""
    rng = np.random.default_rng(0)
    few = rng.choice(len(rows), min(COMPARED_ROWS, len(rows)), replace=False)
    points = rows[few].T
    centres = points[rng.choice(len(points), count, replace=False)]
    for _ in range(ROUNDS):
        nearest = np.argmin((centres**2).sum(axis=1) - 2 * points @ centres.T, axis=1)
        for k in np.unique(nearest):
            centres[k] = points[nearest == k].mean(axis=0)
    return np.unique(nearest, return_inverse=True)[1].astype(np.int32)


@dataclass(frozen=True)
class _Loss:
    """That of some outputs behind the activation, in single precision.

    Attributes
    ----------
    X, Y, prior : ndarray
        Those of the layer.
    gram : ndarray of shape (n_features, n_features)
        What stands for the second derivatives of all of them.
    ridge : float
        Over the mean of its diagonal.
    """

    X: AnyFloat
    Y: AnyFloat
    prior: AnyFloat
    activation: Activation | RowWeights
    gram: Array
    ridge: float

    @classmethod
    def of(
        cls,
        data: BudgetData,
        X: AnyFloat,
        outputs: Mask,
        activation: Activation | RowWeights,
        gram: Array,
        ridge: float,
    ) -> _Loss:
        Y, prior = (a[:, outputs].astype(np.float32) for a in (data.Y, data.weights))
        return cls(X, Y, prior, activation.of(outputs), gram, ridge)

    @cached_property
    def wanted(self) -> AnyFloat:
        return self.activation.value(self.Y)

    @cached_property
    def strength(self) -> float:
        """The ridge in absolute units."""
        return self.ridge * (float(np.trace(self.gram)) / len(self.gram) or 1.0)

    def at(self, weights: AnyFloat, signals: AnyFloat, outputs: Mask | slice = ALL) -> _Point:
        """Return what outputs lose with some weights."""
        misfit = self.activation.of(outputs).value(signals) - self.wanted[:, outputs]
        apart = weights - self.prior[:, outputs]
        losses = np.einsum("ij,ij->j", misfit, misfit)
        return _Point(
            weights, signals, misfit, losses + self.strength * np.einsum("ij,ij->j", apart, apart)
        )

    def gradient(self, point: _Point) -> AnyFloat:
        """Return that of half the losses."""
        slope = self.activation.slope(point.signals)
        gradient: AnyFloat = self.X.T @ (slope * point.misfit)
        return gradient + self.strength * (point.weights - self.prior)


@dataclass(frozen=True)
class _Point:
    """Weights, their signals, their errors behind the activation, and the loss of every output."""

    weights: AnyFloat
    signals: AnyFloat
    misfit: AnyFloat
    losses: AnyFloat

    def of(self, outputs: Mask) -> _Point:
        """Return some outputs."""
        return _Point(
            self.weights[:, outputs],
            self.signals[:, outputs],
            self.misfit[:, outputs],
            self.losses[outputs],
        )

    def put(self, outputs: Mask, other: _Point) -> None:
        """Move some outputs to where they lose less."""
        self.weights[:, outputs] = other.weights
        self.signals[:, outputs] = other.signals
        self.misfit[:, outputs] = other.misfit
        self.losses[outputs] = other.losses


def _polished(loss: _Loss, weights: Array, deadline: float | None) -> Array:
    """Return the weights of least loss on the support, or near them."""
    support, single = weights != 0, weights.astype(np.float32)
    point = loss.at(single, loss.X @ single)
    for _ in range(STEPS):
        if has_passed(deadline):
            break
        point = _step(loss, support, point, deadline)
    return point.weights.astype(np.float64)


def _step(loss: _Loss, support: Mask, point: _Point, deadline: float | None) -> _Point:
    """Step towards the least loss on the support; outputs that this does not serve go less far."""
    here = np.ascontiguousarray(point.weights, dtype=np.float64)
    fields = core.fit_quadratic(
        loss.gram[None],
        form_of=None,
        correlations=np.ascontiguousarray(loss.gram @ here - loss.gradient(point)),
        prior=here,
        ridge=loss.ridge,
        support=support,
        time_limit=remaining_seconds(deadline),
        n_threads=1,
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    weights = fields["weights"].astype(np.float32)
    reached = loss.at(weights, loss.X @ weights)
    for _ in range(HALVINGS):
        if not (left := reached.losses > point.losses).any():
            break
        ahead, behind = reached.of(left), point.of(left)
        halfway = (ahead.weights + behind.weights) / 2, (ahead.signals + behind.signals) / 2
        reached.put(left, loss.at(*halfway, left))
    left = reached.losses > point.losses
    reached.put(left, point.of(left))
    return reached
