r"""What is measured and what is proved about a trimmed network.

Everything here is computed anew from the weights as they are returned (rounded to the model's
precision), so it holds whatever the solver did. With the original signals :math:`Y_l`, the trimmed
ones :math:`\hat Y_l`, original and trimmed weights :math:`W_l, \hat W_l`, all norms Frobenius, and
:math:`D_l = \lVert\hat Y_l - Y_l\rVert`:

**Measured.** The discrepancy :math:`D_l / \lVert Y_l\rVert`, by running both networks.

**Proved**, without running the trimmed network to its end, layer by layer with :math:`B_l \ge D_l`:

*Any layer* (parallel scheme, and layers left alone). Between the same layer on the original and on
the trimmed input lies at most its Lipschitz constant, between both versions of the layer on the
*original* input its own error :math:`e_l`, so

.. math:: B_l = \sigma(\hat W_l)\,B_{l-1} + e_l, \qquad
          e_l = \lVert\mathrm{relu}(Y_{l-1}\hat W_l) - Y_l\rVert,

with :math:`\sigma` the largest singular value without the bias row. By Proposition 1 of Net-Trim
(NIPS 2017) a feasible answer has :math:`e_l \le \epsilon_l`; for a layer left alone :math:`e_l =
0`. This is Theorem 1 with norms that can be computed instead of a link-normalised network.

*A layer of the cascade* was solved on the trimmed input :math:`\hat Y_{l-1}` against the original
output. On active entries its error is at most the residual :math:`r_l`; on the others, where
:math:`y = 0`, it is at most :math:`(v)_+` plus the excess over it. Hence (Proposition 1 for a
general V)

.. math:: B_l^2 = \max(\epsilon_l, r_l)^2
          + \bigl(\lVert (v_l)_+\rVert + \lVert\mathrm{excess}_l\rVert\bigr)^2 .

For a feasible answer :math:`r_l \le \epsilon_l` and the excess is zero: the bound is then a
property of the program and stood before the layer was solved.

**Promised** before anything is solved (``prior_bound``), for answers that are feasible and, in the
parallel scheme, minimal: Theorem 1 without normalisation,
:math:`P_l = \lVert W_l\rVert_1 P_{l-1} + \epsilon_l`, since
:math:`\sigma(\hat W_l) \le \lVert\hat W_l\rVert_1 \le \lVert W_l\rVert_1`; and Theorem 2,
:math:`P_l = \sqrt{\gamma}\,\sigma(W_l)\,P_{l-1}`. Both are loose, the first absurdly so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import starmap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..base.arrays import Array, frobenius_norm, relative_to
from ..models.layer_view import Affine, LayerView, Signal, activate
from ..models.model_view import ModelView
from ..models.samples import Data

# Bounds are rounded up by more than the rounding errors of sums and singular values.
ROUNDED_UP = 1.0 + 1e-9


class Prospect(NamedTuple):
    """What is known of a layer's epsilon before the layers in front are solved.

    Attributes
    ----------
    growth, floor : float
        In the cascade its square is at most ``(growth * change of W's output)**2 + (floor * norm of
        the output)**2``, in the parallel scheme it is at most ``floor * norm of the output``.
    alone : float
        The floor of a layer of the cascade that nothing pruned in front reaches.
    """

    growth: float
    floor: float
    alone: float


@dataclass(frozen=True)
class Trimmed:
    """A layer that was pruned: its new weights and the program they answer.

    Attributes
    ----------
    affine : Affine
        The new weights as returned.
    cascaded : bool
        True if the program was posed on the trimmed input, False if on the original one.
    epsilon : float
        Radius of the program's ball, relative to the norm of the layer's output; 0 if it has none.
    prospect : Prospect or None
        None if nothing was known beforehand.
    outputs : ndarray of bool of shape (n_outputs,) or None
        Those that any layer reads; None for all of them.
    """

    affine: Affine
    cascaded: bool
    epsilon: float = 0.0
    prospect: Prospect | None = None
    outputs: NDArray[np.bool_] | None = None

    def count(self, rows: Array) -> Array:
        """Return the outputs that are read, of rows of all of them."""
        return rows if self.outputs is None else rows[:, self.outputs]


class Change(NamedTuple):
    """How far a signal moved: norm of the difference, norm of the original."""

    distance: float
    norm: float

    @property
    def relative(self) -> float:
        """Distance over norm; over 1 for a signal that is zero throughout."""
        return relative_to(self.distance, self.norm)


class Bound(NamedTuple):
    """Absolute bounds on a signal's change: proved from the answers, promised beforehand."""

    proved: float
    prior: float


