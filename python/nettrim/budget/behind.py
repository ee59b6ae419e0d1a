r"""Layers in front of a smooth activation: weights whose outputs behind it change least.

To second order a change of a signal counts with the squared slope of what follows. Outputs with
like slopes share a Gram matrix of rows weighted by them; few weights come from these by alternating
directions, and then follow the true loss

.. math:: \tfrac12\Vert \varphi(Xu) - \varphi(y)\Vert^2 + ridge\,\Vert u - w\Vert^2 / 2

on their support by Gauss-Newton steps with the same matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arrays import AnyFloat, Array
from ..base.deadline import has_passed, remaining_seconds
from ..base.dispatch import core
from .activations import Activation, RowWeights, Shifted
from .data import BudgetData
from .sample_blocks import map_samples

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
POLISHED_SIGNALS = 2**20  # at once, of which there are half a dozen arrays in single precision


def solve_behind(
    data: BudgetData,
    activation: Activation | Shifted | RowWeights,
    budget: int,
    ridge: float,
    n_threads: int,
    deadline: float | None,
) -> Array:
    """Return few weights of a layer; at a deadline, those by then."""
    layer = _Layer(data, activation, ridge, n_threads, deadline)
    weights = layer.select(budget)
    layer.polish(weights, weights != 0)
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
    kept: Mask = _Layer(data, activation, ridge, n_threads, deadline).select(budget) != 0
    return kept


def fit_behind(
    data: BudgetData,
    activation: Activation | Shifted | RowWeights,
    support: Mask,
    ridge: float,
    n_threads: int,
    deadline: float | None,
) -> Array:
    """Return weights on a support, of the shape of both; at a deadline, those by then."""
    layer = _Layer(data, activation, ridge, n_threads, deadline)
    weights = layer.fit(support)
    layer.polish(weights, support)
    return weights


@dataclass(frozen=True)
class _Layer:
    """A layer and what follows, for weights that are to be few.

    Attributes
    ----------
    data : BudgetData
    activation : Activation, Shifted or RowWeights
    ridge : float
        Over the mean of the diagonal of each form.
    n_threads : int
    deadline : float or None
    """

    data: BudgetData
    activation: Activation | Shifted | RowWeights
    ridge: float
    n_threads: int
    deadline: float | None

    @cached_property
    def X(self) -> AnyFloat:
        return self.data.X.astype(np.float32)

    @cached_property
    def Y(self) -> AnyFloat:
        return self.data.Y.astype(np.float32)

    @cached_property
    def forms(self) -> _Forms:
        """Those of rows weighted by the squared slopes of what follows."""
        steepness = np.empty_like(self.Y)

        def write(samples: slice) -> None:
            slope = self.activation.of_samples(samples).slope(self.Y[samples])
            np.multiply(slope, slope, out=steepness[samples])

        map_samples(write, self.Y.shape, self.n_threads)
        least = LEAST_WEIGHT * steepness.max()
        return _Forms.of(self.X, self.Y, np.maximum(steepness, least, out=steepness))

    def select(self, budget: int) -> Array:
        """Return few weights, by what the forms say."""
        pattern = self.data.pattern
        fields = core.solve_quadratic(
            **self.quadratic_arguments,
            rough=_is_curved(self.activation),
            keep=np.ascontiguousarray(pattern.keep),
            group=pattern.group,
            most=pattern.most,
            budget=budget,
        )
        return _complete(fields)

    def fit(self, support: Mask) -> Array:
        """Return weights on a support, by what the forms say."""
        return _complete(core.fit_quadratic(**self.quadratic_arguments, support=support))

    @property
    def quadratic_arguments(self) -> Mapping[str, Any]:
        """The core's."""
        return {
            "grams": self.forms.grams,
            "form_of": self.forms.form_of,
            "correlations": self.forms.correlations,
            "prior": self.data.weights,
            "ridge": self.ridge,
            "time_limit": remaining_seconds(self.deadline),
            "n_threads": self.n_threads,
        }

    def polish(self, weights: Array, support: Mask) -> None:
        """Let weights follow the true loss on a support, in place."""
        for some in self.forms.parts(POLISHED_SIGNALS // len(self.X)):
            own = np.flatnonzero(np.isin(self.forms.form_of, some))
            start = np.ascontiguousarray(weights[:, own], dtype=np.float32)
            mask = np.ascontiguousarray(support[:, own])
            weights[:, own] = _polished(self.loss(own, some), mask, start, self.deadline)

    def loss(self, own: NDArray[np.intp], some: NDArray[np.intp]) -> _Loss:
        """Return that of some outputs, which some forms are of."""
        activation, wanted = self.activation.of(own), np.take(self.Y, own, axis=1)

        def write(samples: slice) -> None:
            wanted[samples] = activation.of_samples(samples).value(wanted[samples])

        map_samples(write, wanted.shape, self.n_threads)
        prior = self.data.weights[:, own].astype(np.float32)
        forms = self.forms.part(some)
        return _Loss(self.X, wanted, prior, activation, forms, self.ridge, self.n_threads)


def _is_curved(activation: Activation | Shifted | RowWeights) -> bool:
    """Tell whether no step on the forms is the last one, however precise it is."""
    return not isinstance(activation, RowWeights)


def _complete(fields: Any) -> Array:
    """Return the core's weights.

    Raises
    ------
    KeyboardInterrupt
        If they are none, on Ctrl-C.
    """
    if not fields["complete"]:
        raise KeyboardInterrupt
    weights: Array = fields["weights"]
    return weights


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

    def parts(self, most: int) -> Iterator[NDArray[Any]]:
        """Return all forms, so many of them at a time that they are of so many outputs at most."""
        counts = np.bincount(self.form_of)
        begin = 0
        for end in range(1, len(counts) + 1):
            if end == len(counts) or counts[begin : end + 1].sum() > most:
                yield np.arange(begin, end)
                begin = end

    def part(self, some: NDArray[Any]) -> _Forms:
        """Return some forms in a row."""
        own = np.isin(self.form_of, some)
        form_of = np.ascontiguousarray(self.form_of[own] - int(some[0]))
        return _Forms(form_of, self.grams[some], self.correlations[:, own])

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
        members = (form_of[:, None] == np.arange(form_of.max() + 1)).astype(X.dtype)
        means = row_weights @ (members / members.sum(axis=0))
        grams = np.empty((len(means.T), n_features, n_features))
        weighted = np.empty_like(X)
        for gram, roots in zip(grams, np.sqrt(means.T), strict=True):
            np.multiply(X, roots[:, None], out=weighted)
            gram[:] = weighted.T @ weighted
        asked = np.take(means, form_of, axis=1)
        correlations = (X.T @ np.multiply(asked, Y, out=asked)).astype(np.float64)
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
    X : ndarray
    wanted : ndarray of shape (n_samples, n_outputs)
        What is to be behind the activation.
    prior : ndarray of shape (n_features, n_outputs)
    forms : _Forms
        What stands for the second derivatives.
    ridge : float
        Over the mean of the diagonal of each.
    """

    X: AnyFloat
    wanted: AnyFloat
    prior: AnyFloat
    activation: Activation | Shifted | RowWeights
    forms: _Forms
    ridge: float
    n_threads: int

    @cached_property
    def strength(self) -> AnyFloat:
        """The ridge of every output in absolute units."""
        means = np.trace(self.forms.grams, axis1=1, axis2=2) / len(self.forms.grams[0])
        strength: AnyFloat = self.ridge * np.where(means == 0, 1.0, means)[self.forms.form_of]
        return strength.astype(np.float32)

    def at(self, weights: AnyFloat, signals: AnyFloat) -> _Point:
        """Return what the outputs lose with some weights."""
        slope, pull = np.empty_like(signals), np.empty_like(signals)

        def look(samples: slice) -> AnyFloat:
            value, slope[samples] = self.activation.of_samples(samples).value_and_slope(
                signals[samples]
            )
            misfit = np.subtract(value, self.wanted[samples])
            np.multiply(slope[samples], misfit, out=pull[samples])
            return _squares(misfit)

        losses = np.sum(map_samples(look, signals.shape, self.n_threads), axis=0)
        losses += self.strength * _squares(weights - self.prior)
        return _Point(weights, signals, slope, pull, losses)

    def gradient(self, point: _Point) -> AnyFloat:
        """Return that of half the losses."""
        gradient: AnyFloat = self.X.T @ point.pull
        return gradient + self.strength * (point.weights - self.prior)

    def advised_length(
        self, point: _Point, gradient: AnyFloat, way: AnyFloat, signals: AnyFloat
    ) -> AnyFloat:
        """Return how far to go a way, and with it the signals, if slopes stayed what they are."""

        def look(samples: slice) -> AnyFloat:
            return _squares(point.slope[samples] * signals[samples])

        curvature = np.sum(map_samples(look, signals.shape, self.n_threads), axis=0)
        curvature += self.strength * _squares(way)
        descent = -np.einsum("ij,ij->j", gradient, way)
        length: AnyFloat = np.ones_like(descent)
        np.divide(descent, curvature, out=length, where=curvature > 0)
        return length


def _squares(rows: AnyFloat) -> AnyFloat:
    """Return the sum of the squares in each column."""
    squares: AnyFloat = np.einsum("ij,ij->j", rows, rows)
    return squares


@dataclass(frozen=True)
class _Point:
    """Weights, signals, slopes behind the activation, these times errors, and losses of outputs."""

    weights: AnyFloat
    signals: AnyFloat
    slope: AnyFloat
    pull: AnyFloat
    losses: AnyFloat

    def put(self, outputs: Mask, other: _Point) -> None:
        """Move some outputs to where they lose less."""
        for own, theirs in (
            (self.weights, other.weights),
            (self.signals, other.signals),
            (self.slope, other.slope),
            (self.pull, other.pull),
            (self.losses, other.losses),
        ):
            own[..., outputs] = theirs[..., outputs]


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
    gradient = loss.gradient(point)
    fields = core.fit_quadratic(
        loss.forms.grams,
        form_of=loss.forms.form_of,
        correlations=-gradient.astype(np.float64),
        prior=np.zeros(gradient.shape),
        ridge=loss.ridge,
        rough=_is_curved(loss.activation),
        support=support,
        time_limit=remaining_seconds(deadline),
        n_threads=loss.n_threads,
    )
    way = _complete(fields).astype(np.float32)
    signals = loss.X @ way
    length = loss.advised_length(point, gradient, way, signals)
    signals *= length
    signals += point.signals
    reached = loss.at(point.weights + length * way, signals)
    reached.put(reached.losses > point.losses, point)
    return reached
