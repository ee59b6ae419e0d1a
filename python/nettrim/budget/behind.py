r"""Layers in front of a smooth activation: weights whose outputs behind it change least.

To second order a change of a signal counts with the squared slope of what follows. Outputs with
like slopes share a Gram matrix of rows weighted by them; few weights come from these by alternating
directions, and then follow the true loss

.. math:: \tfrac12\Vert \varphi(Xu) - \varphi(y)\Vert^2 + ridge\,\Vert u - w\Vert^2 / 2

on their support by Gauss-Newton steps with the same matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arrays import AnyFloat, Array
from ..base.deadline import has_passed, remaining_seconds
from ..base.dispatch import core
from .activations import Activation, RowWeights, Shifted
from .data import BudgetData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["choose_behind", "fit_behind", "solve_behind"]

LEAST_WEIGHT = (
    3e-3  # of a row, over the largest: where the activation is flat, the signal may not run away
)
MOST_FORMS, FEWEST_OUTPUTS = 64, 8  # Gram matrices, and outputs of each
# A form costs samples + INVERSES * features in units of features^2, and a layer is worth WORTH of
# them for every output; SMALL multiplications are worth no thought.
INVERSES, WORTH, SMALL = 15, 250, 1e8
MOST_BYTES = 1e9  # of all Gram matrices, working copies included
BYTES = 24  # of an entry of one of them
COMPARED_ROWS, ROUNDS = 256, 8  # of the search for outputs with like slopes
STEPS = 3  # of Gauss-Newton


def solve_behind(
    data: BudgetData,
    activation: Activation | Shifted | RowWeights,
    budget: int,
    ridge: float,
    n_threads: int,
    deadline: float | None,
) -> Array:
    """Return few weights of a layer; at a deadline, those by then."""
    forms = _Forms.behind(data, activation)
    weights = _select(data, forms, budget, ridge, n_threads, deadline)
    _polish(data, activation, forms, weights, weights != 0, ridge, n_threads, deadline)
    return weights


def choose_behind(
    data: BudgetData,
    activation: Activation | Shifted | RowWeights,
    budget: int,
    ridge: float,
    n_threads: int,
    deadline: float | None,
) -> Mask:
    """Return which weights to keep, of the shape of all of them."""
    forms = _Forms.behind(data, activation)
    kept: Mask = _select(data, forms, budget, ridge, n_threads, deadline) != 0
    return kept


def _select(
    data: BudgetData,
    forms: _Forms,
    budget: int,
    ridge: float,
    n_threads: int,
    deadline: float | None,
) -> Array:
    """Return few weights, by what the forms say."""
    fields = core.solve_quadratic(
        **forms.quadratic_arguments(data, ridge),
        keep=np.ascontiguousarray(data.pattern.keep),
        group=data.pattern.group,
        most=data.pattern.most,
        budget=budget,
        time_limit=remaining_seconds(deadline),
        n_threads=n_threads,
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    return fields["weights"]


def fit_behind(
    data: BudgetData,
    activation: Activation | Shifted | RowWeights,
    support: Mask,
    ridge: float,
    n_threads: int,
    deadline: float | None,
) -> Array:
    """Return weights on a support, of the shape of both; at a deadline, those by then."""
    forms = _Forms.behind(data, activation)
    fields = core.fit_quadratic(
        **forms.quadratic_arguments(data, ridge),
        support=support,
        time_limit=remaining_seconds(deadline),
        n_threads=n_threads,
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    weights = fields["weights"]
    _polish(data, activation, forms, weights, support, ridge, n_threads, deadline)
    return weights


def _polish(
    data: BudgetData,
    activation: Activation | Shifted | RowWeights,
    forms: _Forms,
    weights: Array,
    support: Mask,
    ridge: float,
    n_threads: int,
    deadline: float | None,
) -> None:
    """Let weights follow the true loss on a support, in place."""
    X, Y = data.X.astype(np.float32), data.Y.astype(np.float32)

    def polish(form: int) -> None:
        own = forms.form_of == form
        prior = data.weights[:, own].astype(np.float32)
        loss = _Loss(X, Y[:, own], prior, activation.of(own), forms.grams[form], ridge)
        start = np.ascontiguousarray(weights[:, own], dtype=np.float32)
        mask = np.ascontiguousarray(support[:, own])
        weights[:, own] = _polished(loss, mask, start, deadline)

    with ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(polish, range(len(forms.grams))))


@dataclass(frozen=True)
class _Forms:
    """Gram matrices of weighted rows, and which outputs they belong to.

    Attributes
    ----------
    form_of : ndarray of int, of shape (n_outputs,)
    grams : ndarray of shape (n_forms, n_features, n_features)
    correlations : ndarray of shape (n_features, n_outputs)
        What the outputs ask for.
    """

    form_of: NDArray[np.int32]
    grams: Array
    correlations: Array

    @classmethod
    def behind(cls, data: BudgetData, activation: Activation | Shifted | RowWeights) -> _Forms:
        """Weight rows by the squared slopes of what follows."""
        X, Y = data.X.astype(np.float32), data.Y.astype(np.float32)
        steepness = activation.slope(Y) ** 2
        return cls.of(X, Y, np.maximum(steepness, LEAST_WEIGHT * steepness.max()))

    def quadratic_arguments(self, data: BudgetData, ridge: float) -> Mapping[str, Any]:
        """Return the core's arguments for the layer."""
        return {
            "grams": self.grams,
            "form_of": self.form_of,
            "correlations": self.correlations,
            "prior": data.weights,
            "ridge": ridge,
        }

    @classmethod
    def of(cls, X: AnyFloat, Y: AnyFloat, row_weights: AnyFloat) -> _Forms:
        """Let outputs whose rows have like weights share their mean."""
        (n_samples, n_features), n_outputs = X.shape, Y.shape[1]
        worth = max(WORTH * n_outputs, SMALL / n_features**2)
        worthwhile = int(worth / (n_samples + INVERSES * n_features))
        room = int(MOST_BYTES / BYTES / n_features**2)
        fewest = n_outputs // FEWEST_OUTPUTS
        count = max(min(MOST_FORMS, worthwhile, room, fewest), 1)
        form_of = _cluster(row_weights, count)
        grams = np.empty((form_of.max() + 1, n_features, n_features))
        correlations = np.empty((n_features, n_outputs))
        for k, gram in enumerate(grams):
            own = form_of == k
            roots = np.sqrt(row_weights[:, own].mean(axis=1, keepdims=True))
            weighted = X * roots
            gram[:] = weighted.T @ weighted
            correlations[:, own] = weighted.T @ (Y[:, own] * roots)
        return cls(form_of, grams, correlations)