class SignalBounds(NamedTuple):
    """What is known of a signal: how far it moved and can have moved, and its two versions.

    Attributes
    ----------
    change : Change
    bound : Bound
    values : pair of ndarrays or None
        Of an output of the model: in the original and in the trimmed network.
    n_rows : int
        Of a layer: how many it was met by.
    """

    change: Change
    bound: Bound
    values: tuple[Array, Array] | None = None
    n_rows: int = 0


UNMEASURED = SignalBounds(Change(math.nan, math.nan), Bound(math.nan, math.nan))


@contextmanager
def walk_side_by_side(
    view: ModelView,
    X: Data,
    weights: Mapping[int, Affine],
    before: Iterator[Signal] | None = None,
) -> Iterator[Iterator[tuple[Signal, Signal]]]:
    """Walk data through the original model and one with other weights; both walks end with it.

    ``before`` are the signals of the original model, where there is another way to them. Signals of
    rows that a model picks are paired (`Signal.paired_with`).
    """
    walks = before or view.signals(X, {}), view.signals(X, weights)
    with ExitStack() as closing:
        for walk in walks:
            if isinstance(walk, Generator):
                closing.callback(walk.close)
        yield starmap(Signal.paired_with, zip(*walks, strict=True))


def measure_changes(view: ModelView, trimmed: Mapping[int, Trimmed], X: Data) -> Iterator[Change]:
    """Measure how far each prunable layer's output moved, and then each of the model's."""
    layers = view.prunable_layers()
    weights = {position: layer.affine for position, layer in trimmed.items()}
    with walk_side_by_side(view, X, weights) as walks:
        for position, (original, current) in enumerate(walks):
            if position >= len(layers):
                yield _change(original.values, current.values)
                continue
            layer = layers[position]
            own = trimmed.get(position, Trimmed(layer.affine, cascaded=False))
            yield _change(
                own.count(layer.respond(layer.affine, original.values)),
                own.count(layer.respond(own.affine, current.values)),
            )


class Comparison:
    """Two walks over a model side by side, the original and the trimmed one.

    Parameters
    ----------
    layers : sequence of LayerView
    pruned : collection of int
        The layers that are other ones in the trimmed model, or will be, by position.
    """

    def __init__(self, layers: Sequence[LayerView], pruned: Collection[int]) -> None:
        self._layers = layers
        # Nothing is proved of what a layer or a later one puts out, where that arrives at it again.
        self._ahead = {k: math.inf if k in pruned else 0.0 for k in range(len(layers))}
        self._proved: dict[int, float] = {}
        self._prior: dict[int, float] = {}

    def reaches(self, signal: Signal) -> bool:
        """Tell whether anything pruned so far can have moved what arrives there."""
        return signal.moved({**dict.fromkeys(self._ahead, 0.0), **self._prior}) > 0

    def pass_over(self, position: int, original: Signal) -> None:
        """Note of a layer's output no more than whether it can have moved."""
        moved = math.inf if math.isinf(self._ahead[position]) or self.reaches(original) else 0.0
        self._proved[position] = self._prior[position] = moved

    def measure(
        self, position: int, original: Signal, current: Signal, trimmed: Trimmed | None
    ) -> SignalBounds:
        """Measure and bound how far a layer's output moved, or one of the model's.

        To be called for all signals in their order. ``trimmed`` is None for a layer left alone.
        """
        known = ({**self._ahead, **behind} for behind in (self._proved, self._prior))
        bound = Bound(*map(original.moved, known))
        if position >= len(self._layers):
            change = _change(original.values, current.values)
            return SignalBounds(change, _rounded_up(bound), (original.values, current.values))
        layer = self._layers[position]
        change, bound = _bound_output(layer, trimmed, original.values, current.values, bound)
        bound = _rounded_up(bound)
        self._proved[position], self._prior[position] = bound
        return SignalBounds(change, bound, n_rows=layer.count_rows(original.values))


def measure_and_bound(
    view: ModelView, trimmed: Mapping[int, Trimmed], X: Data
) -> Iterator[SignalBounds]:
    """Measure and bound how far each prunable layer's output moved, then each of the model's."""
    weights = {position: layer.affine for position, layer in trimmed.items()}
    comparison = Comparison(view.prunable_layers(), trimmed)
    with walk_side_by_side(view, X, weights) as walks:
        for position, (original, current) in enumerate(walks):
            yield comparison.measure(position, original, current, trimmed.get(position))


def _rounded_up(bound: Bound) -> Bound:
    return Bound(bound.proved * ROUNDED_UP, bound.prior * ROUNDED_UP)


def _change(original: Array, current: Array) -> Change:
    if not original.size:  # an expert that no sample reaches
        return Change(math.nan, math.nan)
    return Change(frobenius_norm(current - original), frobenius_norm(original))


def _bound_output(
    layer: LayerView, trimmed: Trimmed | None, original: Array, current: Array, incoming: Bound
) -> tuple[Change, Bound]:
    """Return change and bounds behind a layer, from its inputs and the bounds on them."""
    if trimmed is None:
        Y, Z = (layer.respond(layer.affine, values) for values in (original, current))
        lipschitz = layer.lipschitz(layer.affine, original.shape)
        return _change(Y, Z), Bound(*(_product(lipschitz, distance) for distance in incoming))
    Y = trimmed.count(layer.respond(layer.affine, original))
    Z = trimmed.count(layer.apply(trimmed.affine, current))
    change = _change(Y, activate(Z, layer.activation))
    prior = _bound_beforehand(layer, trimmed, original.shape, incoming.prior, frobenius_norm(Y))
    if trimmed.cascaded:
        return change, Bound(_proposition_1(layer, trimmed, current, Y, Z), prior)
    error = frobenius_norm(trimmed.count(layer.respond(trimmed.affine, original)) - Y)
    lipschitz = layer.lipschitz(trimmed.affine, original.shape)
    return change, Bound(_product(lipschitz, incoming.proved) + error, prior)


def _bound_beforehand(
    layer: LayerView, trimmed: Trimmed, shape: tuple[int, ...], incoming: float, norm: float
) -> float:
    """Return what was promised: Theorem 2 in the cascade, Theorem 1 in the parallel scheme."""
    if trimmed.prospect is None:
        return math.inf
    growth, floor, alone = trimmed.prospect
    if trimmed.cascaded:
        floor = floor if incoming else alone
        own = layer.lipschitz(layer.affine, shape)
        return math.hypot(_product(growth * own, incoming), floor * norm)
    l1 = float(np.abs(layer.affine.stacked).sum())
    return _product(l1, incoming) + floor * norm


def _product(lipschitz: float, distance: float) -> float:
    """Return how far what moved so far can have moved behind a layer; nothing stays nothing."""
    return lipschitz * distance if lipschitz and distance else 0.0


def _proposition_1(layer: LayerView, trimmed: Trimmed, current: Array, Y: Array, Z: Array) -> float:
    radius = trimmed.epsilon * frobenius_norm(Y)
    if layer.activation == "linear":
        return max(frobenius_norm(Z - Y), radius)
    active = Y > 0
    slack = np.maximum(trimmed.count(layer.apply(layer.affine, current)), 0.0)[~active]
    excess = np.maximum(Z[~active] - slack, 0.0)
    residual = max(frobenius_norm((Z - Y)[active]), radius)
    return math.hypot(residual, frobenius_norm(slack) + frobenius_norm(excess))