def _cluster(rows: AnyFloat, count: int) -> NDArray[np.int32]:
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
    activation: Activation | Shifted | RowWeights
    gram: Array
    ridge: float

    @cached_property
    def wanted(self) -> AnyFloat:
        return self.activation.value(self.Y)

    @cached_property
    def strength(self) -> float:
        """The ridge in absolute units."""
        return self.ridge * (float(np.trace(self.gram)) / len(self.gram) or 1.0)

    def at(self, weights: AnyFloat, signals: AnyFloat) -> _Point:
        """Return what the outputs lose with some weights."""
        value, slope = self.activation.value_and_slope(signals)
        misfit = value - self.wanted
        apart = weights - self.prior
        losses = np.einsum("ij,ij->j", misfit, misfit)
        losses += self.strength * np.einsum("ij,ij->j", apart, apart)
        return _Point(weights, signals, slope, misfit, losses)

    def gradient(self, point: _Point) -> AnyFloat:
        """Return that of half the losses."""
        gradient: AnyFloat = self.X.T @ (point.slope * point.misfit)
        return gradient + self.strength * (point.weights - self.prior)

    def advised_length(
        self, point: _Point, gradient: AnyFloat, way: AnyFloat, signals: AnyFloat
    ) -> AnyFloat:
        """Return how far to go a way, and with it the signals, if slopes stayed what they are."""
        bent = point.slope * signals
        curvature = np.einsum("ij,ij->j", bent, bent)
        curvature += self.strength * np.einsum("ij,ij->j", way, way)
        descent = -np.einsum("ij,ij->j", gradient, way)
        length: AnyFloat = np.ones_like(descent)
        np.divide(descent, curvature, out=length, where=curvature > 0)
        return length


@dataclass(frozen=True)
class _Point:
    """Weights, signals, slopes and errors behind the activation, and the loss of every output."""

    weights: AnyFloat
    signals: AnyFloat
    slope: AnyFloat
    misfit: AnyFloat
    losses: AnyFloat

    def of(self, outputs: Mask) -> _Point:
        """Return some outputs."""
        return _Point(
            self.weights[:, outputs],
            self.signals[:, outputs],
            self.slope[:, outputs],
            self.misfit[:, outputs],
            self.losses[outputs],
        )

    def put(self, outputs: Mask, other: _Point) -> None:
        """Move some outputs to where they lose less."""
        self.weights[:, outputs] = other.weights
        self.signals[:, outputs] = other.signals
        self.slope[:, outputs] = other.slope
        self.misfit[:, outputs] = other.misfit
        self.losses[outputs] = other.losses


def _polished(loss: _Loss, support: Mask, start: AnyFloat, deadline: float | None) -> Array:
    """Return the weights of least loss on the support, or near them."""
    point = loss.at(start, loss.X @ start)
    for _ in range(STEPS):
        if has_passed(deadline):
            break
        point = _step(loss, support, point, deadline)
    return point.weights.astype(np.float64)


def _step(loss: _Loss, support: Mask, point: _Point, deadline: float | None) -> _Point:
    """Step towards the least loss on the support, as far as the slopes of each output advise."""
    here = np.ascontiguousarray(point.weights, dtype=np.float64)
    gradient = loss.gradient(point)
    fields = core.fit_quadratic(
        loss.gram[None],
        form_of=None,
        correlations=np.ascontiguousarray(loss.gram @ here - gradient),
        prior=here,
        ridge=loss.ridge,
        support=support,
        time_limit=remaining_seconds(deadline),
        n_threads=1,
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    way = (fields["weights"] - here).astype(np.float32)
    signals = loss.X @ way
    length = loss.advised_length(point, gradient, way, signals)
    reached = loss.at(point.weights + length * way, point.signals + length * signals)
    worse = reached.losses > point.losses
    reached.put(worse, point.of(worse))
    return reached
